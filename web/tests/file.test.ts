// Files on their way, without a server.

import { randomBytes } from "node:crypto";
import { afterEach, expect, test, vi } from "vitest";
import { openFile } from "../dist/lib/file.js";

const PIECE = 64 << 10;
const SIZE = 16 << 20;
const content = randomBytes(SIZE);
const part = (start: number, end: number): Uint8Array<ArrayBuffer> => new Uint8Array(content.subarray(start, end));
const isPart = (bytes: Uint8Array, start: number): boolean => content.subarray(start, start + bytes.length).equals(bytes);

afterEach(() => vi.unstubAllGlobals());

/** A server that sends a piece whenever one is asked for. Tells how much it has sent of the whole file, and which parts were asked for. */
function serve(ranges: boolean, says: Record<string, string> = {}): { whole(): number; asked: string[] } {
  let whole = 0;
  const asked: string[] = [];
  const answer = async (_url: string, { headers }: { headers: Record<string, string> }): Promise<Response> => {
    const [, start, last] = /^bytes=(\d+)-(\d+)$/.exec(headers["range"] ?? "") ?? [];
    if (ranges && start !== undefined) {
      asked.push(`${start}-${last}`);
      return new Response(part(Number(start), Number(last) + 1), { status: 206, headers: { "content-range": `bytes ${start}-${last}/${SIZE}`, ...says } });
    }
    const pull = (controller: ReadableStreamDefaultController): void => {
      controller.enqueue(part(whole, whole + PIECE));
      whole += PIECE;
      if (whole === SIZE) controller.close();
    };
    const body = new ReadableStream({ pull }, { highWaterMark: 0 });
    return new Response(body, { headers: { "content-length": String(SIZE), ...(ranges && { "accept-ranges": "bytes" }) } });
  };
  vi.stubGlobal("fetch", answer);
  return { whole: () => whole, asked };
}

/** What a read comes to, once its bytes are there. */
async function read(file: Awaited<ReturnType<typeof openFile>>, offset: number, length: number): Promise<Uint8Array> {
  for (;;) {
    try {
      return file.read(offset, length);
    } catch (error) {
      if (!file.pending) throw error;
      await file.arrived();
    }
  }
}

const MIB = 1 << 20;
const BEGINNING = { length: 4 * MIB, end: false };

test("of a file of which parts are wanted, nothing else is asked for", async () => {
  const { whole, asked } = serve(true);
  const file = await openFile("http://host/machine", undefined, BEGINNING);
  expect(isPart(await read(file, SIZE - 32, 32), SIZE - 32)).toBe(true);
  const end = 5_000_000;
  await file.bring([[0, end], [SIZE - MIB, SIZE - 990_000]]);
  expect(isPart(file.read(0, end), 0)).toBe(true);
  expect(isPart(file.read(SIZE - MIB, 10_000), SIZE - MIB)).toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const parts = [`0-${4 * MIB - 1}`, `${SIZE - 4 * PIECE}-${SIZE - 1}`, `${SIZE - MIB}-${SIZE - MIB + PIECE - 1}`, `${4 * MIB}-${end - 1}`];
  expect(asked.toSorted()).toEqual(parts.toSorted());
  expect(whole()).toBe(0);
});

test("the end of a file is on its way with its beginning, if it is known how long the file is", async () => {
  const { asked } = serve(true);
  const file = await openFile({ url: "http://host/machine", size: SIZE }, undefined, { ...BEGINNING, end: true });
  expect(isPart(file.read(SIZE - PIECE, PIECE), SIZE - PIECE)).toBe(true);
  expect(asked).toEqual([`0-${4 * MIB - 1}`, `${SIZE - PIECE}-${SIZE - 1}`]);
});

test("an end of another version is not taken for the file's", async () => {
  let version = 0;
  const { asked } = serve(true);
  const answer = globalThis.fetch;
  vi.stubGlobal("fetch", async (...request: Parameters<typeof fetch>) => {
    const response = await answer(...request);
    response.headers.set("etag", String(version++));
    return response;
  });
  const file = await openFile({ url: "http://host/machine", size: SIZE }, undefined, { ...BEGINNING, end: true });
  expect(() => file.read(SIZE - 1, 1)).toThrow("not come yet");
  await expect(file.arrived()).rejects.toMatchObject({ kind: "changed" });
  expect(asked.length).toBe(3);
});

