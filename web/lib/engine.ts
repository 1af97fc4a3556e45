// Runs one machine in this thread: looks outside between the steps that the Rust part takes.

import { compileKept, type KeptMachine, machineOf } from "./compile.js";
import { loadCore } from "./core.js";
import { isNode } from "./environment.js";
import { PrebakeError } from "./errors.js";
import { openFile, outOfMemory, rangesOf, type ReadableFile, whenThere } from "./file.js";
import { Folder } from "./folder.js";
import { Mirror } from "./mirror.js";
import { type Arrivals, type Carrier, carrierOf } from "./network.js";
import { Replacement } from "./opfs.js";
import type { Checkpoint, Ending, MachineOptions, Notice, Stats, Stream } from "./options.js";
import { Step, touchedFirst, Vm as Core, type Options } from "./wasm/web.js";
import { Wasi } from "./wasi.js";

/** Milliseconds between two looks at the outside while the guest works. */
const LOOK_EVERY = 8;
/** The same while something goes on in its network. */
const LOOK_AT_NETWORK_EVERY = 1;
/** Bytes of a stream that wait for the guest before more are asked for. */
const WAITING = 256 << 10;
/** Output that may be outstanding before the machine waits for whoever shows it. */
const OUTSTANDING = 1 << 20;
/** Output is passed on in pieces of at most this many bytes. */
const TOGETHER = 64 << 10;
/** Input is passed on in pieces of this many bytes. */
const PIECE = 4096;
const SEED_LENGTH = 64;
/** What is fetched of a snapshot at first: what says where its pages are. */
const BEGINNING = { length: 256 << 10, end: false };
/** The longest that a timer of JavaScript waits. */
const LONGEST_WAIT = 0x7fff_ffff;

/** What the engine tells whoever has started it. */
export interface EngineEvents {
  output(bytes: Uint8Array, stream: Stream): void;
  notice(notice: Notice, message?: string): void;
  kept(integrity: string): void;
  progress(what: "machine" | "snapshot", done: number, total: number | undefined): void;
  ended(result: Ending | PrebakeError): void;
}

interface Waiting<T> {
  resolve(value: T): void;
  reject(error: PrebakeError): void;
}

export class Engine {
  private readonly core: Core;
  private readonly input: { bytes: Uint8Array; done: Waiting<void> }[] = [];
  private inputEnded = false;
  private saves: Waiting<Checkpoint>[] = [];
  private lastState: Uint8Array | undefined;
  private outstanding = 0;
  /** The machine's file, until it is kept. */
  private unkept: Uint8Array<ArrayBuffer> | undefined;
  /** What was kept of it. */
  private kept: Omit<KeptMachine, "otherwise"> | undefined;
  /** Output that is not passed on yet: a guest that echoes writes each byte by itself. */
  private last: { readonly stream: Stream; readonly parts: Uint8Array[]; length: number } | undefined;
  private wakeUp: (() => void) | undefined;
  private busy = 0;
  private over = false;
  /** What has come from outside, and is passed on between two steps. */
  private arrived: ((core: Core) => void)[] = [];
  private takers: { flow: number; resolve(): void }[] = [];

  private constructor(
    private readonly options: MachineOptions,
    private readonly events: EngineEvents,
    private readonly snapshot: ReadableFile,
    private readonly folder: Folder,
    private readonly mirror: Mirror | undefined,
    private readonly wasi: Wasi,
    private readonly times: { compiled: number; restored: number; memory: number },
    private readonly carrier: Carrier | undefined,
    restore: (engine: Engine) => Core,
  ) {
    this.core = restore(this);
  }

