// Plain HTTP of the guest, by requests of the browser: each connection is one request and one answer.

import { type Head, headOf, parseHead, Received } from "./http.js";
import type { Arrivals, Carrier } from "./network.js";

/** Bytes of all requests together that are taken before they are answered. */
const LONGEST = 64 << 20;
const PIECE = 64 << 10;
/** Names of headers that the browser sets itself, or that are of the connection. */
const NOT_SENT = /^(accept-encoding|connection|content-length|cookie|date|expect|host|keep-alive|origin|referer|te|trailer|transfer-encoding|upgrade|user-agent|via|proxy-.*|sec-.*)$/;
const NOT_PASSED_ON = /^(connection|content-encoding|keep-alive|trailer|transfer-encoding|upgrade)$/;
const NO_BODY = new Set([204, 205, 304]);

interface Flow {
  readonly host: string;
  readonly port: number;
  readonly stop: AbortController;
  readonly received: Received;
  head: Head | undefined;
  asked: boolean;
}

/** Whether a port is likely one of HTTP's: others are refused, since nothing can be asked of them. */
function isHttp(port: number): boolean {
  return port === 80 || port >= 1024;
}

export class FetchCarrier implements Carrier {
  readonly carriesFrames = false;
  private readonly flows = new Map<number, Flow>();
  /** Bytes of all requests that are not answered. */
  private waiting = 0;

  constructor(private readonly arrivals: Arrivals) {}

  open(number: number, protocol: "tcp" | "udp", host: string, port: number): void {
    if (protocol === "tcp" && isHttp(port)) {
      this.flows.set(number, { host, port, stop: new AbortController(), received: new Received(), head: undefined, asked: false });
      this.arrivals.opened(number);
    } else {
      this.arrivals.failed(number, protocol === "tcp" ? "refused" : "forbidden");
    }
  }

  room(): number {
    return PIECE;
  }

  send(number: number, bytes: Uint8Array): void {
    const flow = this.flows.get(number);
    if (!flow || flow.asked) return;
    flow.received.add(bytes);
    this.waiting += bytes.length;
    try {
      flow.head ??= parseHead(flow.received.bytes);
      const body = flow.head?.body(flow.received.bytes);
      if (flow.head && body) {
        flow.asked = true;
        void this.ask(number, flow, flow.head, body);
      } else if (this.waiting > LONGEST) {
        throw new Error("the request is too long, with others that are not answered");
      }
    } catch (error) {
      flow.asked = true;
      this.forget(flow);
      this.refuse(number, "400 Bad Request", (error as Error).message);
    }
  }

  /** Its request is of no more use. */
  private forget(flow: Flow): void {
    this.waiting -= flow.received.take();
  }

  private async ask(number: number, flow: Flow, head: Head, body: Uint8Array): Promise<void> {
    const url = urlOf(flow, head);
    let response: Response;
    try {
      response = await fetch(url, {
        method: head.method,
        headers: head.headers.filter(([name]) => !NOT_SENT.test(name)).map(([name, value]) => [name, value] as [string, string]),
        ...(body.length && { body: body as Uint8Array<ArrayBuffer> }),
        credentials: "omit",
        cache: "no-store",
        signal: flow.stop.signal,
      });
    } catch (error) {
      if (flow.stop.signal.aborted) return;
      const reason = `The browser did not fetch ${url}: ${(error as Error).message}. It reaches only servers that allow this page (CORS); for others give the machine a relay.`;
      return this.refuse(number, "502 Bad Gateway", reason);
    } finally {
      this.forget(flow);
    }
    const isEncoded = response.headers.has("content-encoding");
    const kept = [...response.headers].filter(([name]) => !NOT_PASSED_ON.test(name) && !(isEncoded && name === "content-length"));
    this.arrivals.came(number, headOf(`${response.status} ${response.statusText}`, kept));
    try {
      if (response.body && head.method !== "HEAD" && !NO_BODY.has(response.status)) await this.pass(number, response.body);
      this.arrivals.ended(number);
    } catch {
      if (flow.stop.signal.aborted) return;
      this.flows.delete(number);
      this.arrivals.failed(number, "refused");
    }
  }

  private async pass(number: number, body: ReadableStream<Uint8Array>): Promise<void> {
    const reader = body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      this.arrivals.came(number, part.value);
      await this.arrivals.taken(number);
    }
  }

  private refuse(number: number, status: string, reason: string): void {
    const text = new TextEncoder().encode(`${reason}\n`);
    this.arrivals.came(number, headOf(status, [["content-type", "text/plain"], ["content-length", String(text.length)]]));
    this.arrivals.came(number, text);
    this.arrivals.ended(number);
  }

  finish(): void {}

  close(number: number): void {
    const flow = this.flows.get(number);
    if (!flow) return;
    this.forget(flow);
    flow.stop.abort();
    this.flows.delete(number);
  }

  sendFrame(): void {}

  end(): void {
    for (const number of [...this.flows.keys()]) this.close(number);
  }
}

/** Where a request goes. A page from HTTPS may fetch nothing else, but from the host that it is on. */
function urlOf({ host, port }: Flow, { target }: Head): string {
  const url = new URL(`http://${host}:${port}/`);
  const isLocal = /^(127\.\d+\.\d+\.\d+|(.*\.)?localhost)$/.test(host);
  if (globalThis.location?.protocol === "https:" && !isLocal) url.protocol = "https:";
  // A proxy is asked with a whole address.
  const path = target.startsWith("/") ? target : target.replace(/^https?:\/\/[^/]*/i, "") || "/";
  const [plain = "/", ...query] = path.split("?");
  url.pathname = plain;
  url.search = query.join("?");
  return url.href;
}
