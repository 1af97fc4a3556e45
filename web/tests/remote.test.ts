// Snapshots that are on their way while the machine runs, and servers that do not do what they should.

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import type { PrebakeError } from "prebake";
import { machine, Shell, snapshotBytes } from "./support.js";

const bytes = snapshotBytes();
/** What holds header, records and index, and a few pages. */
const START = 2 << 20;

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

type Answer = (request: IncomingMessage, response: ServerResponse, range: readonly [number, number] | undefined) => void;

/** Serves the snapshot as `answer` does; resolves to its address. */
async function serve(answer: Answer): Promise<string> {
  server = createServer((request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    answer(request, response, range ? [Number(range[1]), Number(range[2])] : undefined);
  });
  await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/demo.snap`;
}

const headers = { "content-length": bytes.length, "accept-ranges": "bytes", etag: '"1"' };

function sendRange(response: ServerResponse, [start, end]: readonly [number, number], etag = '"1"'): void {
  response.writeHead(206, { "content-range": `bytes ${start}-${end}/${bytes.length}`, "content-length": end - start + 1, etag });
  response.end(bytes.subarray(start, end + 1));
}

/** Whether this is what nobody is in a hurry for. */
function isRest([start, end]: readonly [number, number]): boolean {
  return end === bytes.length - 1 && end - start > START;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function kindOfStart(snapshot: string): Promise<string> {
  try {
    const shell = await Shell.start({ snapshot });
    await shell.prompt();
    shell.vm.kill();
    return "no error";
  } catch (error) {
    return (error as PrebakeError).kind;
  }
}

test("the prompt comes before the snapshot, whose pages are fetched as the guest touches them", async () => {
  let ranges = 0;
  let go!: () => void;
  const held = new Promise<void>((resolve) => (go = resolve));
  const url = await serve(async (_request, response, range) => {
    // It stays away.
    if (isRest(range!)) await held;
    else ranges += range![1] - range![0] + 1;
    sendRange(response, range!);
  });
  const shell = await Shell.start({ machine, snapshot: url, saveTo: "memory" });
  expect(await shell.run("echo $((6 * 7))")).toBe("42");
  expect(ranges).toBeGreaterThan(0);
  expect(ranges).toBeLessThan(bytes.length);
  // To be saved, it waits for all of it.
  let saved = false;
  const checkpoint = shell.vm.checkpoint().then(() => (saved = true));
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(saved).toBe(false);
  go();
  await checkpoint;
  expect(await shell.run("echo still there")).toBe("still there");
  shell.vm.kill();
});

test("a server without ranges is waited for", async () => {
  const url = await serve((_request, response) => {
    const { "accept-ranges": _none, ...plain } = headers;
    response.writeHead(200, plain);
    let at = 0;
    const more = (): void => {
      response.write(bytes.subarray(at, (at += 4 << 20)));
      if (at < bytes.length) setTimeout(more, 20);
      else response.end();
    };
    more();
  });
  expect(await kindOfStart(url)).toBe("no error");
});

test("a connection that is lost is taken up where it was", async () => {
  let broken: number | undefined;
  const later: number[] = [];
  const url = await serve((_request, response, range) => {
    const [start, end] = range!;
    if (broken !== undefined) later.push(start);
    // The one that brings what nobody is in a hurry for, as far as that has not come otherwise.
    if (broken !== undefined || end - start <= START) return sendRange(response, range!);
    broken = start;
    response.writeHead(206, { ...headers, "content-range": `bytes ${start}-${end}/${bytes.length}`, "content-length": end - start + 1 });
    response.write(bytes.subarray(start, start + START), () => response.destroy());
  });
  const shell = await Shell.start({ machine, snapshot: url, saveTo: "memory" });
  await shell.run("echo");
  await shell.vm.checkpoint();
  expect(sha256(await shell.vm.snapshotBytes())).toBe(sha256(bytes));
  shell.vm.kill();
  expect(broken).toBeDefined();
  expect(later.filter((start) => start > broken! && start <= broken! + START)).not.toEqual([]);
});

test("what never comes is an error that says how far it came", async () => {
  const url = await serve((_request, response, range) => {
    if (range![0] > 0) return void response.writeHead(503).end();
    sendRange(response, range!);
  });
  expect(await kindOfStart(url)).toMatch(/^(truncated|http)$/);
});

test("a file that is replaced on its way is not mixed with the new one", async () => {
  const url = await serve((_request, response, range) => {
    sendRange(response, range!, range![0] > 0 ? '"2"' : '"1"');
  });
  expect(await kindOfStart(url)).toBe("changed");
});

test("a flipped byte of a page that is fetched is noticed", async () => {
  const damaged = bytes.slice();
  for (let at = START; at < damaged.length; at += 4096) damaged[at]! ^= 1;
  const url = await serve((_request, response) => void response.writeHead(200, headers).end(damaged));
  expect(await kindOfStart(url)).toBe("corrupted");
});

test("a missing file, and a server that is not there, are errors", async () => {
  const url = await serve((_request, response) => void response.writeHead(404).end());
  expect(await kindOfStart(url)).toBe("not-found");
  server!.close();
  server!.closeAllConnections();
  expect(await kindOfStart(url)).toBe("network");
});
