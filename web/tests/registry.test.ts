// Machines in a registry: Debian's, with one machine that `prebake bake --push` has put there.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request as forward, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer as listenAnywhere } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { ensure, parseReference, type PrebakeError } from "prebake";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { machineOf } from "../dist/lib/compile.js";
import { holds, launch, newContext, PROMPT, run, Site, until } from "./browser.js";
import { PATIENCE, until as untilThat } from "./patience.js";
import { Shell } from "./support.js";

/** The programs, and the container image. */
function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run make web-test`);
  return value;
}
const prebake = given("PREBAKE_PROGRAM");
const work = mkdtempSync(join(tmpdir(), "prebake-registry-"));
const processes: ChildProcess[] = [];

/** A registry that pages of any origin may read, or none. Resolves to its host and port. */
async function startRegistry(name: string, allows: boolean): Promise<string> {
  const probe = listenAnywhere();
  const port = await new Promise<number>((resolve) => probe.listen(0, "127.0.0.1", () => resolve((probe.address() as AddressInfo).port)));
  await new Promise((resolve) => probe.close(resolve));
  const address = `127.0.0.1:${port}`;
  const config = {
    version: "0.1",
    log: { level: "error" },
    storage: { filesystem: { rootdirectory: join(work, "data") } },
    http: { addr: address, ...(allows && { headers: { "Access-Control-Allow-Origin": ["*"] } }) },
  };
  writeFileSync(join(work, `${name}.json`), JSON.stringify(config));
  processes.push(spawn(given("PREBAKE_REGISTRY_PROGRAM"), ["serve", join(work, `${name}.json`)], { stdio: "ignore" }));
  const answers = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
      socket.on("connect", () => socket.end());
    });
  await untilThat("an answer of the registry", answers);
  return address;
}

let registry: string;
let browser: Browser;
let site: Site;
let context: BrowserContext | undefined;
let proxy: Server | undefined;

beforeAll(async () => {
  registry = await startRegistry("open", true);
  const arguments_ = ["bake", given("PREBAKE_IMAGE"), "--target", "wasm", "--push", `${registry}/busybox`];
  execFileSync(prebake, arguments_, { env: { ...process.env, PREBAKE_HOME: join(work, "store") }, stdio: ["ignore", "ignore", "inherit"], timeout: PATIENCE });
  [browser, site] = await Promise.all([launch(), Site.start()]);
});

afterAll(async () => {
  await browser?.close();
  site?.stop();
  for (const child of processes) child.kill("SIGKILL");
  rmSync(work, { recursive: true, force: true });
});

afterEach(async () => {
  await context?.close();
  proxy?.closeAllConnections();
  proxy?.close();
  proxy = undefined;
});

async function open(address: string): Promise<Page> {
  context = await newContext(browser);
  const page = await context.newPage();
  await page.goto(site.url + address);
  return page;
}

type Change = (path: string, request: IncomingMessage, response: ServerResponse, pass: (change?: (bytes: Buffer) => Buffer) => void) => void;

/** What stands before the registry and changes what it answers. Resolves to its host and port. */
async function standBefore(change: Change): Promise<string> {
  const server = createServer((request, response) => {
    const pass = (change?: (bytes: Buffer) => Buffer): void => {
      const { host: _, ...headers } = request.headers;
      forward({ host: "127.0.0.1", port: Number(registry.split(":")[1]), path: request.url, method: request.method, headers }, (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part: Buffer) => parts.push(part));
        answer.on("end", () => {
          const bytes = Buffer.concat(parts);
          const changed = change ? change(bytes) : bytes;
          response.writeHead(answer.statusCode!, { ...answer.headers, "content-length": changed.length }).end(changed);
        });
      }).end();
    };
    change(request.url!, request, response, pass);
  });
  proxy = server;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function kindOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "no error",
    (error: PrebakeError) => error.kind,
  );
}

/** How a machine starts that is behind what changes answers. */
async function kindThrough(change: Change): Promise<string> {
  const address = await standBefore(change);
  const start = async (): Promise<void> => {
    const { machine, snapshot } = await ensure(`${address}/busybox`);
    const shell = await Shell.start({ machine, snapshot });
    await shell.prompt();
    await shell.vm.stop();
  };
  return kindOf(start());
}

function flipped(at: number): (bytes: Buffer) => Buffer {
  return (bytes) => {
    const copy = Buffer.from(bytes);
    copy[at < 0 ? copy.length + at : at]! ^= 1;
    return copy;
  };
}

test("references are understood as Docker does", () => {
  const digest = `sha256:${"0f".repeat(32)}`;
  for (const [text, whole] of [
    ["alpine", "docker.io/library/alpine:latest"],
    ["docker://some/image:1", "docker.io/some/image:1"],
    ["docker.io/alpine:3", "docker.io/library/alpine:3"],
    ["localhost/x", "localhost/x:latest"],
    ["localhost:5000/a/b__c:v1.2", "localhost:5000/a/b__c:v1.2"],
    ["[::1]:5000/x", "[::1]:5000/x:latest"],
    [`r.example/x:1@${digest}`, `r.example/x:1@${digest}`],
  ] as const) {
    expect(parseReference(text).whole).toBe(whole);
  }
  for (const wrong of ["", "/x", "r.example/", "r.example/X", "a b", "x:", "x@sha256:12", "r.example/a//b", "-a", "A/b"]) {
    expect(() => parseReference(wrong), wrong).toThrowError("invalid reference");
  }
});

test("a page starts a machine of a registry, and goes on without it", async () => {
  const page = await open(`?image=${registry}/busybox`);
  expect(await run(page, "uname -m; X=kept")).toBe("x86_64");
  // A file of the root, which came as a layer of its own.
  expect(await run(page, "busybox | head -1")).toMatch(/^BusyBox v/);
  expect(await page.locator("#image option:checked").innerText()).toBe(`${registry}/busybox:latest`);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await holds(page, "the machine to be kept", async () => {
    const snapshots = await (await navigator.storage.getDirectory()).getDirectoryHandle("snapshots").catch(() => undefined);
    const names: string[] = [];
    if (snapshots) for await (const name of snapshots.keys()) names.push(name);
    const machines = await (await caches.open("prebake-machines")).keys();
    return machines.length > 0 && names.some((name) => name.endsWith(".snap"));
  });
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".toast", { hasText: "Saved" }).waitFor();
  await context!.setOffline(true);
  await page.reload();
  expect(await run(page, "echo $X")).toBe("kept");
});

test("its file is the one that the program makes of the layers", async () => {
  const home = join(work, "pulled");
  execFileSync(prebake, ["pull", `${registry}/busybox`], { env: { ...process.env, PREBAKE_HOME: home }, stdio: "ignore", timeout: PATIENCE });
  const name = readdirSync(join(home, "files")).find((name) => name.endsWith(".wasm"))!;
  const { bytes } = await machineOf((await ensure(`${registry}/busybox`)).machine);
  expect(Buffer.compare(bytes!, readFileSync(join(home, "files", name)))).toBe(0);
});

test("one request brings all documents, and what one encloses counts by its digest", async () => {
  let seen: string[] = [];
  const change = (data?: string): Change => (path, _request, _response, pass) => {
    seen.push(path.replace(/.*\/(manifests|blobs)\//, "$1 "));
    const isNamed = path.endsWith("manifests/latest");
    pass(isNamed && data !== undefined ? (bytes) => Buffer.from(String(bytes).replaceAll(/"data":"[^"]*"/g, `"data":"${data}"`)) : undefined);
  };
  const { machine } = await ensure(`${await standBefore(change())}/busybox`);
  expect(seen).toEqual(["manifests latest"]);
  for (const data of ["AAAA", "!"]) {
    seen = [];
    const found = await ensure(`${await standBefore(change(data))}/busybox`);
    expect(found.machine.layers.map(({ content }) => content)).toEqual(machine.layers.map(({ content }) => content));
    expect(seen).toEqual(["manifests latest", expect.stringMatching(/^manifests sha256:/)]);
  }
});

test("the prompt comes before the snapshot, whose pages are fetched as the guest touches them", async () => {
  let [ranges, size] = [0, 0];
  let rest!: () => void;
  const snapshot = (await ensure(`${registry}/busybox`)).snapshot.travelling.url.split("/").pop()!;
  const address = await standBefore((path, request, response, pass) => {
    if (!path.endsWith(snapshot)) return pass();
    if (request.headers.range) {
      return pass((bytes) => {
        ranges += bytes.length;
        return bytes;
      });
    }
    void fetch(`http://${registry}${path}`).then(async (answer) => {
      const bytes = Buffer.from(await answer.arrayBuffer());
      size = bytes.length;
      response.writeHead(200, { "content-length": size, "accept-ranges": "bytes", etag: answer.headers.get("etag")! });
      // What is before the frames of single groups: FORMAT.md. The rest stays away.
      const start = Number(bytes.readBigUInt64LE(64)) + bytes.readUInt32LE(88);
      response.write(bytes.subarray(0, start));
      rest = () => response.end(bytes.subarray(start));
    });
  });
  const found = await ensure(`${address}/busybox`);
  const shell = await Shell.start({ machine: found.machine, snapshot: found.snapshot, saveTo: "memory" });
  expect(await shell.run("echo $((6 * 7))")).toBe("42");
  // Nothing twice, and not all.
  expect(ranges).toBeLessThan(size * 0.9);
  rest();
  const { state } = await shell.vm.checkpoint();
  await shell.vm.stop();
  // Of the same snapshot, which now comes whole.
  const { machine, snapshot: whole } = await ensure(`${registry}/busybox`);
  const again = await Shell.start({ machine, snapshot: whole, changes: state! });
  expect(await again.run("echo again")).toBe("again");
  again.vm.kill();
});

