// A relay that speaks Wisp, version 1: streams of TCP and UDP to names and addresses, all in one WebSocket.

import type { Arrivals, Carrier, Refusal } from "./network.js";

const CONNECT = 1;
const DATA = 2;
const CONTINUE = 3;
const CLOSE = 4;
const TCP = 1;
const UDP = 2;
/** The stream that is the connection itself. */
const ALL = 0;
/** Reasons to close. */
const VOLUNTARY = 2;
const NETWORK_ERROR = 3;
const REASONS: Readonly<Record<number, Refusal>> = { 0x42: "unreachable", 0x43: "unreachable", 0x48: "forbidden" };
const HEADER = 5;
/** Bytes that wait for the relay before the guest does. */
const OUTSTANDING = 1 << 20;
const PIECE = 16 << 10;
/** Milliseconds until it is looked whether those have gone. */
const LOOK_AGAIN = 5;

interface Flow {
  readonly protocol: "tcp" | "udp";
  readonly host: string;
  readonly port: number;
  /** Packets that the relay takes. */
  credit: number;
}

function packet(type: number, stream: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, type);
  view.setUint32(1, stream, true);
  bytes.set(payload, HEADER);
  return bytes;
}

export class WispCarrier implements Carrier {
  readonly carriesFrames = false;
  private socket: WebSocket | undefined;
  /** Packets that the relay takes of a new stream; undefined until it has said so. */
  private credit: number | undefined;
  private readonly flows = new Map<number, Flow>();
  private looking = false;

  constructor(
    private readonly url: string,
    private readonly arrivals: Arrivals,
  ) {}

  open(flow: number, protocol: "tcp" | "udp", host: string, port: number): void {
    this.flows.set(flow, { protocol, host, port, credit: 0 });
    if (!this.socket) this.connect();
    else if (this.credit !== undefined) this.ask(flow);
  }

  /** Connects to the relay, when the guest first wants something of it. */
  private connect(): void {
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer && data.byteLength >= HEADER) this.hear(new Uint8Array(data));
    };
    socket.onclose = () => {
      if (this.socket !== socket) return;
      const said = this.credit === undefined ? "cannot be reached, or is none" : "is gone";
      this.socket = undefined;
      this.credit = undefined;
      const flows = [...this.flows.keys()];
      this.flows.clear();
      for (const flow of flows) this.arrivals.failed(flow, "unreachable");
      this.arrivals.lost(`the relay ${this.url} ${said}; it is called again when the guest next connects`);
    };
    this.socket = socket;
  }

  private ask(number: number): void {
    const flow = this.flows.get(number)!;
    const host = new TextEncoder().encode(flow.host);
    const payload = new Uint8Array(3 + host.length);
    payload[0] = flow.protocol === "tcp" ? TCP : UDP;
    new DataView(payload.buffer).setUint16(1, flow.port, true);
    payload.set(host, 3);
    flow.credit = this.credit!;
    this.socket!.send(packet(CONNECT, number, payload));
    // Whether it could connect, version 1 does not say; if not, it closes the stream.
    if (flow.protocol === "tcp") this.arrivals.opened(number);
  }

  private hear(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer);
    const [type, stream] = [view.getUint8(0), view.getUint32(1, true)];
    const flow = this.flows.get(stream);
    if (type === CONTINUE && bytes.length >= HEADER + 4) {
      const credit = view.getUint32(HEADER, true);
      if (stream !== ALL) {
        if (flow) flow.credit = credit;
        this.arrivals.ready();
      } else if (this.credit === undefined) {
        this.credit = credit;
        for (const number of this.flows.keys()) this.ask(number);
      }
    } else if (type === DATA && flow) {
      this.arrivals.came(stream, bytes.subarray(HEADER));
    } else if (type === CLOSE && flow) {
      this.flows.delete(stream);
      const reason = bytes[HEADER] ?? NETWORK_ERROR;
      if (reason === VOLUNTARY && flow.protocol === "tcp") this.arrivals.ended(stream);
      else this.arrivals.failed(stream, REASONS[reason] ?? "refused");
    }
  }

  room(number: number): number {
    const flow = this.flows.get(number);
    // What is written to a stream that the relay has closed goes nowhere, as with a socket.
    if (!flow) return PIECE;
    if (flow.credit === 0) return 0;
    if (this.socket!.bufferedAmount < OUTSTANDING) return PIECE;
    if (!this.looking) {
      this.looking = true;
      setTimeout(() => {
        this.looking = false;
        this.arrivals.ready();
      }, LOOK_AGAIN);
    }
    return 0;
  }

  send(number: number, bytes: Uint8Array): void {
    const flow = this.flows.get(number);
    if (!flow || this.credit === undefined) return;
    if (flow.protocol === "tcp") flow.credit -= 1;
    this.socket!.send(packet(DATA, number, bytes));
  }

  /** Wisp has no end of one direction: the relay learns of the end of both. */
  finish(): void {}

  close(number: number, reset: boolean): void {
    if (this.flows.delete(number) && this.credit !== undefined) {
      this.socket?.send(packet(CLOSE, number, Uint8Array.of(reset ? NETWORK_ERROR : VOLUNTARY)));
    }
  }

  sendFrame(): void {}

  end(): void {
    const { socket } = this;
    this.socket = undefined;
    socket?.close();
  }
}
