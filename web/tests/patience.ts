// Waiting, with an end: whatever does not happen is an error that says what was waited for.

/** Milliseconds that one thing may take on a busy host, or that nothing may change for. Nothing is judged by how long it takes. */
export const PATIENCE = 180_000;

function tooLong(what: string, state: string): Error {
  return new Error(`${PATIENCE / 1000} s were not enough for ${what}. ${state}`);
}

/** What `work` comes to. Of an error, `state` says how things stand instead. */
export async function within<T>(what: string, work: Promise<T>, state: () => string = () => ""): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooLong(what, state())), PATIENCE);
    // A machine's end is asked for that nobody waits for any more.
    timer.unref();
  });
  try {
    return await Promise.race([work, end]);
  } finally {
    clearTimeout(timer);
  }
}

/** What `ask` comes to as soon as that is something else than undefined or false. It is asked again and again, as long as `state` changes. */
export async function until<T>(what: string, ask: () => Promise<T | undefined | false>, state: () => string = () => ""): Promise<T> {
  let [seen, since] = [state(), Date.now()];
  for (;;) {
    const found = await within(what, ask(), state);
    if (found !== undefined && found !== false) return found;
    const now = state();
    if (now !== seen) [seen, since] = [now, Date.now()];
    if (Date.now() - since > PATIENCE) throw tooLong(what, now);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The same object, none of whose promises is waited for without end. */
export function bounded<T extends object>(object: T): T {
  const bound = (name: string, value: unknown): unknown => (value instanceof Promise ? within(name, value) : value);
  return new Proxy(object, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return bound(String(name), value);
      return (...args: unknown[]) => bound(`${String(name)}()`, value.apply(target, args));
    },
  });
}