test("a server without ranges sends all of it", async () => {
  const { whole, asked } = serve(false);
  const file = await openFile("http://host/machine", undefined, BEGINNING);
  await file.bring([[0, 1000], [SIZE - 1000, SIZE]]);
  expect([whole(), asked.length]).toEqual([SIZE, 0]);
  expect(isPart(file.read(SIZE - 1000, 1000), SIZE - 1000)).toBe(true);
});

test("a file whose length a server of another origin does not tell comes as a whole", async () => {
  const { whole } = serve(true, { "content-range": "" });
  await openFile("http://host/machine", undefined, BEGINNING);
  await vi.waitFor(() => expect(whole()).toBe(SIZE), { timeout: 60_000 });
});

test("a file of another length than it should have is an error", async () => {
  serve(true);
  const source = { url: "http://host/machine", size: SIZE + 1 };
  await expect(openFile(source, undefined, BEGINNING)).rejects.toMatchObject({ kind: "truncated" });
});

test("of a file that waits for another, all comes when it is asked for", async () => {
  const { whole, asked } = serve(true);
  const file = await openFile("http://host/snapshot", undefined, BEGINNING);
  await file.complete();
  expect(isPart(file.read(0, SIZE), 0)).toBe(true);
  expect(asked).toEqual([`0-${4 * MIB - 1}`, `${4 * MIB}-${SIZE - 1}`]);
  expect(whole()).toBe(0);
});

test("of a file all of which is wanted, all comes without being asked for", async () => {
  const { whole } = serve(true);
  await openFile("http://host/snapshot");
  await vi.waitFor(() => expect(whole()).toBe(SIZE), { timeout: 60_000 });
});

test("of a file parts of which are wanted first, these come first, and then the rest without them", async () => {
  const { asked } = serve(true);
  const file = await openFile("http://host/snapshot", undefined, BEGINNING);
  await file.hurry([[0, 1000], [6 * MIB, 7 * MIB], [7 * MIB + PIECE, 8 * MIB], [12 * MIB, 12 * MIB + 1]]);
  expect(asked.slice(1)).toEqual([`${6 * MIB}-${8 * MIB - 1}`, `${12 * MIB}-${12 * MIB + PIECE - 1}`]);
  expect(isPart(file.read(6 * MIB, 2 * MIB), 6 * MIB)).toBe(true);
  await file.complete();
  expect(isPart(file.read(0, SIZE), 0)).toBe(true);
  expect(asked.slice(3)).toEqual([`${4 * MIB}-${6 * MIB - 1}`, `${8 * MIB}-${SIZE - 1}`]);
});

test("no more than three parts are on their way at a time", async () => {
  const { asked } = serve(true);
  const file = await openFile("http://host/snapshot", undefined, BEGINNING);
  let [now, most] = [0, 0];
  const answer = globalThis.fetch;
  vi.stubGlobal("fetch", async (...request: Parameters<typeof fetch>) => {
    most = Math.max(most, ++now);
    const response = await answer(...request);
    await new Promise((resolve) => setTimeout(resolve, 5));
    now -= 1;
    return response;
  });
  await file.hurry([[0, 1000], ...Array.from({ length: 8 }, (_, at) => [(at + 5) * MIB, (at + 5) * MIB + 1000] as const)]);
  expect([most, asked.length]).toEqual([3, 9]);
});

test("the end of a file is fetched with what is before it", async () => {
  const { asked } = serve(true);
  const file = await openFile("http://host/machine", undefined, BEGINNING);
  expect(isPart(await read(file, SIZE - 1, 1), SIZE - 1)).toBe(true);
  expect(isPart(file.read(SIZE - 4 * PIECE, 4 * PIECE), SIZE - 4 * PIECE)).toBe(true);
  expect(asked).toEqual([`0-${4 * MIB - 1}`, `${SIZE - 4 * PIECE}-${SIZE - 1}`]);
});

test("a file that there is no memory for is an error that says so", async () => {
  vi.stubGlobal("fetch", async () => new Response("x", { headers: { "content-length": String(2 ** 52) } }));
  await expect(openFile("http://host/huge")).rejects.toMatchObject({ kind: "no-memory" });
});
