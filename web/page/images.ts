// The machines that this page offers: `images.json` beside it, and those of registries.

import { ensure, type FileSource, type MachineLayers } from "prebake";
import { fetchList } from "./store.js";

/** A file, and what names its content. */
export type Named<Source> = Source & { readonly size: number; readonly digest: string };

/** A machine and its snapshot. */
export interface Image {
  /** The session's name, too. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** The machine has a network device. */
  readonly network?: boolean;
  readonly machine: Named<Exclude<FileSource, string | URL | Uint8Array | Blob> | MachineLayers>;
  readonly snapshot: Named<Exclude<FileSource, string | URL | Uint8Array | Blob>>;
}

/** What stands for characters of a reference that no name of a folder has. No reference has these. */
const NAMED: Readonly<Record<string, string>> = { "/": "+", ":": "=", "@": "~", "[": "(", "]": ")" };

let listed: Promise<Image[]> | undefined;

/** All of them, the first being the one that is started if nothing else was asked for. */
export function listImages(): Promise<Image[]> {
  listed ??= fetchList("./images.json").then((list) => (list as { images: Image[] }).images);
  return listed;
}

/** Whether this names a registry, too. */
export function isReference(text: string): boolean {
  return /^([^/]*[.:][^/]*|localhost)\/./.test(text);
}

/** What a registry has under this reference. */
export async function imageIn(reference: string): Promise<Image> {
  const { machine, snapshot, ...found } = await ensure(reference);
  const size = machine.layers.reduce((sum, layer) => sum + layer.size, 0);
  return {
    // Different references have different names, which are names of folders, too.
    name: found.reference.replaceAll(/[^\w.-]/g, (character) => NAMED[character] ?? "_"),
    title: found.reference,
    description: "",
    network: found.hasNetwork,
    // Both are named by what is in them, and by how much memory there is for it.
    machine: { ...machine, size, digest: await digestOf([machine.memoryPages, machine.ramBytes, ...machine.layers.map(({ content }) => content)].join()) },
    snapshot: { ...snapshot, size: snapshot.storedBytes, digest: await digestOf(snapshot.content) },
  };
}

async function digestOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest, 0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
