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
function serve(ranges: boolean): { whole(): number; asked: string[] } {
  let whole = 0;
  const asked: string[] = [];
  const answer = async (_url: string, { headers }: { headers: Record<string, string> }): Promise<Response> => {
    const [, start, last] = /^bytes=(\d+)-(\d+)$/.exec(headers["range"] ?? "") ?? [];
    if (start !== undefined) {
      asked.push(`${start}-${last}`);
      return new Response(part(Number(start), Number(last) + 1), { status: 206 });
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

test("of a file of which parts are wanted, nothing else comes", async () => {
  const { whole, asked } = serve(true);
  const file = await openFile("http://host/machine", undefined, true);
  expect(isPart(await read(file, SIZE - 32, 32), SIZE - 32)).toBe(true);
  await vi.waitFor(() => expect(whole()).toBe(4 << 20), { timeout: 60_000 });
  const end = 5_000_000;
  await file.bring([[0, end], [SIZE - 1_000_000, SIZE - 990_000]]);
  expect(isPart(file.read(0, end), 0)).toBe(true);
  expect(isPart(file.read(SIZE - 1_000_000, 10_000), SIZE - 1_000_000)).toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(whole()).toBe(Math.ceil(end / PIECE) * PIECE);
  expect(asked.length).toBe(2);
});

test("a server without ranges sends all of it", async () => {
  const { whole, asked } = serve(false);
  const file = await openFile("http://host/machine", undefined, true);
  await file.bring([[0, 1000], [SIZE - 1000, SIZE]]);
  expect([whole(), asked.length]).toEqual([SIZE, 0]);
  expect(isPart(file.read(SIZE - 1000, 1000), SIZE - 1000)).toBe(true);
});

test("of a file that waits for another, all comes when it is asked for", async () => {
  const { whole, asked } = serve(true);
  const file = await openFile("http://host/snapshot", undefined, true);
  await vi.waitFor(() => expect(whole()).toBe(4 << 20), { timeout: 60_000 });
  await file.complete();
  expect([whole(), asked.length]).toEqual([SIZE, 0]);
});

test("of a file all of which is wanted, all comes without being asked for", async () => {
  const { whole } = serve(true);
  await openFile("http://host/snapshot");
  await vi.waitFor(() => expect(whole()).toBe(SIZE), { timeout: 60_000 });
});

test("of a file parts of which are wanted first, these come first, and then the rest without them", async () => {
  const { whole, asked } = serve(true);
  const file = await openFile("http://host/snapshot", undefined, true);
  const MIB = 1 << 20;
  await file.hurry([[0, 1000], [6 * MIB, 7 * MIB], [7 * MIB + PIECE, 8 * MIB], [12 * MIB, 12 * MIB + 1]]);
  expect(asked).toEqual([`${6 * MIB}-${8 * MIB - 1}`, `${12 * MIB}-${12 * MIB + PIECE - 1}`]);
  expect(isPart(file.read(6 * MIB, 2 * MIB), 6 * MIB)).toBe(true);
  await file.complete();
  expect(isPart(file.read(0, SIZE), 0)).toBe(true);
  expect(whole()).toBeLessThanOrEqual(6 * MIB + PIECE);
  expect(asked.slice(2)).toEqual([`${8 * MIB}-${SIZE - 1}`]);
});

test("the end of a file is fetched with what is before it", async () => {
  const { asked } = serve(true);
  const file = await openFile("http://host/machine", undefined, true);
  expect(isPart(await read(file, SIZE - 1, 1), SIZE - 1)).toBe(true);
  expect(isPart(file.read(SIZE - 4 * PIECE, 4 * PIECE), SIZE - 4 * PIECE)).toBe(true);
  expect(asked).toEqual([`${SIZE - 4 * PIECE}-${SIZE - 1}`]);
});

test("a file that there is no memory for is an error that says so", async () => {
  vi.stubGlobal("fetch", async () => new Response("x", { headers: { "content-length": String(2 ** 52) } }));
  await expect(openFile("http://host/huge")).rejects.toMatchObject({ kind: "no-memory" });
});
