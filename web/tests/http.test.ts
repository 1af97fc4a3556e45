// Requests of a guest, as they come in pieces.

import { expect, test } from "vitest";
import { parseHead } from "../dist/lib/http.js";

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
