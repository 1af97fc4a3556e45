// The machine's file, as a module of WebAssembly.

import { nodeModule } from "./environment.js";
import { PrebakeError } from "./errors.js";
import { fetchFile, type FileSource, openFile, pathOf, type Progress, urlOf } from "./file.js";

const WASM = "application/wasm";

/** Compiles a machine's file. */
export async function compile(source: FileSource, progress?: Progress): Promise<WebAssembly.Module> {
  try {
    return await compileBytes(source, progress);
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) {
      throw new PrebakeError("not-an-artifact", `the machine's file is no WebAssembly module, or is damaged or cut off: ${error.message}`);
    }
    throw error;
  }
}

async function compileBytes(source: FileSource, progress?: Progress): Promise<WebAssembly.Module> {
  const path = pathOf(source);
  if (path !== undefined) {
    const { readFile } = await nodeModule<typeof import("node:fs/promises")>("fs/promises");
    const bytes = await readFile(path).catch((error: Error) => {
      throw new PrebakeError("not-found", `${String(path)} cannot be read: ${error.message}`);
    });
    return WebAssembly.compile(bytes);
  }
  const remote = urlOf(source);
  if (remote) return compileResponse(await fetchFile(remote.url, remote.integrity), progress);
  const file = await openFile(source);
  const bytes = file.read(0, file.size);
  file.close();
  return WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>);
}

async function compileResponse(response: Response, progress?: Progress): Promise<WebAssembly.Module> {
  if (!response.body) return WebAssembly.compile(await response.arrayBuffer());
  // What comes out of the browser's cache has compiled code with it, which a stream of our own would lose. So the response itself is compiled,
  // and a copy of it is counted.
  if (progress) void count(response.clone(), progress);
  const isWasm = response.headers.get("content-type")?.split(";")[0]?.trim() === WASM;
  return WebAssembly.compileStreaming(isWasm ? response : new Response(response.body, { headers: { "content-type": WASM } }));
}

async function count(response: Response, progress: Progress): Promise<void> {
  const total = Number(response.headers.get("content-length") ?? NaN);
  const reader = response.body!.getReader();
  let done = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      done += part.value.length;
      progress(done, Number.isSafeInteger(total) ? total : undefined);
    }
  } catch {
    // The other copy fails too, and says why.
  }
}
