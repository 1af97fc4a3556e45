// HTTP/1.1, as far as a request and the head of an answer go; and bodies that may have no end.

/** Bytes of a head that is still taken. */
const LONGEST_HEAD = 64 << 10;

/** Bytes that come in pieces. */
export class Received {
  private buffer = new Uint8Array(0);
  private length = 0;

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.buffer.subarray(0, this.length);
  }

  /** Forgets them. Returns how many there were. What `bytes` was before stays as it is. */
  take(): number {
    const { length } = this;
    [this.buffer, this.length] = [new Uint8Array(0), 0];
    return length;
  }

  add(piece: Uint8Array): void {
    const length = this.length + piece.length;
    if (length > this.buffer.length) {
      const grown = new Uint8Array(Math.max(length, 2 * this.buffer.length, 4096));
      grown.set(this.bytes);
      this.buffer = grown;
    }
    this.buffer.set(piece, this.length);
    this.length = length;
  }
}

/** All of a body that has at most `limit` bytes; undefined if it has more, whatever was announced. */
export async function bodyOf(response: Response, limit: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const received = new Received();
  const reader = response.body?.getReader();
  for (let part = await reader?.read(); part?.value; part = await reader?.read()) {
    if (received.bytes.length + part.value.length > limit) {
      void reader?.cancel().catch(() => undefined);
      return undefined;
    }
    received.add(part.value);
  }
  return received.bytes;
}

/** What stands in front of a request's body. */
export interface Head {
  readonly method: string;
  readonly target: string;
  /** In lower case. */
  readonly headers: readonly (readonly [string, string])[];
  /** The body, of all that has come; undefined if it is not whole. */
  body(bytes: Uint8Array): Uint8Array | undefined;
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}

/** The head of a request; undefined if it is not whole. Throws if it is none. */
export function parseHead(bytes: Uint8Array): Head | undefined {
  const text = latin1(bytes.subarray(0, LONGEST_HEAD));
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) {
    if (bytes.length >= LONGEST_HEAD || !/^[A-Z]{0,20}( |$)/.test(text)) throw new Error("this is no request of HTTP/1");
    return undefined;
  }
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const request = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(first);
  if (!request) throw new Error("this is no request of HTTP/1");
  const headers = lines.map((line) => {
    const colon = line.indexOf(":");
    if (colon < 1) throw new Error(`${JSON.stringify(line)} is no header`);
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
  });
  const value = (name: string): string | undefined => headers.find(([found]) => found === name)?.[1];
  const isChunked = /\bchunked$/i.test(value("transfer-encoding") ?? "");
  const length = Number(value("content-length") ?? 0);
  if (!Number.isSafeInteger(length) || length < 0) throw new Error("the length of the body is no number");
  return {
    method: request[1]!,
    target: request[2]!,
    headers,
    body(bytes) {
      const rest = bytes.subarray(end + 4);
      if (isChunked) return unchunk(rest);
      return rest.length >= length ? rest.subarray(0, length) : undefined;
    },
  };
}

/** What a body in chunks is; undefined if it is not whole. */
function unchunk(bytes: Uint8Array): Uint8Array | undefined {
  // It ends with an empty line: before, it is not worth a look.
  if (!latin1(bytes.subarray(-4)).endsWith("\r\n\r\n")) return undefined;
  const body = new Received();
  for (let at = 0; ; ) {
    const line = latin1(bytes.subarray(at, at + 64));
    const size = /^([0-9a-f]{1,8})\s*(;[^\r]*)?\r\n/i.exec(line);
    if (!size) {
      if (line.length === 64 || line.includes("\r\n")) throw new Error("a chunk has no length");
      return undefined;
    }
    const length = parseInt(size[1]!, 16);
    at += size[0].length;
    if (length === 0) return body.bytes;
    if (bytes.length < at + length + 2) return undefined;
    body.add(bytes.subarray(at, at + length));
    at += length + 2;
  }
}

/** The head of an answer, whose body ends with the connection. */
export function headOf(status: string, headers: readonly (readonly [string, string])[]): Uint8Array {
  const lines = [`HTTP/1.1 ${status}`, ...headers.map(([key, value]) => `${key}: ${value}`), "connection: close", "", ""];
  return Uint8Array.from(lines.join("\r\n"), (character) => character.charCodeAt(0) & 0xff);
}
