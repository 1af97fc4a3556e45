/** An error of a machine or its host. `kind` is a stable name, the same as in the program's `--json`. */
export class PrebakeError extends Error {
  override readonly name = "PrebakeError";

  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }

  /** Whatever was thrown, as an error of this kind if it has none of its own. */
  static of(thrown: unknown, kind: string): PrebakeError {
    if (thrown instanceof PrebakeError) return thrown;
    if (thrown instanceof DOMException && thrown.name === "QuotaExceededError") return noSpace();
    if (thrown instanceof Error) {
      const own = (thrown as { kind?: unknown }).kind;
      return new PrebakeError(typeof own === "string" ? own : kind, thrown.message);
    }
    return new PrebakeError(kind, String(thrown));
  }
}

/** The storage that the browser gives this site is full. */
export function noSpace(): PrebakeError {
  return new PrebakeError(
    "no-space",
    "the browser's storage for this site is full; what was saved before is unchanged: remove sessions or free disk space, then save again",
  );
}
