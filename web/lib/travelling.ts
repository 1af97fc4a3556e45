// A snapshot in the travelling form, as registries have it: it is unpacked where it is read.

import { loadCore } from "./core.js";
import type { ReadableFile } from "./file.js";
import { Unpacked } from "./wasm/web.js";

/** Reads the stored form of a snapshot that travels. */
export class TravellingFile implements ReadableFile {
  /** The last read has failed. */
  private failed = false;

  private constructor(
    private readonly packed: ReadableFile,
    private readonly unpacked: Unpacked,
    readonly size: number,
  ) {}

  /** Resolves when what is needed first has come. The snapshot must have this content. */
  static async open(packed: ReadableFile, content: string): Promise<TravellingFile> {
    await loadCore();
    try {
      for (;;) {
        try {
          const unpacked = Unpacked.open(packed, content);
          return new TravellingFile(packed, unpacked, unpacked.size);
        } catch (error) {
          if (!packed.pending) throw packed.failure ?? error;
          await packed.arrived();
        }
      }
    } catch (error) {
      packed.close();
      throw error;
    }
  }

  get pending(): boolean {
    return this.failed && this.packed.pending;
  }

  get failure(): ReadableFile["failure"] {
    return this.packed.failure;
  }

  read(offset: number, length: number): Uint8Array {
    this.failed = true;
    const bytes = this.unpacked.read(offset, Math.max(Math.min(length, this.size - offset), 0));
    this.failed = false;
    return bytes;
  }

  arrived(): Promise<void> {
    return this.packed.arrived();
  }

  bring(): Promise<void> {
    return this.complete();
  }

  /** What is wanted first comes first, whatever is asked for. */
  hurry(): Promise<void> {
    return this.complete();
  }

  complete(): Promise<void> {
    return this.packed.complete();
  }

  close(): void {
    this.packed.close();
  }
}
