// The part that is Rust: loads it once in each thread.

import init from "./wasm/web.js";
import { isNode, nodeModule } from "./environment.js";

const MODULE = new URL("./wasm/web_bg.wasm", import.meta.url);

let loading: Promise<unknown> | undefined;

/** Resolves when the Rust part can be called. */
export function loadCore(): Promise<unknown> {
  loading ??= (isNode ? loadInNode() : init({ module_or_path: MODULE })).catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

async function loadInNode(): Promise<unknown> {
  const { readFile } = await nodeModule<typeof import("node:fs/promises")>("fs/promises");
  return init({ module_or_path: await readFile(MODULE) });
}