  /** Restores a machine. It runs as soon as `run` is called. */
  static async restore(options: MachineOptions, events: EngineEvents): Promise<Engine> {
    const start = performance.now();
    let compiled = 0;
    const folder = new Folder();
    const mirror = options.keepFilesIn && new Mirror(folder, options.keepFilesIn.opfs);
    const machine = machineOf(options.machine, (...progress) => events.progress("machine", ...progress));
    const coming = openFile(options.snapshot, (...progress) => events.progress("snapshot", ...progress), BEGINNING);
    const [{ bytes, module }, snapshot, changes] = await Promise.all([
      machine.then((machine) => {
        compiled = performance.now() - start;
        return machine;
      }),
      coming.then((snapshot) => {
        // Whoever reads what does not come is told.
        if (options.changes === undefined) hurry(snapshot).catch(() => undefined);
        return snapshot;
      }),
      options.changes === undefined ? undefined : openFile(options.changes),
      mirror?.load(),
      loadCore(),
    ]);
    // What has changed is laid over the whole snapshot.
    if (changes) await Promise.all([changes.complete(), snapshot.complete()]);
    for (const [path, bytes] of Object.entries(options.files ?? {})) folder.write(path, bytes);
    const chosen = coreOptions(options);
    let engine: Engine | undefined;
    const carrier = options.network && carrierOf(options.network, arrivalsAt(() => engine, events));
    try {
      for (;;) {
        const began = performance.now();
        const wasi = new Wasi(snapshot, options.folder === undefined ? undefined : folder);
        const instance = await instantiate(module, wasi);
        const memory = instance.exports["memory"];
        if (!(memory instanceof WebAssembly.Memory)) throw new PrebakeError("not-an-artifact", "the module has no memory, so it is no machine");
        wasi.attach(memory);
        const times = { compiled, restored: 0, memory: memory.buffer.byteLength };
        try {
          engine = new Engine(options, events, snapshot, folder, mirror, wasi, times, carrier, (engine) => {
            return Core.restore(engine.host(), instance.exports, snapshot, changes, chosen, carrier);
          });
          times.restored = performance.now() - began;
          if (options.keepMachineIn) engine.unkept = bytes;
          return engine;
        } catch (error) {
          if (!snapshot.pending) throw snapshot.failure ?? error;
          // With a new instance, since this one has half a machine.
          await snapshot.arrived();
        }
      }
    } catch (error) {
      snapshot.close();
      carrier?.end();
      throw PrebakeError.of(error, "engine");
    } finally {
      changes?.close();
    }
  }

  /** What the Rust part calls. */
  private host() {
    return {
      show: (stream: Stream, bytes: Uint8Array) => {
        this.outstanding += bytes.length;
        const { last } = this;
        if (last?.stream !== stream || last.length + bytes.length > TOGETHER) this.passOutputOn();
        this.last ??= { stream, parts: [], length: 0 };
        this.last.parts.push(bytes.slice());
        this.last.length += bytes.length;
      },
      notify: (notice: string) => {
        if (notice === "nothing-new" || notice === "cannot-save") this.decline(notice);
        else this.events.notice(notice as Notice);
      },
      now: () => Date.now(),
      elapsed: () => performance.now(),
      pending: () => this.snapshot.pending,
    };
  }

  private passOutputOn(): void {
    const { last } = this;
    this.last = undefined;
    if (!last) return;
    const [first, ...more] = last.parts;
    this.events.output(more.length ? joined(last.parts, last.length) : first!, last.stream);
  }

  private decline(kind: "nothing-new" | "cannot-save"): void {
    const message =
      kind === "nothing-new"
        ? "the program has had no input yet, so there is nothing to save"
        : "the machine was restored without a place to save it to: give `saveTo`";
    this.settleSaves((save) => save.reject(new PrebakeError(kind, message)));
  }

  private settleSaves(settle: (save: Waiting<Checkpoint>) => void): void {
    const saves = this.saves;
    this.saves = [];
    saves.forEach(settle);
  }

  /** Attends the machine to its end. */
  async run(): Promise<void> {
    let result: Ending | PrebakeError;
    try {
      result = await this.attend();
    } catch (thrown) {
      const error = PrebakeError.of(this.snapshot.failure ?? thrown, "engine");
      const said = error.kind === "engine" ? this.wasi.lastWords.trim() : "";
      result = said ? new PrebakeError(error.kind, `${error.message}. It said: ${said}`) : error;
    }
    this.passOutputOn();
    this.over = true;
    this.snapshot.close();
    this.carrier?.end();
    this.takers.splice(0).forEach(({ resolve }) => resolve());
    this.settleSaves((save) => save.reject(ended()));
    this.input.splice(0).forEach(({ done }) => done.reject(ended()));
    this.events.ended(result);
  }

