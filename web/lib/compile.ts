// The machine's file, as a module of WebAssembly.

import { loadCore } from "./core.js";
import { PrebakeError } from "./errors.js";
import { type FileSource, type MachineLayers, openFile, openLayer, type Progress, rangesOf, roomFor, whenThere } from "./file.js";
import { Assembly, type Framed, neededOfMachine, Restorable } from "./wasm/web.js";

/** A machine that a session has kept. */
export interface KeptMachine {
  /** The URL at which the page's service worker has it, as `application/wasm`. The browser may keep its own code beside it. */
  readonly kept: string;
  /** As for `fetch`. */
  readonly integrity: string;
  /** Where it is if it is not there, or is damaged. */
  readonly otherwise: FileSource | MachineLayers;
}

/** A machine's module, with nothing in it but what a restored machine needs. That was verified. */
export interface Machine {
  readonly module: WebAssembly.Module;
  /** The module's file, unless it was kept. */
  readonly bytes?: Uint8Array<ArrayBuffer>;
}

/** What is fetched of a machine's file at first. Its code fits in most, and its end says where everything is. */
const BEGINNING = { length: 5 << 20, end: true };

/** Fetches a machine's file, and compiles it. */
export async function machineOf(source: FileSource | MachineLayers | KeptMachine, progress?: Progress): Promise<Machine> {
  if (typeof source === "object" && "layers" in source) return assemble(source, progress);
  if (typeof source === "object" && "kept" in source) {
    const module = await compileKept(source).catch(() => undefined);
    return module ? { module } : machineOf(source.otherwise, progress);
  }
  let whole: number | undefined;
  const file = await openFile(source, (done, total) => progress?.(Math.min(done, whole ?? done), whole ?? total), BEGINNING);
  try {
    await Promise.all([whenThere(file, () => file.read(Math.max(file.size - 1, 0), 1)), loadCore()]);
    const needed = await whenThere(file, () => rangesOf(neededOfMachine(file)));
    whole = needed.reduce((sum, [start, end]) => sum + end - start, 0);
    await file.bring(needed);
    progress?.(whole, whole);
    const machine = Restorable.of(file);
    const parts = rangesOf(machine.parts()).map(([start, end]) => file.read(start, end - start));
    const bytes = filled(machine.framed(), parts);
    const module = compile(bytes);
    // If that is not what it should be, nobody asks whether it was compiled.
    module.catch(() => undefined);
    machine.verify();
    machine.free();
    return { bytes, module: await module };
  } catch (error) {
    throw file.failure ?? error;
  } finally {
    file.close();
  }
}

/** Fetches a machine's layers, and puts its file together of them. Each is verified. */
async function assemble({ memoryPages, ramBytes, layers }: MachineLayers, progress?: Progress): Promise<Machine> {
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
  const [[code, ...parts]] = await Promise.all([Promise.all(layers.map(fetchLayer)), loadCore()]);
  const [first, ...others] = layers;
  const assembly = new Assembly(memoryPages, ramBytes, code!, first!.length, first!.content);
  const unpacked = parts.map((bytes, number) => {
    const { name, length, content } = others[number]!;
    return assembly.add(name, bytes, length, content);
  });
  const bytes = filled(assembly.finish(), unpacked);
  return { bytes, module: await compile(bytes) };
}

/** The whole file. */
function filled(framed: Framed, parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = roomFor(framed.length, "the machine's file");
  framed.write(bytes);
  framed.starts.forEach((start, number) => bytes.set(parts[number]!, start));
  framed.free();
  return bytes;
}

/** Compiles a kept machine. Rejects if there is none, or another than that. */
export function compileKept({ kept, integrity }: Omit<KeptMachine, "otherwise">): Promise<WebAssembly.Module> {
  return WebAssembly.compileStreaming(fetch(kept, { integrity }));
}

async function compile(bytes: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) throw new PrebakeError("not-an-artifact", `the machine's file is no WebAssembly module: ${error.message}`);
    throw error;
  }
}
