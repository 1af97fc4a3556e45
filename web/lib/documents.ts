// The documents of an artifact: index, manifests and configurations, as docs/registry.md lays them out. Anyone may have written them.

import { PrebakeError } from "./errors.js";

/** The documents that name others. With a longer list a browser would ask the registry whether it may ask. */
export const ACCEPTED = "application/vnd.oci.image.index.v1+json,application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE = "application/vnd.prebake.config.v1+json";
const CODE_TYPE = "application/vnd.prebake.code.v1+zstd";
const SNAPSHOT_TYPE = "application/vnd.prebake.snapshot.v1+zstd";
/** Parts of a machine that a restored one reads; others are for booting it. */
const PARTS = ["root", "metadata"];
/** The bit of a network device among a machine's optional devices. */
const NETWORK = 1 << 10;

/** What names a blob. */
export interface Descriptor {
  readonly digest: string;
  readonly size: number;
  /** Its content in base64, if whoever wrote it has enclosed that. */
  readonly data?: string;
}

/** A layer, and what is in it. */
export interface LayerContent extends Descriptor {
  readonly name: string;
  /** Bytes of what is in it, and their digest. */
  readonly length: number;
  readonly content: string;
}

/** A machine that can be restored here. */
export interface Choice {
  readonly memoryPages: number;
  readonly ramBytes: number;
  readonly hasNetwork: boolean;
  readonly code: LayerContent;
  readonly parts: readonly LayerContent[];
  readonly snapshot: Descriptor & { readonly content: string; readonly storedBytes: number };
}

/** A document of which each member is what it should be, or an error names it. */
class Document {
  constructor(
    private readonly what: string,
    private readonly value: unknown,
    private readonly path = "",
  ) {}

  static parse(what: string, bytes: Uint8Array): Document {
    try {
      return new Document(what, JSON.parse(new TextDecoder().decode(bytes)));
    } catch (error) {
      throw malformed(what, (error as Error).message);
    }
  }

  has(name: string): boolean {
    return typeof this.value === "object" && this.value !== null && Object.hasOwn(this.value, name);
  }

  member(name: string): Document {
    if (!this.has(name)) throw this.problem(`has no \`${name}\``);
    return new Document(this.what, (this.value as Record<string, unknown>)[name], `${this.path}.${name}`);
  }

  text(name: string): string {
    const { value } = this.member(name);
    if (typeof value !== "string") throw this.problem(`has a \`${name}\` that is no text`);
    return value;
  }

  count(name: string): number {
    const { value } = this.member(name);
    if (!Number.isSafeInteger(value) || (value as number) < 0) throw this.problem(`has a \`${name}\` that is no number of things`);
    return value as number;
  }

  list(name: string): Document[] {
    const { value } = this.member(name);
    if (!Array.isArray(value)) throw this.problem(`has a \`${name}\` that is no list`);
    return value.map((entry) => new Document(this.what, entry, `${this.path}.${name}`));
  }

  descriptor(): Descriptor {
    const digest = this.text("digest");
    if (!/^sha256:[\da-f]{64}$/.test(digest)) throw this.problem("has a digest that is not of the form sha256: and 64 hexadecimal digits");
    return { digest, size: this.count("size"), ...(this.has("data") && { data: this.text("data") }) };
  }

  private problem(problem: string): PrebakeError {
    return malformed(this.what, `${this.path === "" ? "it" : this.path.slice(1)} ${problem}`);
  }
}

function malformed(what: string, problem: string): PrebakeError {
  return new PrebakeError("registry-document", `the ${what} is malformed: ${problem}; push it again`);
}

/** The manifest for machines without native code that an index names; undefined if the document is a manifest itself. */
export function manifestOf(bytes: Uint8Array, reference: string): Descriptor | undefined {
  const index = Document.parse("document", bytes);
  if (!index.has("manifests")) return undefined;
  const entries = index.list("manifests").map((entry) => ({
    entry,
    architecture: entry.has("platform") ? entry.member("platform").text("architecture") : "an unknown processor",
  }));
  const found = entries.find(({ architecture }) => architecture === "wasm");
  if (found) return found.entry.descriptor();
  const others = [...new Set(entries.map(({ architecture }) => architecture))].join(", ").slice(0, 200);
  throw new PrebakeError("wrong-target", `${reference} has machines for ${others}, but a page runs those for wasm; bake it with --target wasm, too`);
}

/** What a manifest names: its configuration, and what that will describe. */
export function readManifest(bytes: Uint8Array, reference: string): { config: Descriptor; choice(config: Uint8Array): Choice } {
  const manifest = Document.parse("manifest", bytes);
  const config = manifest.member("config");
  if (config.text("mediaType") !== CONFIG_TYPE) {
    throw new PrebakeError("not-prebaked", `${reference} is not a machine: its configuration is ${config.text("mediaType").slice(0, 100)}; make one with \`prebake bake\``);
  }
  const layers = manifest.list("layers");
  const layer = (type: string): Descriptor | undefined => {
    const [found, second] = layers.filter((layer) => layer.text("mediaType") === type);
    if (second) throw malformed("manifest", `it has several layers of the type ${type}`);
    return found?.descriptor();
  };
  return { config: config.descriptor(), choice: (bytes) => choose(Document.parse("configuration", bytes), layer, reference) };
}

function choose(config: Document, layer: (type: string) => Descriptor | undefined, reference: string): Choice {
  if (config.member("code").text("format") !== "wasm") {
    throw new PrebakeError("wrong-target", `${reference} is native code, but a page runs WebAssembly; bake it with --target wasm`);
  }
  const code = layer(CODE_TYPE);
  if (!code) throw new PrebakeError("not-prebaked", `${reference} has its machine in one file, as older versions pushed it; push it again`);
  const snapshot = layer(SNAPSHOT_TYPE);
  if (!snapshot) throw new PrebakeError("no-snapshot", `${reference} has no snapshot, and a page does not boot machines; push it with one`);
  const [sizes, digests] = [config.member("layers"), config.member("payload")];
  const parts = PARTS.filter((name) => digests.has(name)).map((name) => {
    const found = layer(`application/vnd.prebake.${name}.v1+zstd`);
    if (!found) throw malformed("manifest", `it has no layer with the machine's ${name}`);
    return { ...found, name, length: sizes.member("parts").count(name), content: digests.text(name) };
  });
  const saved = config.member("snapshot");
  return {
    memoryPages: sizes.count("memory_pages"),
    ramBytes: config.count("ram_bytes"),
    hasNetwork: (saved.count("devices") & NETWORK) !== 0,
    code: { ...code, name: "code", length: sizes.count("code"), content: config.member("code").text("digest") },
    parts,
    snapshot: { ...snapshot, content: saved.text("content"), storedBytes: saved.count("stored_bytes") },
  };
}