  private async attend(): Promise<Ending> {
    let looked = performance.now();
    for (;;) {
      this.feed();
      const began = performance.now();
      const step = this.core.step();
      const now = performance.now();
      const looks = now - looked > (this.core.isNetworkBusy() ? LOOK_AT_NETWORK_EVERY : LOOK_EVERY);
      if (step !== Step.More || looks) this.passOutputOn();
      switch (step) {
        case Step.More:
          this.busy += now - began;
          if (looks) {
            await nextTurn();
            looked = performance.now();
          }
          break;
        case Step.Wait:
          // The guest has come to rest for the first time.
          this.snapshot.complete().catch(() => undefined);
          if (this.unkept) await this.keepMachine();
          await this.sleep(this.core.wait());
          looked = performance.now();
          break;
        case Step.Pages:
          await this.snapshot.arrived();
          break;
        case Step.Save:
          await this.save();
          break;
        case Step.End: {
          const how = this.core.ending() as Ending["how"];
          return { how, status: this.core.status(), ...(this.lastState && { state: this.lastState }) };
        }
      }
      if (this.outstanding > OUTSTANDING) this.passOutputOn();
      while (this.outstanding > OUTSTANDING) await this.sleep(undefined);
    }
  }

  /** Passes on what has come from outside: of the input, as far as there is room for it. */
  private feed(): void {
    this.arrived.splice(0).forEach((pass) => pass(this.core));
    this.takers = this.takers.filter(({ flow, resolve }) => {
      const waits = this.core.flowWaiting(flow) > WAITING;
      if (!waits) resolve();
      return waits;
    });
    for (let first = this.input[0]; first && this.core.wantsInput(); first = this.input[0]) {
      this.core.input(first.bytes.subarray(0, PIECE));
      first.bytes = first.bytes.subarray(PIECE);
      if (first.bytes.length === 0) this.input.shift()!.done.resolve();
    }
    if (this.inputEnded && this.input.length === 0) {
      this.inputEnded = false;
      this.core.endInput();
    }
  }

  private async save(): Promise<void> {
    try {
      await this.snapshot.complete();
      await this.mirror?.store();
      const checkpoint = await this.write();
      this.lastState = checkpoint.state;
      this.core.saved(true);
      this.settleSaves((save) => save.resolve(checkpoint));
    } catch (thrown) {
      const error = PrebakeError.of(thrown, "not-saved");
      this.core.saved(false);
      if (this.saves.length === 0) this.events.notice("not-saved", error.message);
      this.settleSaves((save) => save.reject(error));
    }
  }

  private async write(): Promise<Checkpoint> {
    const { saveTo } = this.options;
    if (typeof saveTo !== "object") {
      const sink = new MemorySink();
      const size = this.core.save(sink);
      return { size, state: sink.bytes(size) };
    }
    const target = await Replacement.create(saveTo.opfs);
    // The Rust part makes an error of its own of what is thrown.
    let thrown: unknown;
    const write = (bytes: Uint8Array, offset: number): void => {
      try {
        target.write(bytes, offset);
      } catch (error) {
        thrown = error;
        throw error;
      }
    };
    try {
      const size = this.core.save({ write });
      await target.commit();
      return { size };
    } catch (error) {
      await target.abandon();
      throw thrown ?? error;
    }
  }

  /** Keeps the machine's file where the options say, for another time. */
  private async keepMachine(): Promise<void> {
    const bytes = this.unkept!;
    this.unkept = undefined;
    try {
      const { cache, url } = this.options.keepMachineIn!;
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      const headers = { "content-type": "application/wasm", "content-length": String(bytes.length) };
      await (await caches.open(cache)).put(url, new Response(bytes, { headers }));
      this.kept = { kept: url, integrity: `sha256-${btoa(String.fromCharCode(...digest))}` };
      this.events.kept(this.kept.integrity);
    } catch (error) {
      this.events.notice("not-kept", PrebakeError.of(error, "io").message);
    }
  }

  private wake(): void {
    this.wakeUp?.();
  }

