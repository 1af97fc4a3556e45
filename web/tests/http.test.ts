// Requests of a guest, as they come in pieces.

import { expect, test } from "vitest";
import { bodyOf as boundedBody, parseHead } from "../dist/lib/http.js";
import { FetchCarrier } from "../dist/lib/network-fetch.js";

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && String.fromCharCode(...bytes);

/** The body of a request, once all of it has come; every shorter beginning is waited for. */
function bodyOf(request: string): string | undefined {
  for (let end = 0; end < request.length; end++) {
    const head = parseHead(bytes(request.slice(0, end)));
    expect(text(head?.body(bytes(request.slice(0, end))))).toBe(undefined);
  }
  return text(parseHead(bytes(request))?.body(bytes(request)));
}

test("a request is whole when its head is, and its body", () => {
  expect(bodyOf("GET / HTTP/1.1\r\nHost: a\r\n\r\n")).toBe("");
  expect(bodyOf("POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")).toBe("abc");
  expect(bodyOf("PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\r\n\r\n1;x=y\r\nb\r\n0\r\n\r\n")).toBe("a\r\nb");
  const head = parseHead(bytes("GET /a?b HTTP/1.1\r\nHOST:  a \r\nX: y: z\r\n\r\n"))!;
  expect([head.method, head.target, head.headers]).toEqual(["GET", "/a?b", [["host", "a"], ["x", "y: z"]]]);
});

test("what is no request is an error, and not waited for", () => {
  for (const wrong of ["\x16\x03\x01", "SSH-2.0-x\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nnone\r\n\r\n", "GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"]) {
    expect(() => parseHead(bytes(wrong)), JSON.stringify(wrong)).toThrow();
  }
  expect(() => parseHead(bytes(`GET /${"x".repeat(70_000)}`))).toThrow();
  const chunked = bytes("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n");
  expect(() => parseHead(chunked)!.body(chunked)).toThrow();
});

test("a body is not read beyond its bound, whatever was announced", async () => {
  let taken = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      taken += 1 << 16;
      if (taken > 64 << 20) controller.close();
      else controller.enqueue(new Uint8Array(1 << 16));
    },
  });
  expect(await boundedBody(new Response(endless, { headers: { "content-length": "10" } }), 1 << 20)).toBe(undefined);
  expect(taken).toBeLessThan(2 << 20);
  expect(text(await boundedBody(new Response("abc"), 3))).toBe("abc");
  expect(await boundedBody(new Response("abcd"), 3)).toBe(undefined);
  expect(await boundedBody(new Response(null), 0)).toHaveLength(0);
});

test("what a guest sends of requests is bounded for all of them together", () => {
  const refused: number[] = [];
  const nothing = (): void => undefined;
  const came = (flow: number, bytes: Uint8Array): void => void (text(bytes)!.startsWith("HTTP/1.1 400") && refused.push(flow));
  const arrivals = { opened: nothing, failed: nothing, came, ended: nothing, frame: nothing, ready: nothing, taken: async () => undefined, lost: nothing };
  const carrier = new FetchCarrier(arrivals);
  const flows = Array.from({ length: 20 }, (_, flow) => flow);
  for (const flow of flows) {
    carrier.open(flow, "tcp", "server.example", 80);
    carrier.send(flow, bytes("POST / HTTP/1.1\r\ncontent-length: 1000000000\r\n\r\n"));
  }
  const piece = new Uint8Array(1 << 20);
  for (let count = 0; count < 10; count++) for (const flow of flows) carrier.send(flow, piece);
  expect(refused.length).toBeGreaterThanOrEqual(20 - 7);
  // Those that are gone leave room for others.
  const left = flows.filter((flow) => !refused.includes(flow));
  left.forEach((flow) => carrier.close(flow));
  carrier.open(99, "tcp", "server.example", 80);
  carrier.send(99, bytes("POST / HTTP/1.1\r\ncontent-length: 1000000000\r\n\r\n"));
  for (let count = 0; count < 60; count++) carrier.send(99, piece);
  expect(refused).not.toContain(99);
  carrier.end();
});
