// The shared folder, in the browser's storage.

import { DirectoryNode, FileNode, type Folder } from "./folder.js";
import { directoryOf, removeStored, Replacement } from "./opfs.js";

/** What was stored: of a file, which and as what version. */
type Kept = Map<string, { readonly node: FileNode | DirectoryNode; readonly version: number | undefined }>;

/** Names of the browser's storage have no backslash. */
const toStored = (path: string): string => path.replaceAll(/%(?=25|5C)/g, "%25").replaceAll("\\", "%5C");
const fromStored = (name: string): string => name.replaceAll(/%(25|5C)/g, (_, code: string) => (code === "25" ? "%" : "\\"));

/** Keeps a folder in a directory of the browser's storage. */
export class Mirror {
  private kept: Kept = new Map();

  constructor(
    private readonly folder: Folder,
    private readonly path: string,
  ) {}

  /** Puts everything that is stored into the folder. */
  async load(): Promise<void> {
    const { directory, name } = await directoryOf(this.path, true);
    await this.loadFrom(await directory.getDirectoryHandle(name, { create: true }), "");
    this.kept = this.current();
  }

  private async loadFrom(directory: FileSystemDirectoryHandle, prefix: string): Promise<void> {
    for await (const [name, handle] of directory.entries()) {
      const path = prefix + fromStored(name);
      if (handle.kind === "directory") {
        this.folder.makeDirectory(path);
        await this.loadFrom(handle as FileSystemDirectoryHandle, `${path}/`);
      } else {
        const file = await (handle as FileSystemFileHandle).getFile();
        this.folder.write(path, new Uint8Array(await file.arrayBuffer())).modified = file.lastModified;
      }
    }
  }

  private current(): Kept {
    const kept = ([path, node]: [string, FileNode | DirectoryNode]) => [path, { node, version: node instanceof FileNode ? node.version : undefined }] as const;
    return new Map([...this.folder.nodes()].map(kept));
  }

  /** Stores what has changed since. Nothing that was stored is touched before all that is new has found room. */
  async store(): Promise<void> {
    const [before, now] = [this.kept, this.current()];
    const temporary = `${this.path}.new`;
    const files: Replacement[] = [];
    try {
      for (const [path, { node, version }] of now) {
        const kept = before.get(path);
        if (node instanceof DirectoryNode || (kept?.node === node && kept.version === version)) continue;
        const file = await Replacement.create(this.stored(path), `${temporary}/${files.length}`);
        try {
          file.write(node.bytes(), 0);
          file.finish();
        } catch (error) {
          await file.abandon();
          throw error;
        }
        files.push(file);
      }
      // What has gone may stand where something new goes, and what is in a directory goes before it.
      const isGone = ([path, { node }]: [string, { node: object }]): boolean => now.get(path)?.node.constructor !== node.constructor;
      for (const [path] of [...before].filter(isGone).reverse()) await removeStored(this.stored(path));
      for (const file of files) await file.move();
      for (const [path, { node }] of now) if (node instanceof DirectoryNode) await this.makeDirectory(path);
      this.kept = now;
    } finally {
      await removeStored(temporary).catch(() => undefined);
    }
  }

  private stored(path: string): string {
    return `${this.path}/${toStored(path)}`;
  }

  private async makeDirectory(path: string): Promise<void> {
    const { directory, name } = await directoryOf(this.stored(path), true);
    await directory.getDirectoryHandle(name, { create: true });
  }
}