  private sleep(milliseconds: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const timer = milliseconds === undefined ? undefined : setTimeout(() => this.wake(), Math.min(milliseconds, LONGEST_WAIT));
      this.wakeUp = () => {
        clearTimeout(timer);
        this.wakeUp = undefined;
        resolve();
      };
    });
  }

  /** Something has come from outside. */
  arrive(pass: (core: Core) => void): void {
    this.arrived.push(pass);
    this.wake();
  }

  /** Resolves when the guest has taken most of what has come. */
  taken(flow: number): Promise<void> {
    return new Promise((resolve) => {
      this.takers.push({ flow, resolve });
      this.wake();
    });
  }

  private attended<T>(work: () => T): T {
    if (this.over) throw ended();
    const result = work();
    this.wake();
    return result;
  }

  /** Input for the program. Resolves when all of it was passed on. */
  pushInput(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return Promise.resolve();
    return this.attended(() => new Promise((resolve, reject) => this.input.push({ bytes, done: { resolve, reject } })));
  }

  endInput(): void {
    this.attended(() => (this.inputEnded = true));
  }

  resize(columns: number, rows: number): void {
    this.attended(() => this.core.resize(columns, rows));
  }

  signal(number: number): void {
    this.attended(() => this.core.signal(number));
  }

  checkpoint(): Promise<Checkpoint> {
    return this.attended(() => {
      this.core.requestSave();
      return new Promise((resolve, reject) => this.saves.push({ resolve, reject }));
    });
  }

  leave(): void {
    this.attended(() => this.core.leave());
  }

  /** So much of the output was shown. */
  shown(length: number): void {
    this.outstanding -= length;
    this.wake();
  }

  /** The whole snapshot, when it has come. */
  async snapshotBytes(): Promise<Uint8Array> {
    await this.snapshot.complete();
    return this.snapshot.read(0, this.snapshot.size);
  }

  /** Compiles what was kept again, which is no work: the browser takes the code that it has, and keeps it from now on beside what it compiled. */
  async keepCode(): Promise<void> {
    if (this.kept) await compileKept(this.kept);
  }

  files(): Folder {
    return this.folder;
  }

  stats(): Stats {
    return { instructions: this.core.retired(), busy: this.busy, ...this.times };
  }
}

/** Has that of a snapshot come that the machine touches first. */
async function hurry(snapshot: ReadableFile): Promise<void> {
  await loadCore();
  const [head, ...touched] = await whenThere(snapshot, () => rangesOf(touchedFirst(snapshot)));
  await (touched.length > 0 ? snapshot.hurry([head!, ...touched]) : snapshot.complete());
}

/** An instance of the machine's module, which has all of its memory from the start. */
async function instantiate(module: WebAssembly.Module, wasi: Wasi): Promise<WebAssembly.Instance> {
  try {
    return await WebAssembly.instantiate(module, wasi.imports(module));
  } catch (error) {
    throw error instanceof RangeError ? outOfMemory("the machine", error.message) : error;
  }
}

/** What a carrier brings, for an engine that there may not be yet. */
function arrivalsAt(engine: () => Engine | undefined, events: EngineEvents): Arrivals {
  const pass = (pass: (core: Core) => void): void => engine()?.arrive(pass);
  return {
    opened: (flow) => pass((core) => core.flowOpened(flow)),
    failed: (flow, reason) => pass((core) => core.flowFailed(flow, reason)),
    came: (flow, bytes) => pass((core) => core.flowCame(flow, bytes)),
    ended: (flow) => pass((core) => core.flowEnded(flow)),
    frame: (bytes) => pass((core) => core.frame(bytes)),
    ready: () => pass(() => undefined),
    taken: async (flow) => engine()?.taken(flow),
    lost: (message) => events.notice("relay-lost", message),
  };
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function ended(): PrebakeError {
  return new PrebakeError("ended", "the machine has ended");
}

/** A file in memory. */
class MemorySink {
  private buffer = new Uint8Array(1 << 20);

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    if (end > this.buffer.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.buffer.length));
      grown.set(this.buffer);
      this.buffer = grown;
    }
    this.buffer.set(bytes, offset);
  }

  bytes(size: number): Uint8Array {
    return this.buffer.slice(0, size);
  }
}

function coreOptions(options: MachineOptions): Options {
  const { clock = "host", entropy = "host", terminal = true, interactive = false, term = "xterm-256color" } = options;
  const { columns = 80, rows = 24, limit, folder } = options;
  if (options.network && clock === "virtual") throw new PrebakeError("wrong-option", "a network needs the host's clock");
  return {
    clock,
    entropy,
    terminal,
    interactive,
    term,
    columns,
    rows,
    seed: options.seed ?? crypto.getRandomValues(new Uint8Array(SEED_LENGTH)),
    canSave: options.saveTo !== undefined,
    command: [...(options.command ?? [])],
    environment: [...(options.environment ?? [])],
    ...(limit !== undefined && { limit }),
    ...(folder !== undefined && { folder }),
  };
}

/** Lets everything that waits in this thread happen. */
const nextTurn: () => Promise<void> = (() => {
  if (isNode) return () => new Promise<void>((resolve) => setImmediate(resolve));
  // A timer of JavaScript would wait four milliseconds.
  const { port1, port2 } = new MessageChannel();
  let go: (() => void) | undefined;
  port1.onmessage = () => go?.();
  return () =>
    new Promise<void>((resolve) => {
      go = resolve;
      port2.postMessage(0);
    });
})();
