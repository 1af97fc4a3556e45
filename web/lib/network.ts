// What carries the guest's network: a relay behind a WebSocket, or the browser's own requests.

import { FetchCarrier } from "./network-fetch.js";
import { FramesCarrier } from "./network-frames.js";
import { WispCarrier } from "./network-wisp.js";
import { PrebakeError } from "./errors.js";

/** What carries the guest's network. */
export type NetworkOptions =
  /** Plain HTTP, by requests of the browser. They reach this page's own server, and others that allow it (CORS); nothing else. */
  | { readonly fetch: true }
  /** The address of a relay that speaks Wisp (`wss://…/`): TCP and UDP. */
  | { readonly wisp: string }
  /** The address of a relay of Ethernet frames, one a message (`wss://…`). The network is on the other side. */
  | { readonly frames: string };

/** Why a flow cannot be. */
export type Refusal = "refused" | "unreachable" | "forbidden";

/** What a carrier tells. */
export interface Arrivals {
  opened(flow: number): void;
  failed(flow: number, reason: Refusal): void;
  came(flow: number, bytes: Uint8Array): void;
  ended(flow: number): void;
  frame(bytes: Uint8Array): void;
  /** There is room for more of what the guest sends. */
  ready(): void;
  /** Resolves when the guest has taken most of what has come. */
  taken(flow: number): Promise<void>;
  /** A user should know this. */
  lost(message: string): void;
}

/** Carries what the guest sends. It answers later, never during a call. */
export interface Carrier {
  readonly carriesFrames: boolean;
  sendFrame(frame: Uint8Array): void;
  open(flow: number, protocol: "tcp" | "udp", host: string, port: number): void;
  /** Bytes of a stream that it takes now. */
  room(flow: number): number;
  send(flow: number, bytes: Uint8Array): void;
  /** The guest sends nothing more on a stream. */
  finish(flow: number): void;
  /** A flow has ended; with `reset`, the guest broke it off. */
  close(flow: number, reset: boolean): void;
  /** The machine has ended. */
  end(): void;
}

/** Makes the carrier that is asked for. */
export function carrierOf(options: NetworkOptions, arrivals: Arrivals): Carrier {
  if ("fetch" in options) return new FetchCarrier(arrivals);
  if ("wisp" in options) return new WispCarrier(relay(options.wisp), arrivals);
  if ("frames" in options) return new FramesCarrier(relay(options.frames), arrivals);
  throw new PrebakeError("wrong-option", "a network is { fetch: true }, { wisp: ADDRESS } or { frames: ADDRESS }");
}

function relay(address: string): string {
  let url: URL | undefined;
  try {
    url = new URL(address);
  } catch {
    // It is said below.
  }
  if (url?.protocol !== "ws:" && url?.protocol !== "wss:") {
    throw new PrebakeError("wrong-option", `a relay's address begins with ws: or wss:, unlike ${JSON.stringify(address)}`);
  }
  if (typeof WebSocket === "undefined") throw new PrebakeError("wrong-option", "a relay needs WebSocket, which Node.js has from version 22 on");
  return url.href;
}