test("a registry that knows no ranges brings all of a snapshot", async () => {
  const change: Change = (_path, request, _response, pass) => {
    delete request.headers.range;
    pass();
  };
  expect(await kindThrough(change)).toBe("no error");
});

test("a token server is asked for what the registry wants", async () => {
  const seen: string[] = [];
  const change: Change = (path, request, response, pass) => {
    if (path.startsWith("/token?")) {
      seen.push(`${new URL(path, "http://x").searchParams.toString()} ${request.headers.authorization}`);
      return void response.end(JSON.stringify({ token: "let-me-in" }));
    }
    if (request.headers.authorization === "Bearer let-me-in") return pass();
    const challenge = `Bearer realm="http://${request.headers.host}/token",service="here"`;
    response.writeHead(401, { "www-authenticate": challenge }).end();
  };
  expect(await kindThrough(change)).toBe("no error");
  expect(seen).toEqual(["service=here&scope=repository%3Abusybox%3Apull undefined"]);
  const address = `127.0.0.1:${(proxy!.address() as AddressInfo).port}`;
  await ensure(`${address}/busybox`, { username: "user", password: "secret" });
  expect(seen[1]).toMatch(/ Basic dXNlcjpzZWNyZXQ=$/);
});

test("what is damaged, cut off or missing is an error that says so", async () => {
  const { machine, snapshot } = await ensure(`${registry}/busybox`);
  const [code, root] = machine.layers.map(({ url }) => url.split("/").pop()!);
  const saved = snapshot.travelling.url.split("/").pop()!;
  const changed = (part: string, change: (bytes: Buffer) => Buffer): Change => {
    return (path, _request, _response, pass) => pass(path.endsWith(part) ? change : undefined);
  };
  expect(await kindThrough(changed(code!, flipped(100_000)))).toMatch(/^(malformed|corrupted)$/);
  expect(await kindThrough(changed(root!, flipped(-1000)))).toBe("malformed");
  expect(await kindThrough(changed(code!, (bytes) => bytes.subarray(1)))).toBe("registry-cut-off");
  expect(await kindThrough(changed(saved, flipped(300)))).toBe("corrupted");
  expect(await kindThrough(changed("manifests/latest", flipped(0)))).toBe("registry-document");
  const notEnclosed = (bytes: Buffer): Buffer => Buffer.from(String(bytes).replaceAll(/"data":"[^"]*"/g, '"data":""'));
  expect(
    await kindThrough((path, _request, _response, pass) => {
      pass(/manifests\/sha256/.test(path) ? flipped(20) : path.endsWith("manifests/latest") ? notEnclosed : undefined);
    }),
  ).toBe("registry-digest");
  expect(await kindOf(ensure(`${registry}/busybox:none`))).toBe("not-in-registry");
  expect(await kindOf(ensure("127.0.0.1:1/busybox"))).toBe("registry-unreachable");
});

test("what has no end is not read to its end", async () => {
  const { machine, snapshot } = await ensure(`${registry}/busybox`);
  const [code] = machine.layers.map(({ url }) => url.split("/").pop()!);
  const saved = snapshot.travelling.url.split("/").pop()!;
  let sent = 0;
  /** Sends zeroes until nobody takes them. */
  const flood = (response: ServerResponse): void => {
    const zeroes = Buffer.alloc(1 << 16);
    const more = (): void => {
      while (!response.destroyed && sent < 1 << 30) {
        sent += zeroes.length;
        if (!response.write(zeroes)) return void response.once("drain", more);
      }
      response.end();
    };
    more();
  };
  for (const [part, kind] of [["manifests/latest", "registry-document"], ["token", "registry-unauthorized"], [code!, "registry-cut-off"], [saved, "registry-cut-off"]] as const) {
    sent = 0;
    const change: Change = (path, request, response, pass) => {
      if (path.includes(part)) return flood(response);
      if (part !== "token") return pass();
      response.writeHead(401, { "www-authenticate": `Bearer realm="http://${request.headers.host}/token"` }).end();
    };
    expect(await kindThrough(change), part).toBe(kind);
    expect(sent, part).toBeLessThan(256 << 20);
  }
  // A layer is as long as its manifest says.
  const longer: Change = (path, _request, _response, pass) => pass(path.endsWith(saved) ? (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]) : undefined);
  expect(await kindThrough(longer)).toBe("registry-cut-off");
});

test("a registry that does not allow the page is an error that says what to do", async () => {
  const closed = await startRegistry("closed", false);
  const page = await open(`?image=${closed}/busybox`);
  const card = page.locator("#overlay .card.bad");
  await card.waitFor();
  expect(await card.innerText()).toContain("registry-cors");
  expect(await card.innerText()).toContain("access-control-allow-origin");
  await page.goto(`${site.url}?image=127.0.0.1:1/busybox`);
  await card.filter({ hasText: "registry-unreachable" }).waitFor();
  await page.goto(site.url);
  await until(page, PROMPT);
});
