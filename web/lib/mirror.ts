// The shared folder, in the browser's storage.

import type { Folder, FolderEntry } from "./folder.js";
import { directoryOf, Replacement } from "./opfs.js";

/** Keeps a folder in a directory of the browser's storage. */
export class Mirror {
  private kept = new Map<string, FolderEntry>();

  constructor(
    private readonly folder: Folder,
    private readonly path: string,
  ) {}

  /** Puts everything that is stored into the folder. */
  async load(): Promise<void> {
    const { directory, name } = await directoryOf(this.path, true);
    await this.loadFrom(await directory.getDirectoryHandle(name, { create: true }), "");
    this.kept = new Map(this.folder.list().map((entry) => [entry.path, entry]));
  }

  private async loadFrom(directory: FileSystemDirectoryHandle, prefix: string): Promise<void> {
    for await (const [name, handle] of directory.entries()) {
      if (handle.kind === "directory") {
        await this.loadFrom(handle as FileSystemDirectoryHandle, `${prefix}${name}/`);
      } else if (!name.endsWith(".new")) {
        const file = await (handle as FileSystemFileHandle).getFile();
        this.folder.write(prefix + name, new Uint8Array(await file.arrayBuffer()));
      }
    }
  }

  /** Stores what has changed since. */
  async store(): Promise<void> {
    const entries = new Map(this.folder.list().map((entry) => [entry.path, entry]));
    for (const [path, entry] of entries) {
      const kept = this.kept.get(path);
      if (kept?.size === entry.size && kept.modified === entry.modified) continue;
      const target = await Replacement.create(`${this.path}/${path}`);
      try {
        target.write(this.folder.read(path), 0);
        await target.commit();
      } catch (error) {
        await target.abandon();
        throw error;
      }
    }
    for (const path of this.kept.keys()) {
      if (entries.has(path)) continue;
      const { directory, name } = await directoryOf(`${this.path}/${path}`);
      await directory.removeEntry(name);
    }
    this.kept = entries;
  }
}
