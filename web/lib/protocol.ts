// What the two threads say to each other.

import type { MachineOptions, Notice, Ending, Stream } from "./options.js";

/** What can be asked of a machine, and what it answers. */
export interface Requests {
  restore(options: MachineOptions): void;
  input(bytes: Uint8Array): void;
  endInput(): void;
  resize(columns: number, rows: number): void;
  signal(number: number): void;
  checkpoint(): { size: number; state?: Uint8Array };
  leave(): void;
  stats(): import("./options.js").Stats;
  snapshotBytes(): Uint8Array;
  keepCode(): void;
  listFiles(): import("./folder.js").FolderEntry[];
  readFile(path: string): Uint8Array;
  writeFile(path: string, bytes: Uint8Array): void;
  verifySnapshot(file: import("./file.js").FileSource): string;
  keep(from: import("./file.js").FileSource, path: string): void;
}

export interface ErrorMessage {
  readonly kind: string;
  readonly message: string;
}

/** To the machine: a request that is answered, or that output was shown. */
export type ToWorker =
  | { readonly id: number; readonly method: keyof Requests; readonly args: readonly unknown[] }
  | { readonly shown: number };

/** From the machine. */
export type FromWorker =
  | { readonly id: number; readonly result?: unknown; readonly error?: ErrorMessage }
  | { readonly output: Uint8Array; readonly stream: Stream }
  | { readonly notice: Notice; readonly message?: string | undefined }
  | { readonly kept: string }
  | { readonly progress: "machine" | "snapshot"; readonly done: number; readonly total: number | undefined }
  | { readonly ended: Ending }
  | { readonly failed: ErrorMessage };
