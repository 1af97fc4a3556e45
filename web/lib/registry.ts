// Machines in registries: from a reference to what `Vm.restore` takes.

import { ACCEPTED, type Choice, type Descriptor, type LayerContent, manifestOf, readManifest } from "./documents.js";
import { isNode } from "./environment.js";
import { PrebakeError } from "./errors.js";
import type { MachineLayers, TravellingSource } from "./file.js";
import { bodyOf } from "./http.js";
import { apiOf, parseReference, type Reference } from "./reference.js";

/** How a registry is reached. */
export interface EnsureOptions {
  /** For registries that want them. They go to the registry and to the token server that it names. */
  readonly username?: string;
  readonly password?: string;
  /** The registry has no TLS. On this host that is found without it. */
  readonly plainHttp?: boolean;
}

/** A machine in a registry, and its snapshot. */
export interface Artifacts {
  /** The reference in full. */
  readonly reference: string;
  /** Digest of the document that it names. */
  readonly digest: string;
  /** The machine has a network device. */
  readonly hasNetwork: boolean;
  /** For `Vm.restore`, in any number of threads. */
  readonly machine: MachineLayers;
  readonly snapshot: TravellingSource;
}

/** Bytes of a document. Registries take no longer ones. */
const MAX_DOCUMENT = 4 << 20;
/** The same of a token server's answer. */
const MAX_TOKEN = 64 << 10;

/** Looks up a reference: reads the documents of what it names, and verifies them. Files are fetched, and verified, when the machine is restored. */
export async function ensure(reference: string, options: EnsureOptions = {}): Promise<Artifacts> {
  const named = parseReference(reference);
  const registry = new Registry(named, options);
  const top = await registry.named();
  const entry = manifestOf(top, named.whole);
  const manifest = readManifest(entry ? await registry.described("manifests", entry) : top, named.whole);
  const choice = manifest.choice(await registry.described("blobs", manifest.config));
  return { reference: named.whole, digest: named.digest ?? (await sha256(top)), ...registry.files(choice) };
}

/** One repository of a registry. */
class Registry {
  private readonly base: string;
  /** What the registry lets one in with. */
  private authorization: string | undefined;

  constructor(
    private readonly reference: Reference,
    private readonly options: EnsureOptions,
  ) {
    this.base = `${apiOf(reference.registry, options.plainHttp ?? false)}${reference.repository}/`;
  }

  /** The document that the reference names. */
  named(): Promise<Uint8Array> {
    const { digest, tag } = this.reference;
    return this.document("manifests", digest ?? tag, digest);
  }

  /** One that another describes, which may have brought it. */
  async described(kind: "manifests" | "blobs", descriptor: Descriptor): Promise<Uint8Array> {
    return (await enclosed(descriptor)) ?? this.document(kind, descriptor.digest, descriptor.digest);
  }

  /** Where the files are. */
  files({ memoryPages, ramBytes, hasNetwork, code, parts, snapshot }: Choice): Pick<Artifacts, "hasNetwork" | "machine" | "snapshot"> {
    const authorization = this.authorization;
    const at = ({ digest, size }: Descriptor) => ({ url: `${this.base}blobs/${digest}`, size, ...(authorization !== undefined && { authorization }) });
    const layer = ({ name, length, content, ...place }: LayerContent) => ({ ...at(place), name, length, content });
    return {
      hasNetwork,
      machine: { memoryPages, ramBytes, layers: [code, ...parts].map(layer) },
      snapshot: { travelling: at(snapshot), content: snapshot.content, storedBytes: snapshot.storedBytes },
    };
  }

  private async document(kind: "manifests" | "blobs", name: string, digest: string | undefined): Promise<Uint8Array> {
    const path = `${kind}/${name}`;
    const response = await this.get(path, kind === "manifests" ? ACCEPTED : undefined);
    const bytes = await bodyOf(response, MAX_DOCUMENT);
    if (!bytes) throw new PrebakeError("registry-document", `${path} has more than ${MAX_DOCUMENT} bytes, more than any document of a machine`);
    const found = await sha256(bytes);
    if (digest !== undefined && found !== digest) {
      throw new PrebakeError("registry-digest", `${path} has digest ${found}, expected ${digest}; the registry or the connection to it is broken`);
    }
    return bytes;
  }

