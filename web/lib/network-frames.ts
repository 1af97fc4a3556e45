// A relay of Ethernet frames: each is a message, both ways, as websockproxy and wsnic have them.

import type { Arrivals, Carrier } from "./network.js";

/** Bytes that wait for the relay. More is lost, as on any wire. */
const OUTSTANDING = 4 << 20;
/** Milliseconds until a relay that is gone is called again. */
const AGAIN = 2000;

export class FramesCarrier implements Carrier {
  readonly carriesFrames = true;
  private socket: WebSocket | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private over = false;
  /** A relay that is gone is told of once. */
  private told = false;

  constructor(
    private readonly url: string,
    private readonly arrivals: Arrivals,
  ) {
    this.connect();
  }

  private connect(): void {
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.told = false;
    };
    socket.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer) this.arrivals.frame(new Uint8Array(data));
    };
    socket.onclose = () => {
      if (this.over) return;
      if (!this.told) this.arrivals.lost(`the relay ${this.url} cannot be reached, so the guest has no network; it is called again`);
      this.told = true;
      this.timer = setTimeout(() => this.connect(), AGAIN);
    };
    this.socket = socket;
  }

  sendFrame(frame: Uint8Array): void {
    const { socket } = this;
    if (socket?.readyState === WebSocket.OPEN && socket.bufferedAmount < OUTSTANDING) socket.send(frame.slice());
  }

  open(): void {}
  room(): number {
    return 0;
  }
  send(): void {}
  finish(): void {}
  close(): void {}

  end(): void {
    this.over = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }
}
