// What a machine is restored with.

import type { KeptMachine } from "./compile.js";
import type { FileSource, MachineLayers, Progress } from "./file.js";
import type { NetworkOptions } from "./network.js";

/** What the program writes to: 1 is its terminal or standard output, 2 standard error. */
export type Stream = 1 | 2;

/** Something that a user should know. */
export type Notice = "leaving-loses-work" | "exit-not-saved" | "not-saved" | "not-kept" | "relay-lost";

/** How a machine ended. */
export interface Ending {
  /** The program has exited, the host has left, or a signal has ended it. */
  readonly how: "exited" | "left" | "signalled";
  /** The program's exit status, or 128 and the number of a signal. */
  readonly status: number;
  /** What was saved at the end, if that was to be in memory. */
  readonly state?: Uint8Array;
}

/** A state that was saved. */
export interface Checkpoint {
  /** How many bytes it has. */
  readonly size: number;
  /** The bytes, unless they are in a file. */
  readonly state?: Uint8Array;
}

/** Where a machine is. */
export type MachineSource = FileSource | MachineLayers | KeptMachine;

/** What can be passed to another thread. */
export interface MachineOptions {
  /** The machine's file, a `.wasm`; or its layers: see `ensure`; or what was kept of it. */
  readonly machine: MachineSource;
  /** A snapshot of it: in the stored form, or as `ensure` finds it. */
  readonly snapshot: FileSource;
  /** A cache of the browser, and a URL in it, to keep of the machine's file what is needed to restore it, unless that was kept already. */
  readonly keepMachineIn?: { readonly cache: string; readonly url: string };
  /** What a session has changed of that snapshot: what a checkpoint has saved. */
  readonly changes?: FileSource;
  /** 64 random bytes that nobody else has. By default they are fresh: copies of one snapshot draw different random numbers. */
  readonly seed?: Uint8Array;
  /** Default `host`. With `virtual`, time comes from the count of instructions, so that a run can be repeated. */
  readonly clock?: "host" | "virtual";
  /** Default `host`. With `published`, virtio-rng and RDRAND draw from a stream that everyone knows: for tests. */
  readonly entropy?: "host" | "published";
  /** Whether the program is on a terminal, the default, or on three streams. */
  readonly terminal?: boolean;
  /** Whether a person types the input. The default is to give it line by line, as a script. */
  readonly interactive?: boolean;
  /** For the variable TERM; default `xterm-256color`. */
  readonly term?: string;
  readonly columns?: number;
  readonly rows?: number;
  /** Instructions that it may run for. */
  readonly limit?: number;
  /** Where the machine is saved: `memory`, or a file in the browser's storage. Without, it cannot be saved. */
  readonly saveTo?: "memory" | { readonly opfs: string };
  /** An absolute path in the guest: a folder there is shared with the host. */
  readonly folder?: string;
  /** Files that are in that folder at first, by their paths in it. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  /** A directory of the browser's storage: the folder's files are there at first, and are stored there whenever the machine is saved. */
  readonly keepFilesIn?: { readonly opfs: string };
  /** What carries the guest's network. Without, its `eth0` stays down. It needs the host's clock. */
  readonly network?: NetworkOptions;
  /** Program and arguments, in place of the image's. */
  readonly command?: readonly string[];
  /** `NAME=VALUE`, for the program. */
  readonly environment?: readonly string[];
}

/** What is told of a machine while it runs. */
export interface MachineEvents {
  /** The program has written something. If this returns a promise, the machine waits for it when much is outstanding. */
  onOutput?(bytes: Uint8Array, stream: Stream): void | Promise<void>;
  onNotice?(notice: Notice, message?: string): void;
  /** The machine was kept, and this is its digest: for `integrity` when it is restored from there. */
  onKept?(integrity: string): void;
  /** The machine's file, or its snapshot, is on its way. */
  onProgress?(what: "machine" | "snapshot", ...progress: Parameters<Progress>): void;
}

/** See `Vm.restore`. */
export type RestoreOptions = MachineOptions & MachineEvents;

/** What a machine has done. */
export interface Stats {
  /** Instructions since power-on. */
  readonly instructions: number;
  /** Milliseconds in which the machine ran, and waited for nothing. */
  readonly busy: number;
  /** Milliseconds that it took to compile the module, and to restore the machine. */
  readonly compiled: number;
  readonly restored: number;
  /** Bytes of memory of the machine's module. */
  readonly memory: number;
}
