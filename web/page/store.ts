// What this page keeps in the browser, so that it starts without a network.

import { keepSnapshot, PrebakeError, type RestoreOptions } from "prebake";
import type { Image } from "./images.js";
import { forgetRemembered, remember, remembered } from "./remember.js";

/** The service worker's cache of machines. */
const MACHINES = "prebake-machines";
const SNAPSHOTS = "snapshots";

function snapshotPath(image: Image): string {
  return `${SNAPSHOTS}/${image.snapshot.digest}.snap`;
}

/** Where the service worker has a machine. */
function machineUrl(image: Image): string {
  return new URL(`./machines/${image.machine.digest}.wasm`, document.baseURI).href;
}

/** What the digest of a kept machine is remembered by. */
function machineKey(image: Image): string {
  return `machine:${image.machine.digest}`;
}

/** Whether the browser keeps files for the page. Some do not in a private window, where they say so only when they are asked. */
export const hasStorage: Promise<boolean> = (async () => {
  try {
    await navigator.storage.getDirectory();
    return true;
  } catch {
    return false;
  }
})();

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

/** Where the files of a machine are: in the browser, if they were kept. Else its own is to be kept there. */
export async function sourcesOf(image: Image): Promise<Pick<RestoreOptions, "machine" | "snapshot" | "keepMachineIn" | "onKept">> {
  const [keeps, snapshot] = await Promise.all([hasStorage, readStored(snapshotPath(image))]);
  const [url, integrity] = [machineUrl(image), remembered(machineKey(image))];
  return {
    machine: integrity === null ? image.machine : { kept: url, integrity, otherwise: image.machine },
    snapshot: snapshot?.size === image.snapshot.size ? { opfs: snapshotPath(image) } : image.snapshot,
    ...(keeps && "caches" in globalThis && { keepMachineIn: { cache: MACHINES, url }, onKept: (integrity) => remember(machineKey(image), integrity) }),
  };
}

/** Forgets what is kept of a machine, which turned out to be damaged. */
export async function forget(image: Image): Promise<void> {
  await (await directory(SNAPSHOTS))?.removeEntry(`${image.snapshot.digest}.snap`).catch(() => undefined);
  forgetRemembered((key) => key === machineKey(image));
}

/** Keeps a snapshot in the browser. */
export async function keep(image: Image, snapshot: () => Promise<Uint8Array>): Promise<void> {
  if (!(await readStored(snapshotPath(image)))) await keepSnapshot(await snapshot(), snapshotPath(image));
}

/** Removes what is kept of machines and snapshots that none of these images is of. */
export async function sweep(needed: readonly Image[]): Promise<void> {
  await Promise.all([sweepSnapshots(new Set(needed.map((image) => `${image.snapshot.digest}.snap`))), sweepMachines(needed)]);
}

async function sweepSnapshots(needed: ReadonlySet<string>): Promise<void> {
  const folder = await directory(SNAPSHOTS);
  if (!folder) return;
  for await (const name of folder.keys()) if (!needed.has(name)) await folder.removeEntry(name).catch(() => undefined);
}

async function sweepMachines(needed: readonly Image[]): Promise<void> {
  const [keys, urls] = [new Set(needed.map(machineKey)), new Set(needed.map(machineUrl))];
  forgetRemembered((key) => key.startsWith("machine:") && !keys.has(key));
  const cache = await caches.open(MACHINES);
  for (const { url } of await cache.keys()) if (!urls.has(url)) await cache.delete(url);
}
