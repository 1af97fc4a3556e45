// What the machine's module gets of its host: clocks, random bytes, its snapshot as descriptor 0, and one folder as descriptor 3.

import { PrebakeError } from "./errors.js";
import type { ReadableFile } from "./file.js";
import { Errno, type Folder } from "./folder.js";
import { FolderCalls } from "./wasi-folder.js";

const SNAPSHOT = 0;
const STANDARD_ERROR = 2;
const REALTIME = 0;
/** `filetype` of a regular file and of a character device. */
const REGULAR_FILE = 4;
const CHARACTER_DEVICE = 2;
const ALL_RIGHTS = 0xffff_ffff_ffff_ffffn;

/** The memory of a module, which neither grows nor moves. */
export class Memory {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(memory: WebAssembly.Memory) {
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
  }

  u32(address: number, value: number): void {
    this.view.setUint32(address, value, true);
  }

  u64(address: number, value: bigint): void {
    this.view.setBigUint64(address, value, true);
  }

  /** A part of it. */
  at(address: number, length: number): Uint8Array {
    return this.bytes.subarray(address, address + length);
  }

  /** The parts that a list of `iovec`s names. */
  vectors(list: number, count: number): Uint8Array[] {
    return Array.from({ length: count }, (_, n) => {
      return this.at(this.view.getUint32(list + 8 * n, true), this.view.getUint32(list + 8 * n + 4, true));
    });
  }

  /** Writes a `filestat`. */
  filestat(address: number, inode: bigint, type: number, size: number, modified: bigint): void {
    this.at(address, 64).fill(0);
    this.u64(address + 8, inode);
    this.view.setUint8(address + 16, type);
    this.u64(address + 24, 1n);
    this.u64(address + 32, BigInt(size));
    for (const time of [40, 48, 56]) this.u64(address + time, modified);
  }
}

/** A module that has asked to end, which only `_start` does. */
class Exit extends Error {}

/** The imports of one instance. */
export class Wasi {
  private memory!: Memory;
  private said = "";
  private readonly start = performance.now();
  private readonly folder: FolderCalls | undefined;

  constructor(
    private readonly snapshot: ReadableFile,
    folder: Folder | undefined,
  ) {
    this.folder = folder && new FolderCalls(folder, () => this.memory);
  }

  /** What the module has written to its standard error: why it has failed. */
  get lastWords(): string {
    return this.said;
  }

  attach(memory: WebAssembly.Memory): void {
    this.memory = new Memory(memory);
  }

  /** The imports. A function that is not here does not exist for the machine. */
  imports(module: WebAssembly.Module): WebAssembly.Imports {
    const own = this.functions();
    const imports: Record<string, Function> = {};
    for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
      if (from !== "wasi_snapshot_preview1" || kind !== "function") {
        throw new PrebakeError("not-an-artifact", `the module wants ${from}.${name}, so it is no machine of prebake`);
      }
      imports[name] = own[name] ?? (() => Errno.NOSYS);
    }
    return { wasi_snapshot_preview1: imports as WebAssembly.ModuleImports };
  }

  private functions(): Record<string, (...args: never[]) => number> {
    const none = (count: number, size: number): number => {
      this.memory.u32(count, 0);
      this.memory.u32(size, 0);
      return 0;
    };
    return {
      ...this.folder?.functions(),
      args_get: () => 0,
      environ_get: () => 0,
      args_sizes_get: none,
      environ_sizes_get: none,
      clock_time_get: (clock: number, _precision: bigint, out: number) => {
        const now = clock === REALTIME ? Date.now() : performance.now() - this.start;
        this.memory.u64(out, BigInt(Math.round(now * 1e6)));
        return 0;
      },
      random_get: (address: number, length: number) => {
        const bytes = this.memory.at(address, length);
        // The most that may be asked for at once.
        for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536) as Uint8Array<ArrayBuffer>);
        return 0;
      },
      fd_prestat_get: () => Errno.BADF,
      fd_fdstat_get: (fd: number, out: number) => {
        if (this.folder?.owns(fd)) return this.folder.fdstat(fd, out);
        if (fd > STANDARD_ERROR) return Errno.BADF;
        this.memory.at(out, 24).fill(0);
        this.memory.view.setUint8(out, fd === SNAPSHOT ? REGULAR_FILE : CHARACTER_DEVICE);
        this.memory.u64(out + 8, ALL_RIGHTS);
        return 0;
      },
      fd_filestat_get: (fd: number, out: number) => {
        if (this.folder?.owns(fd)) return this.folder.filestat(fd, out);
        if (fd !== SNAPSHOT) return Errno.BADF;
        this.memory.filestat(out, 1n, REGULAR_FILE, this.snapshot.size, 0n);
        return 0;
      },
      fd_pread: (fd: number, list: number, count: number, offset: bigint, out: number) => {
        if (this.folder?.owns(fd)) return this.folder.pread(fd, list, count, offset, out);
        if (fd !== SNAPSHOT) return Errno.BADF;
        return this.readSnapshot(this.memory.vectors(list, count), Number(offset), out);
      },
      fd_write: (fd: number, list: number, count: number, out: number) => {
        if (this.folder?.owns(fd)) return this.folder.write(fd, list, count, out);
        if (fd !== STANDARD_ERROR && fd !== 1) return Errno.BADF;
        const parts = this.memory.vectors(list, count);
        for (const part of parts) this.said = (this.said + new TextDecoder().decode(part)).slice(-4096);
        this.memory.u32(out, parts.reduce((sum, part) => sum + part.length, 0));
        return 0;
      },
      proc_exit: (status: number) => {
        throw new Exit(`it has ended with status ${status}`);
      },
    };
  }

  private readSnapshot(parts: Uint8Array[], offset: number, out: number): number {
    let done = 0;
    for (const part of parts) {
      let bytes: Uint8Array;
      try {
        bytes = this.snapshot.read(offset + done, part.length);
      } catch {
        return this.snapshot.pending ? Errno.AGAIN : Errno.IO;
      }
      part.set(bytes);
      done += bytes.length;
      if (bytes.length < part.length) break;
    }
    this.memory.u32(out, done);
    return 0;
  }
}
