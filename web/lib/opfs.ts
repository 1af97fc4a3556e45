// Files in the storage that the browser gives a site: the origin private file system.

import { PrebakeError } from "./errors.js";

/** What is used of a `FileSystemSyncAccessHandle`. */
interface WritableHandle {
  truncate(size: number): void;
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

/** The directory that a file is in, and its name there. */
export async function directoryOf(path: string, create = false): Promise<{ directory: FileSystemDirectoryHandle; name: string }> {
  const names = path.split("/").filter((name) => name !== "");
  const name = names.pop();
  if (name === undefined) throw new PrebakeError("wrong-option", "an empty path names no file");
  let directory = await navigator.storage.getDirectory();
  for (const name of names) directory = await directory.getDirectoryHandle(name, { create });
  return { directory, name };
}

/** Removes a file, or a directory with all that is in it, if it is there. */
export async function removeStored(path: string): Promise<void> {
  try {
    const { directory, name } = await directoryOf(path);
    await directory.removeEntry(name, { recursive: true });
  } catch (error) {
    if ((error as DOMException).name !== "NotFoundError") throw error;
  }
}

/** A file that takes the place of another when it is complete. Whatever happens before, that one stays as it was. */
export class Replacement {
  private constructor(
    private readonly path: string,
    private readonly temporary: string,
    private readonly file: FileSystemFileHandle,
    private readonly handle: WritableHandle,
  ) {}

  /** Of the file at `path`. Until it takes that place, it is at another. */
  static async create(path: string, temporary = `${path}.new`): Promise<Replacement> {
    const { directory, name } = await directoryOf(temporary, true);
    const file = await directory.getFileHandle(name, { create: true });
    const open = file as unknown as { createSyncAccessHandle(): Promise<WritableHandle> };
    const handle = await open.createSyncAccessHandle();
    handle.truncate(0);
    return new Replacement(path, temporary, file, handle);
  }

  write(bytes: Uint8Array, offset: number): void {
    const written = this.handle.write(bytes, { at: offset });
    // Some browsers write less instead of failing when there is no room.
    if (written !== bytes.length) throw new DOMException("no room", "QuotaExceededError");
  }

  /** It is complete. */
  finish(): void {
    this.handle.flush();
    this.handle.close();
  }

  /** Takes the place, once it is complete. */
  async move(): Promise<void> {
    const { directory, name } = await directoryOf(this.path, true);
    const file = this.file as unknown as { move(directory: FileSystemDirectoryHandle, name: string): Promise<void> };
    await file.move(directory, name);
  }

  async commit(): Promise<void> {
    this.finish();
    await this.move();
  }

  async abandon(): Promise<void> {
    this.handle.close();
    await removeStored(this.temporary).catch(() => undefined);
  }
}
