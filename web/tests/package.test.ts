// The package, as it would be published.

import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { PATIENCE } from "./patience.js";
import { machine, snapshot } from "./support.js";

const folder = new URL("..", import.meta.url).pathname;

test("a program of thirty lines keeps a machine, and goes on from there", () => {
  const output = execFileSync("node", ["tests/program.mjs", machine, snapshot], { cwd: folder, encoding: "utf8", timeout: PATIENCE });
  expect(JSON.parse(output)).toEqual(["x86_64\n", 0, "42\n", 3]);
});

test("it has what it should, and nothing else", () => {
  const output = execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], timeout: PATIENCE });
  const [{ files, unpackedSize }] = JSON.parse(output) as [{ files: { path: string }[]; unpackedSize: number }];
  const paths = files.map(({ path }) => path);
  expect(paths.filter((path) => !/^dist\/lib\/([a-z-]+\.(js|d\.ts)|LICENSE-(APACHE|MIT)|wasm\/web(\.js|\.d\.ts|_bg\.wasm))$/.test(path)).sort()).toEqual([
    "README.md",
    "package.json",
  ]);
  for (const needed of ["index.js", "index.d.ts", "worker.js", "wasm/web_bg.wasm", "wasm/web.js"]) expect(paths).toContain(`dist/lib/${needed}`);
  expect(unpackedSize).toBeLessThan(1 << 20);
});
