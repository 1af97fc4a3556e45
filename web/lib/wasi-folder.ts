// WASI's calls on a folder in memory, which is descriptor 3. There are no symbolic links and no second names.

import { DirectoryNode, Errno, FileNode, Folder, FolderError } from "./folder.js";
import type { Memory } from "./wasi.js";

const ROOT = 3;
const DIRECTORY = 3;
const REGULAR_FILE = 4;
const ALL_RIGHTS = 0xffff_ffff_ffff_ffffn;
const CREATE = 1;
const DIRECTORY_ONLY = 2;
const EXCLUSIVE = 4;
const TRUNCATE = 8;
const ENTRY_HEAD = 24;
const MODIFIED_TO = 4;
const MODIFIED_NOW = 8;

type Opened = FileNode | DirectoryNode;

function typeOf(node: Opened): number {
  return node instanceof DirectoryNode ? DIRECTORY : REGULAR_FILE;
}

export class FolderCalls {
  private readonly open: Map<number, Opened>;
  private next = ROOT + 1;

  constructor(
    private readonly folder: Folder,
    private readonly memory: () => Memory,
  ) {
    this.open = new Map([[ROOT, folder.root]]);
  }

  owns(fd: number): boolean {
    return this.open.has(fd);
  }

  fdstat(fd: number, out: number): number {
    const memory = this.memory();
    memory.at(out, 24).fill(0);
    memory.view.setUint8(out, typeOf(this.open.get(fd)!));
    memory.u64(out + 8, ALL_RIGHTS);
    memory.u64(out + 16, ALL_RIGHTS);
    return 0;
  }

  filestat(fd: number, out: number): number {
    return this.stat(this.open.get(fd)!, out);
  }

  pread(fd: number, list: number, count: number, offset: bigint, out: number): number {
    return this.call(() => {
      const file = this.file(fd);
      let done = 0;
      for (const part of this.memory().vectors(list, count)) {
        const bytes = file.read(Number(offset) + done, part.length);
        part.set(bytes);
        done += bytes.length;
        if (bytes.length < part.length) break;
      }
      this.memory().u32(out, done);
    });
  }

  /** At the end of the file: the machine writes so if the guest appends. */
  write(fd: number, list: number, count: number, out: number): number {
    return this.call(() => this.writeAt(this.file(fd), this.file(fd).size, list, count, out));
  }

  functions(): Record<string, (...args: never[]) => number> {
    return {
      fd_close: (fd: number) => this.call(() => void this.open.delete(fd)),
      fd_sync: (fd: number) => (this.owns(fd) ? 0 : Errno.BADF),
      fd_datasync: (fd: number) => (this.owns(fd) ? 0 : Errno.BADF),
      fd_pwrite: (fd: number, list: number, count: number, offset: bigint, out: number) =>
        this.call(() => this.writeAt(this.file(fd), Number(offset), list, count, out)),
      fd_filestat_set_size: (fd: number, size: bigint) => this.call(() => this.file(fd).resize(Number(size))),
      fd_filestat_set_times: (fd: number, _accessed: bigint, modified: bigint, flags: number) =>
        this.call(() => this.setTime(this.node(fd), modified, flags)),
      fd_readdir: (fd: number, buffer: number, room: number, cookie: bigint, out: number) =>
        this.call(() => this.readDirectory(this.directory(fd), buffer, room, Number(cookie), out)),
      path_open: (
        fd: number,
        _follow: number,
        path: number,
        length: number,
        oflags: number,
        _rights: bigint,
        _inheriting: bigint,
        _fdflags: number,
        out: number,
      ) => this.call(() => this.openPath(this.directory(fd), this.text(path, length), oflags, out)),
      path_filestat_get: (fd: number, _follow: number, path: number, length: number, out: number) =>
        this.call(() => void this.stat(Folder.lookUp(this.directory(fd), this.text(path, length)), out)),
      path_filestat_set_times: (
        fd: number,
        _follow: number,
        path: number,
        length: number,
        _accessed: bigint,
        modified: bigint,
        flags: number,
      ) => this.call(() => this.setTime(Folder.lookUp(this.directory(fd), this.text(path, length)), modified, flags)),
      path_create_directory: (fd: number, path: number, length: number) =>
        this.call(() => {
          const { parent, name } = Folder.parent(this.directory(fd), this.text(path, length));
          if (parent.entries.has(name)) throw new FolderError(Errno.EXIST, name);
          parent.entries.set(name, new DirectoryNode());
          parent.modified = Date.now();
        }),
      path_unlink_file: (fd: number, path: number, length: number) => this.call(() => this.remove(fd, path, length, false)),
      path_remove_directory: (fd: number, path: number, length: number) => this.call(() => this.remove(fd, path, length, true)),
      path_rename: (fd: number, path: number, length: number, toFd: number, toPath: number, toLength: number) =>
        this.call(() => this.rename(this.directory(fd), this.text(path, length), this.directory(toFd), this.text(toPath, toLength))),
      path_symlink: () => Errno.NOTSUP,
      path_link: () => Errno.NOTSUP,
      path_readlink: () => Errno.INVAL,
    };
  }

