// A folder in memory that a machine and its host share.

/** Errors of WASI. */
export const Errno = {
  AGAIN: 6,
  BADF: 8,
  EXIST: 20,
  INVAL: 28,
  IO: 29,
  ISDIR: 31,
  NOENT: 44,
  NOSPC: 51,
  NOSYS: 52,
  NOTDIR: 54,
  NOTEMPTY: 55,
  NOTSUP: 58,
  PERM: 63,
} as const;

export class FolderError extends Error {
  constructor(
    readonly errno: number,
    message: string,
  ) {
    super(message);
  }
}

function fail(errno: number, message: string): never {
  throw new FolderError(errno, message);
}

let inodes = 16n;

abstract class Node {
  readonly inode = inodes++;
  /** Milliseconds since 1970. */
  modified = Date.now();
}

/** A regular file. Its buffer grows by doubling. */
export class FileNode extends Node {
  /** Grows whenever the content may have changed. Times do not tell: whoever copies a file may set them. */
  version = 0;
  private buffer = new Uint8Array(0);
  private length = 0;

  constructor(private readonly room: Room) {
    super();
  }

  get size(): number {
    return this.length;
  }

  bytes(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }

  read(offset: number, length: number): Uint8Array {
    return this.buffer.subarray(Math.min(offset, this.length), Math.min(offset + length, this.length));
  }

  write(offset: number, bytes: Uint8Array): void {
    if (offset + bytes.length > this.length) this.resize(offset + bytes.length);
    this.buffer.set(bytes, offset);
    this.version++;
    this.modified = Date.now();
  }

  resize(size: number): void {
    this.room.take(size - this.length);
    if (size > this.buffer.length) {
      const grown = new Uint8Array(Math.max(size, this.buffer.length * 2));
      grown.set(this.bytes());
      this.buffer = grown;
    } else if (size < this.length) {
      this.buffer.fill(0, size, this.length);
    }
    this.length = size;
    this.version++;
    this.modified = Date.now();
  }
}

export class DirectoryNode extends Node {
  readonly entries = new Map<string, FileNode | DirectoryNode>();
}

/** What all files together may have. */
class Room {
  used = 0;
  constructor(readonly limit: number) {}

  take(bytes: number): void {
    if (this.used + bytes > this.limit) fail(Errno.NOSPC, `the shared folder has room for ${this.limit} bytes`);
    this.used += bytes;
  }
}

/** A file of a folder, as it is listed. */
export interface FolderEntry {
  /** From the folder on, without a slash in front. */
  readonly path: string;
  readonly size: number;
  readonly modified: number;
}

const ROOM = 512 << 20;

/** The folder. Paths go from it on; `..` is not a name. */
export class Folder {
  readonly root = new DirectoryNode();
  private readonly room = new Room(ROOM);

  /** Names of a path, checked. */
  private static names(path: string): string[] {
    const names = path.split("/").filter((name) => name !== "" && name !== ".");
    if (names.includes("..") || path.includes("\0")) fail(Errno.PERM, `${path} leads out of the folder`);
    return names;
  }

  static lookUp(directory: DirectoryNode, path: string): FileNode | DirectoryNode {
    let at: FileNode | DirectoryNode = directory;
    for (const name of Folder.names(path)) {
      if (!(at instanceof DirectoryNode)) fail(Errno.NOTDIR, `${path} goes through a file`);
      at = at.entries.get(name) ?? fail(Errno.NOENT, `there is no ${path}`);
    }
    return at;
  }

  /** The directory that a name is in, and the name. */
  static parent(directory: DirectoryNode, path: string): { parent: DirectoryNode; name: string } {
    const names = Folder.names(path);
    const name = names.pop() ?? fail(Errno.INVAL, "the folder itself cannot be changed");
    const parent = Folder.lookUp(directory, names.join("/"));
    if (!(parent instanceof DirectoryNode)) fail(Errno.NOTDIR, `${path} goes through a file`);
    return { parent, name };
  }

  newFile(): FileNode {
    return new FileNode(this.room);
  }

  /** Removes a file or an empty directory. */
  remove(parent: DirectoryNode, name: string, wantsDirectory: boolean): void {
    const found = parent.entries.get(name) ?? fail(Errno.NOENT, `there is no ${name}`);
    if (found instanceof DirectoryNode) {
      if (!wantsDirectory) fail(Errno.ISDIR, `${name} is a directory`);
      if (found.entries.size !== 0) fail(Errno.NOTEMPTY, `${name} is not empty`);
    } else {
      if (wantsDirectory) fail(Errno.NOTDIR, `${name} is a file`);
      found.resize(0);
    }
    parent.entries.delete(name);
    parent.modified = Date.now();
  }

  /** Makes a directory, and those above it, unless they are there. */
  makeDirectory(path: string): DirectoryNode {
    let at = this.root;
    for (const name of Folder.names(path)) {
      const found = at.entries.get(name) ?? new DirectoryNode();
      if (!(found instanceof DirectoryNode)) fail(Errno.NOTDIR, `${path} goes through a file`);
      at.entries.set(name, found);
      at = found;
    }
    return at;
  }

  /** Writes a whole file, and makes the directories above it. */
  write(path: string, bytes: Uint8Array): FileNode {
    const names = Folder.names(path);
    const name = names.pop() ?? fail(Errno.INVAL, "a file needs a name");
    const at = this.makeDirectory(names.join("/"));
    const file = at.entries.get(name) ?? this.newFile();
    if (file instanceof DirectoryNode) fail(Errno.ISDIR, `${path} is a directory`);
    file.resize(bytes.length);
    file.write(0, bytes);
    at.entries.set(name, file);
    at.modified = Date.now();
    return file;
  }

  /** A copy of a whole file. */
  read(path: string): Uint8Array {
    const found = Folder.lookUp(this.root, path);
    if (found instanceof DirectoryNode) fail(Errno.ISDIR, `${path} is a directory`);
    return found.bytes().slice();
  }

  /** Everything that is in it, each directory before what is in that, by path. */
  nodes(): Map<string, FileNode | DirectoryNode> {
    const found = new Map<string, FileNode | DirectoryNode>();
    const visit = (directory: DirectoryNode, prefix: string): void => {
      for (const [name, node] of directory.entries) {
        found.set(prefix + name, node);
        if (node instanceof DirectoryNode) visit(node, `${prefix}${name}/`);
      }
    };
    visit(this.root, "");
    return found;
  }

  /** All files, by path. */
  list(): FolderEntry[] {
    const files = [...this.nodes()].flatMap(([path, node]) => (node instanceof FileNode ? [{ path, size: node.size, modified: node.modified }] : []));
    return files.sort((a, b) => (a.path < b.path ? -1 : 1));
  }
}