  private async get(path: string, accept?: string): Promise<Response> {
    const ask = () => this.ask(this.base + path, this.authorization, accept);
    let response = await ask();
    if (response.status === 401 && this.authorization === undefined) {
      this.authorization = await this.logIn(response.headers.get("www-authenticate"));
      if (this.authorization !== undefined) response = await ask();
    }
    if (response.ok) return response;
    const { registry, whole } = this.reference;
    const { status } = response;
    const [kind, advice] =
      status === 401
        ? ["registry-unauthorized", "check the credentials"]
        : status === 403
          ? ["registry-denied", "check the credentials"]
          : status === 404
            ? ["not-in-registry", "check the reference"]
            : ["registry-failed", "try again later"];
    throw new PrebakeError(kind!, `${registry} answered ${status} to a request for ${path} of ${whole}; ${advice}`);
  }

  /** Gets what the registry asks for: from the token server that it names, or the password itself. */
  private async logIn(challenge: string | null): Promise<string | undefined> {
    const { username, password } = this.options;
    const basic = username === undefined ? undefined : `Basic ${base64(`${username}:${password ?? ""}`)}`;
    const realm = /^bearer\b.*\brealm="([^"]*)"/i.exec(challenge ?? "")?.[1];
    // A header that the registry does not let pages see says nothing.
    if (realm === undefined) return basic;
    const url = new URL(realm, this.base);
    if (basic && url.protocol !== "https:" && url.protocol !== new URL(this.base).protocol) {
      throw new PrebakeError("registry-protocol", `the token server ${url.origin} does not use TLS`);
    }
    const service = /\bservice="([^"]*)"/i.exec(challenge!)?.[1];
    if (service !== undefined) url.searchParams.set("service", service);
    url.searchParams.set("scope", `repository:${this.reference.repository}:pull`);
    const response = await this.ask(url.href, basic);
    const answer = response.ok ? await jsonOf(response) : undefined;
    const token = answer?.["token"] ?? answer?.["access_token"];
    if (typeof token !== "string") throw new PrebakeError("registry-unauthorized", `the token server ${url.origin} gave no token; check the credentials`);
    return `Bearer ${token}`;
  }

  private async ask(url: string, authorization?: string, accept?: string): Promise<Response> {
    const headers = { ...(authorization !== undefined && { authorization }), ...(accept !== undefined && { accept }) };
    try {
      // Cookies are never sent.
      return await fetch(url, { headers, credentials: "omit", cache: "no-cache" });
    } catch (error) {
      throw await unreachable(url, error);
    }
  }
}

/** What a descriptor encloses, if that has its digest. */
async function enclosed({ data, digest }: Descriptor): Promise<Uint8Array | undefined> {
  if (data === undefined) return undefined;
  try {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    return (await sha256(bytes)) === digest ? bytes : undefined;
  } catch {
    // It is not base64.
    return undefined;
  }
}

/** The object that a token server answers; undefined if it answers something else. */
async function jsonOf(response: Response): Promise<Record<string, unknown> | undefined> {
  try {
    const found: unknown = JSON.parse(new TextDecoder().decode(await bodyOf(response, MAX_TOKEN)));
    return typeof found === "object" && found !== null ? (found as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Why something cannot be fetched. A browser does not say whether it is the server that does not allow it. */
async function unreachable(url: string, error: unknown): Promise<PrebakeError> {
  const { origin } = new URL(url);
  const answers = !isNode && (await fetch(url, { mode: "no-cors", credentials: "omit" }).then(() => true, () => false));
  if (answers) {
    const page = globalThis.location.origin;
    const problem = `${origin} answers, but does not allow the page ${page} to read that`;
    return new PrebakeError("registry-cors", `${problem}; have it send the header access-control-allow-origin, or put the files beside the page`);
  }
  const detail = error instanceof Error ? error.message : String(error);
  return new PrebakeError("registry-unreachable", `cannot reach ${origin} (${detail}); check the reference and the connection`);
}

async function sha256(bytes: Uint8Array): Promise<string> {
  // A page without TLS has none.
  if (!globalThis.crypto?.subtle) throw new PrebakeError("insecure-page", "what registries send can be verified only on pages from HTTPS or localhost");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
  return `sha256:${Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function base64(text: string): string {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}
