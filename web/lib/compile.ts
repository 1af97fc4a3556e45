// The machine's file, as a module of WebAssembly.

import { loadCore } from "./core.js";
import { PrebakeError } from "./errors.js";
import { type FileSource, type MachineLayers, MemoryFile, openFile, openLayer, type Progress, type ReadableFile } from "./file.js";
import { Assembly, neededOfMachine, verifyMachine } from "./wasm/web.js";

/** A part of a file: where it starts and ends. */
export type Range = readonly [number, number];

/** A machine's file without what a restored machine does not need: there it has zeroes. */
export interface MachineBytes {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where it has what is needed. */
  readonly needed: readonly Range[];
}

/** Fetches what is needed of a machine's file, which is verified. */
export async function machineBytes(source: FileSource | MachineLayers, progress?: Progress): Promise<MachineBytes> {
  await loadCore();
  if (typeof source === "object" && "layers" in source) return assemble(source, progress);
  let whole: number | undefined;
  const file = await openFile(source, (done, total) => progress?.(Math.min(done, whole ?? done), whole ?? total), true);
  try {
    const needed = await neededOf(file);
    whole = needed.reduce((sum, [start, end]) => sum + end - start, 0);
    await file.bring(needed);
    const bytes = new Uint8Array(file.size);
    for (const [start, end] of needed) bytes.set(file.read(start, end - start), start);
    progress?.(whole, whole);
    verifyMachine(new MemoryFile(bytes));
    return { bytes, needed };
  } catch (error) {
    throw file.failure ?? error;
  } finally {
    file.close();
  }
}

/** Fetches a machine's layers, and puts its file together of them. Each is verified. */
async function assemble({ memoryPages, ramBytes, layers }: MachineLayers, progress?: Progress): Promise<MachineBytes> {
  const total = layers.reduce((sum, { size }) => sum + size, 0);
  const come = layers.map(() => 0);
  const fetchLayer = async (layer: MachineLayers["layers"][number], number: number): Promise<Uint8Array> => {
    const file = await openLayer(layer, (done) => {
      come[number] = done;
      progress?.(come.reduce((sum, done) => sum + done, 0), total);
    });
    try {
      await file.complete();
      return file.read(0, file.size);
    } finally {
      file.close();
    }
  };
  const [code, ...parts] = await Promise.all(layers.map(fetchLayer));
  const [first, ...others] = layers;
  const assembly = new Assembly(memoryPages, ramBytes, code!, first!.length, first!.content);
  parts.forEach((bytes, number) => {
    const { name, length, content } = others[number]!;
    assembly.add(name, bytes, length, content);
  });
  const bytes = assembly.finish() as Uint8Array<ArrayBuffer>;
  return { bytes, needed: [[0, bytes.length]] };
}

async function neededOf(file: ReadableFile): Promise<Range[]> {
  for (;;) {
    try {
      const places = [...neededOfMachine(file)];
      return places.flatMap((place, at) => (at % 2 === 0 ? [[place, places[at + 1]!] as const] : []));
    } catch (error) {
      if (!file.pending) throw error;
      await file.arrived();
    }
  }
}

/** Compiles a machine's module. */
export async function compile({ bytes }: MachineBytes): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) throw new PrebakeError("not-an-artifact", `the machine's file is no WebAssembly module: ${error.message}`);
    throw error;
  }
}
