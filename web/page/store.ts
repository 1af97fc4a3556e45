// What this page keeps in the browser, so that it starts without a network.

import { keepSnapshot, PrebakeError, type FileSource } from "prebake";
import type { Image } from "./images.js";

const MACHINES = "prebake-machines";
const SNAPSHOTS = "snapshots";

function snapshotPath(image: Image): string {
  return `${SNAPSHOTS}/${image.snapshot.digest}.snap`;
}

/** A directory of the browser's storage; undefined if it is not there. */
export async function directory(path: string): Promise<FileSystemDirectoryHandle | undefined> {
  try {
    let at = await navigator.storage.getDirectory();
    for (const name of path.split("/")) at = await at.getDirectoryHandle(name);
    return at;
  } catch {
    return undefined;
  }
}

/** A file of it. */
export async function readStored(path: string): Promise<File | undefined> {
  const at = path.lastIndexOf("/");
  try {
    return await (await (await directory(path.slice(0, at)))?.getFileHandle(path.slice(at + 1)))?.getFile();
  } catch {
    return undefined;
  }
}

/** The list at `url`, as it is now or, without a network, as it was when it was last fetched. */
export async function fetchList(url: string): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(url, { cache: "no-cache" });
  } catch {
    throw new PrebakeError("network", `${url} could not be fetched; check the connection`);
  }
  if (!response.ok) throw new PrebakeError("http", `${url} was answered with ${response.status}; the page was built without machines: run make web-serve`);
  return response.json();
}

/** Where a snapshot is: in the browser, if it was kept, else on its way. */
export async function snapshotOf(image: Image): Promise<FileSource> {
  const kept = await readStored(snapshotPath(image));
  return kept?.size === image.snapshot.size ? { opfs: snapshotPath(image) } : { url: image.snapshot.url };
}

/** Forgets a snapshot that turned out to be damaged. */
export async function forgetSnapshot(image: Image): Promise<void> {
  const found = await directory(SNAPSHOTS);
  await found?.removeEntry(`${image.snapshot.digest}.snap`).catch(() => undefined);
}

/** Keeps machine and snapshot in the browser. */
export async function keep(image: Image, snapshot: () => Promise<Uint8Array>): Promise<void> {
  if (typeof caches !== "undefined") {
    const machines = await caches.open(MACHINES);
    if (!(await machines.match(image.machine.url))) {
      await machines.add(new Request(image.machine.url, { integrity: image.machine.integrity }));
    }
  }
  if (!(await readStored(snapshotPath(image)))) await keepSnapshot(await snapshot(), snapshotPath(image));
}

/** Removes what is kept of machines and snapshots that none of these images is of. */
export async function sweep(needed: readonly Image[]): Promise<void> {
  const digests = new Set(needed.map((image) => image.snapshot.digest));
  const snapshots = await directory(SNAPSHOTS);
  if (snapshots) {
    for await (const name of snapshots.keys()) {
      if (!digests.has(name.replace(/\.snap$/, ""))) await snapshots.removeEntry(name).catch(() => undefined);
    }
  }
  if (typeof caches === "undefined") return;
  const urls = new Set(needed.map((image) => new URL(image.machine.url, document.baseURI).href));
  const machines = await caches.open(MACHINES);
  for (const request of await machines.keys()) if (!urls.has(request.url)) await machines.delete(request);
}
