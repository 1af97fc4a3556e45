/**
 * Runs a machine of prebake, an x86-64 PC in WebAssembly, out of a snapshot: in a browser tab or in Node.js.
 *
 * @packageDocumentation
 */

export type { KeptMachine } from "./compile.js";
export { PrebakeError } from "./errors.js";
export type { FileSource, MachineLayers, RemoteSource, TravellingSource } from "./file.js";
export type { FolderEntry } from "./folder.js";
export type { NetworkOptions } from "./network.js";
export type { Checkpoint, Ending, MachineEvents, MachineOptions, Notice, RestoreOptions, Stats, Stream } from "./options.js";
export { parseReference, type Reference } from "./reference.js";
export { type Artifacts, ensure, type EnsureOptions } from "./registry.js";
export { keepSnapshot, prepare, verifySnapshot, Vm } from "./vm.js";
