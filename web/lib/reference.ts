// Names of what registries hold: `registry.example:5000/name/of/it:tag@sha256:…`, as Docker understands them.

import { PrebakeError } from "./errors.js";

/** What a reference says. */
export interface Reference {
  /** Host and port. */
  readonly registry: string;
  readonly repository: string;
  readonly tag: string;
  /** The digest, which names the same for ever. */
  readonly digest: string | undefined;
  /** All of it, nothing left out. */
  readonly whole: string;
}

const HOST = String.raw`(?:[a-zA-Z\d](?:[a-zA-Z\d-]*[a-zA-Z\d])?(?:\.[a-zA-Z\d](?:[a-zA-Z\d-]*[a-zA-Z\d])?)*|\[[\da-fA-F:.]+\])(?::\d+)?`;
const COMPONENT = String.raw`[a-z\d]+(?:(?:[._]|__|-+)[a-z\d]+)*`;
const PATTERN = new RegExp(String.raw`^(?:(${HOST})/)?(${COMPONENT}(?:/${COMPONENT})*)(?::([\w][\w.-]{0,127}))?(?:@(sha256:[\da-f]{64}))?$`);

function split(text: string): Reference | undefined {
  const found = PATTERN.exec(text.replace(/^docker:\/\//, ""));
  if (!found) return undefined;
  const [, host, path = "", tag = "latest", digest] = found;
  // A first part without these is a part of the name.
  const isHost = host !== undefined && /[.:[]|^localhost$/.test(host);
  const repository = isHost || host === undefined ? path : `${host}/${path}`;
  if (repository !== repository.toLowerCase()) return undefined;
  const isHub = !isHost || /^(index\.)?docker\.io$/.test(host);
  const registry = isHub ? "docker.io" : host;
  const full = isHub && !repository.includes("/") ? `library/${repository}` : repository;
  return { registry, repository: full, tag, digest, whole: `${registry}/${full}:${tag}${digest ? `@${digest}` : ""}` };
}

/** Understands a reference. */
export function parseReference(text: string): Reference {
  const reference = split(text);
  if (!reference) throw new PrebakeError("reference", `invalid reference ${JSON.stringify(text)}; a reference looks like registry.example/name:tag`);
  return reference;
}

/** Where the API of a registry is. On this host it need not have TLS. */
export function apiOf(registry: string, plainHttp: boolean): string {
  const isHere = /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(registry);
  const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
  return `${plainHttp || isHere ? "http" : "https"}://${host}/v2/`;
}
