// The server of the page's files, which every page that the user has open can send requests to.

import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { serve } from "../serve.mjs";

const folder = mkdtempSync(join(tmpdir(), "prebake-serve-"));
let server: Server;

beforeAll(async () => {
  for (const name of ["page", "machines"]) mkdirSync(join(folder, name));
  writeFileSync(join(folder, "page/index.html"), "page");
  writeFileSync(join(folder, "machines/demo.wasm"), "machine");
  writeFileSync(join(folder, "secret"), "secret");
  server = await serve([
    ["/machines", join(folder, "machines")],
    ["/", join(folder, "page")],
  ]);
});

afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

/** Asks for exactly this path: `fetch` would tidy it. */
function get(path: string): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const { port } = server.address() as AddressInfo;
    const asked = request({ host: "127.0.0.1", port, path }, async (response) => {
      let text = "";
      for await (const piece of response) text += piece;
      resolve([response.statusCode!, text]);
    });
    asked.on("error", reject).end();
  });
}

test("files are served", async () => {
  expect(await get("/")).toEqual([200, "page"]);
  expect(await get("/machines/demo.wasm")).toEqual([200, "machine"]);
});

test("nothing outside of the folders is served, and no address ends the server", async () => {
  const paths = ["/../secret", "/%2e%2e/secret", "/machines/../../secret", "/machines../secret", "/machines..%2fsecret"];
  for (const path of [...paths, "//", "//[", "/%", "/%00", `/${"x".repeat(5000)}`, "/nothing"]) {
    expect((await get(path))[0], path).toBe(404);
  }
  expect(await get("/")).toEqual([200, "page"]);
});

test("a file whose rest nobody wants is closed", async () => {
  const file = join(folder, "page/large");
  writeFileSync(file, Buffer.alloc(64 << 20));
  const open = (): string[] => readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === file;
    } catch {
      return false;
    }
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => {
    const asked = request({ host: "127.0.0.1", port, path: "/large" }, (response) => {
      response.once("data", () => {
        expect(open().length).toBe(1);
        asked.destroy();
        resolve();
      });
    });
    asked.on("error", () => undefined).end();
  });
  await vi.waitFor(() => expect(open()).toEqual([]), { timeout: 60_000 });
});