  /** Answers with the number of the error, if there is one. */
  private call(work: () => void): number {
    try {
      work();
      return 0;
    } catch (error) {
      if (error instanceof FolderError) return error.errno;
      // The host has no memory for a buffer of this size.
      if (error instanceof RangeError) return Errno.NOSPC;
      throw error;
    }
  }

  private text(address: number, length: number): string {
    try {
      // A view of shared memory cannot be decoded everywhere, a copy can.
      return new TextDecoder("utf-8", { fatal: true }).decode(this.memory().at(address, length).slice());
    } catch {
      throw new FolderError(Errno.INVAL, "a name that is not UTF-8");
    }
  }

  private node(fd: number): Opened {
    const found = this.open.get(fd);
    if (!found) throw new FolderError(Errno.BADF, `descriptor ${fd}`);
    return found;
  }

  private file(fd: number): FileNode {
    const node = this.node(fd);
    if (node instanceof DirectoryNode) throw new FolderError(Errno.ISDIR, `descriptor ${fd}`);
    return node;
  }

  private directory(fd: number): DirectoryNode {
    const node = this.node(fd);
    if (!(node instanceof DirectoryNode)) throw new FolderError(Errno.NOTDIR, `descriptor ${fd}`);
    return node;
  }

  private stat(node: Opened, out: number): number {
    const size = node instanceof FileNode ? node.size : 0;
    this.memory().filestat(out, node.inode, typeOf(node), size, BigInt(Math.round(node.modified)) * 1_000_000n);
    return 0;
  }

  private setTime(node: Opened, modified: bigint, flags: number): void {
    if (flags & MODIFIED_TO) node.modified = Number(modified / 1_000_000n);
    if (flags & MODIFIED_NOW) node.modified = Date.now();
  }

  private writeAt(file: FileNode, offset: number, list: number, count: number, out: number): void {
    let done = 0;
    for (const part of this.memory().vectors(list, count)) {
      file.write(offset + done, part);
      done += part.length;
    }
    this.memory().u32(out, done);
  }

  private openPath(directory: DirectoryNode, path: string, oflags: number, out: number): void {
    let node: Opened;
    try {
      node = Folder.lookUp(directory, path);
      if (oflags & EXCLUSIVE) throw new FolderError(Errno.EXIST, path);
    } catch (error) {
      if (!(error instanceof FolderError) || error.errno !== Errno.NOENT || !(oflags & CREATE)) throw error;
      const { parent, name } = Folder.parent(directory, path);
      node = this.folder.newFile();
      parent.entries.set(name, node);
      parent.modified = Date.now();
    }
    if (oflags & DIRECTORY_ONLY && !(node instanceof DirectoryNode)) throw new FolderError(Errno.NOTDIR, path);
    if (oflags & TRUNCATE && node instanceof FileNode) node.resize(0);
    const fd = this.next++;
    this.open.set(fd, node);
    this.memory().u32(out, fd);
  }

  private remove(fd: number, path: number, length: number, wantsDirectory: boolean): void {
    const { parent, name } = Folder.parent(this.directory(fd), this.text(path, length));
    this.folder.remove(parent, name, wantsDirectory);
  }

  private rename(from: DirectoryNode, path: string, to: DirectoryNode, toPath: string): void {
    const old = Folder.parent(from, path);
    const moved = Folder.lookUp(old.parent, old.name);
    const place = Folder.parent(to, toPath);
    const there = place.parent.entries.get(place.name);
    if (there === moved) return;
    if (moved instanceof DirectoryNode && isWithin(place.parent, moved)) throw new FolderError(Errno.INVAL, toPath);
    if (there) this.folder.remove(place.parent, place.name, moved instanceof DirectoryNode);
    old.parent.entries.delete(old.name);
    place.parent.entries.set(place.name, moved);
    old.parent.modified = place.parent.modified = Date.now();
  }

  private readDirectory(directory: DirectoryNode, buffer: number, room: number, cookie: number, out: number): void {
    const names = [...directory.entries.keys()].sort();
    let used = 0;
    for (let at = cookie; at < names.length && used < room; at++) {
      const name = new TextEncoder().encode(names[at]);
      const node = directory.entries.get(names[at]!)!;
      const entry = new Uint8Array(ENTRY_HEAD + name.length);
      const view = new DataView(entry.buffer);
      view.setBigUint64(0, BigInt(at + 1), true);
      view.setBigUint64(8, node.inode, true);
      view.setUint32(16, name.length, true);
      view.setUint8(20, typeOf(node));
      entry.set(name, ENTRY_HEAD);
      // The last one is cut off where the room ends: it comes again.
      const part = entry.subarray(0, room - used);
      this.memory().at(buffer + used, part.length).set(part);
      used += part.length;
    }
    this.memory().u32(out, used);
  }
}

function isWithin(directory: DirectoryNode, above: DirectoryNode): boolean {
  if (directory === above) return true;
  return [...above.entries.values()].some((node) => node instanceof DirectoryNode && isWithin(directory, node));
}
