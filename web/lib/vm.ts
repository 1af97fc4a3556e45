// A machine, from the outside.

import { isNode, nodeModule } from "./environment.js";
import { PrebakeError } from "./errors.js";
import type { FileSource } from "./file.js";
import type { FolderEntry } from "./folder.js";
import type { Checkpoint, Ending, MachineOptions, MachineSource, RestoreOptions, Stats } from "./options.js";
import type { ErrorMessage, FromWorker, Requests, ToWorker } from "./protocol.js";
import { signalNumber } from "./signals.js";

interface Thread {
  /** Hears what it says, and whether it has failed. */
  listen(onMessage: (message: FromWorker) => void, onError: (reason: string) => void): void;
  post(message: ToWorker, transfer: Transferable[]): void;
  terminate(): void;
}

function fromMessage({ kind, message }: ErrorMessage): PrebakeError {
  return new PrebakeError(kind, message);
}

/** A thread that answers requests. */
class Connection {
  private next = 1;
  private readonly waiting = new Map<number, { resolve(value: unknown): void; reject(error: PrebakeError): void }>();
  private gone: PrebakeError | undefined;

  private constructor(private readonly thread: Thread) {}

  static async open(hear: (message: FromWorker) => void, died: (error: PrebakeError) => void): Promise<Connection> {
    let connection: Connection | undefined;
    const onMessage = (message: FromWorker): void => {
      if ("id" in message) connection!.answer(message);
      else hear(message);
    };
    const onError = (reason: string): void => {
      const error = new PrebakeError("engine", `the thread of the machine has failed: ${reason}`);
      connection?.close(error);
      died(error);
    };
    connection = new Connection(isNode ? await startInNode() : (spare.pop() ?? start()));
    connection.thread.listen(onMessage, onError);
    return connection;
  }

  request<Name extends keyof Requests>(
    method: Name,
    args: Parameters<Requests[Name]>,
    transfer: Transferable[] = [],
  ): Promise<ReturnType<Requests[Name]>> {
    if (this.gone) return Promise.reject(this.gone);
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.thread.post({ id, method, args }, transfer);
    });
  }

  shown(length: number): void {
    if (!this.gone) this.thread.post({ shown: length }, []);
  }

  close(reason: PrebakeError): void {
    if (this.gone) return;
    this.gone = reason;
    this.thread.terminate();
    this.waiting.forEach(({ reject }) => reject(reason));
    this.waiting.clear();
  }

  private answer({ id, result, error }: { id: number; result?: unknown; error?: ErrorMessage }): void {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) waiting?.reject(fromMessage(error));
    else waiting?.resolve(result);
  }
}

function start(): Thread {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "prebake" });
  // It may have failed before anybody listens.
  let failure: string | undefined;
  let failed = (reason: string): void => void (failure = reason);
  worker.onerror = (event) => failed(event.message || "its script could not be loaded");
  return {
    listen(onMessage, onError) {
      worker.onmessage = (event: MessageEvent<FromWorker>) => onMessage(event.data);
      failed = onError;
      if (failure !== undefined) onError(failure);
    },
    post: (message, transfer) => worker.postMessage(message, transfer),
    terminate: () => worker.terminate(),
  };
}

async function startInNode(): Promise<Thread> {
  const { Worker } = await nodeModule<typeof import("node:worker_threads")>("worker_threads");
  const worker = new Worker(new URL("./worker.js", import.meta.url));
  type List = import("node:worker_threads").TransferListItem[];
  return {
    listen(onMessage, onError) {
      worker.on("message", onMessage);
      worker.on("error", (error) => onError(error.message));
    },
    post: (message, transfer) => worker.postMessage(message, transfer as unknown as List),
    terminate: () => void worker.terminate(),
  };
}

/** Threads without a machine, which have begun to load what every machine needs. */
const spare: Thread[] = [];

/** Starts the thread of the next machine, so that it is there when it is wanted. */
export function prepare(): void {
  if (!isNode && spare.length === 0) spare.push(start());
}

/** Splits what cannot be passed to a thread from what can. Relative addresses are the page's. */
function forThread(options: RestoreOptions): MachineOptions {
  const { onOutput, onNotice, onKept, onProgress, ...rest } = options;
  const base = typeof document === "object" ? document.baseURI : globalThis.location?.href;
  const source = (source: FileSource): FileSource => {
    if (source instanceof URL) return source.href;
    if (isNode) return source;
    if (typeof source === "string") return new URL(source, base).href;
    // What `ensure` has found has whole addresses.
    return "url" in source ? { ...source, url: new URL(source.url, base).href } : source;
  };
  const machine = (from: MachineSource): MachineSource => {
    if (typeof from === "object" && "layers" in from) return from;
    if (typeof from === "object" && "kept" in from) return { ...from, kept: new URL(from.kept, base).href, otherwise: machine(from.otherwise) as typeof from.otherwise };
    return source(from);
  };
  return {
    ...rest,
    machine: machine(rest.machine),
    snapshot: source(rest.snapshot),
    ...(rest.changes !== undefined && { changes: source(rest.changes) }),
    ...(rest.keepMachineIn && { keepMachineIn: { ...rest.keepMachineIn, url: new URL(rest.keepMachineIn.url, base).href } }),
  };
}

/** Asks for what has no use any more when the machine has ended, which may be before it answers. */
async function unlessEnded(asked: Promise<void>): Promise<void> {
  try {
    await asked;
  } catch (error) {
    if ((error as PrebakeError).kind !== "ended") throw error;
  }
}

/** A machine that runs in a thread of its own. */
export class Vm {
  private constructor(
    private readonly connection: Connection,
    /** How the machine ended. Rejects if it has failed. */
    readonly ended: Promise<Ending>,
  ) {}

  /** Restores a machine and runs it. Rejects with a `PrebakeError` if its files cannot be had, are damaged or do not fit. */
  static async restore(options: RestoreOptions): Promise<Vm> {
    let end!: (ending: Ending) => void;
    let fail!: (error: PrebakeError) => void;
    const ended = new Promise<Ending>((resolve, reject) => {
      end = resolve;
      fail = reject;
    });
    // Whoever does not ask how it ended is not told.
    ended.catch(() => undefined);
    const show = async (bytes: Uint8Array, stream: 1 | 2): Promise<void> => {
      const { length } = bytes;
      try {
        await options.onOutput?.(bytes, stream);
      } finally {
        connection.shown(length);
      }
    };
    const connection: Connection = await Connection.open((message) => {
      if ("output" in message) void show(message.output, message.stream);
      else if ("notice" in message) options.onNotice?.(message.notice, message.message);
      else if ("kept" in message) options.onKept?.(message.kept);
      else if ("progress" in message) options.onProgress?.(message.progress, message.done, message.total);
      else {
        const failed = "failed" in message ? fromMessage(message.failed) : undefined;
        if ("ended" in message) end(message.ended);
        else fail(failed!);
        connection.close(failed ?? new PrebakeError("ended", "the machine has ended"));
      }
    }, fail);
    try {
      await connection.request("restore", [forThread(options)]);
    } catch (error) {
      connection.close(PrebakeError.of(error, "engine"));
      throw error;
    }
    return new Vm(connection, ended);
  }

  /** Input for the program. Resolves when the machine has taken all of it. */
  input(data: string | Uint8Array): Promise<void> {
    return this.connection.request("input", [typeof data === "string" ? new TextEncoder().encode(data) : data.slice()]);
  }

  /** There will be no more input. If the machine has ended meanwhile, it needs none. */
  endInput(): Promise<void> {
    return unlessEnded(this.connection.request("endInput", []));
  }

  /** The terminal has another size. */
  resize(columns: number, rows: number): Promise<void> {
    return this.connection.request("resize", [columns, rows]);
  }

  /** A signal for the program: its name, such as `SIGINT` or `INT`, or its number in Linux. */
  async signal(signal: string | number): Promise<void> {
    await this.connection.request("signal", [signalNumber(signal)]);
  }

  /** Saves the machine, and runs on. What has changed since the snapshot is what a later `restore` takes as `changes`. */
  checkpoint(): Promise<Checkpoint> {
    return this.connection.request("checkpoint", []);
  }

  /** Ends the machine: saves it first if it was restored with `saveTo`, and something is new. */
  async stop(): Promise<Ending> {
    await unlessEnded(this.connection.request("leave", []));
    return this.ended;
  }

  /** Ends the machine at once. Nothing is saved. */
  kill(): void {
    this.connection.close(new PrebakeError("ended", "the machine was killed"));
  }

  stats(): Promise<Stats> {
    return this.connection.request("stats", []);
  }

  /** The snapshot that it was restored from, when all of it has come: to keep it. */
  snapshotBytes(): Promise<Uint8Array> {
    return this.connection.request("snapshotBytes", []);
  }

  /** Has the browser keep its code of the machine with what `keepMachineIn` has kept, once a service worker has that. Rejects if none has. */
  keepCode(): Promise<void> {
    return this.connection.request("keepCode", []);
  }

  /** The files of the shared folder. */
  listFiles(): Promise<FolderEntry[]> {
    return this.connection.request("listFiles", []);
  }

  /** A file of the shared folder, by its path in it. */
  readFile(path: string): Promise<Uint8Array> {
    return this.connection.request("readFile", [path]);
  }

  /** Writes a file of the shared folder, and makes the folders above it. */
  writeFile(path: string, bytes: Uint8Array): Promise<void> {
    return this.connection.request("writeFile", [path, bytes]);
  }
}

async function once<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
  const ignore = (): void => undefined;
  const connection = await Connection.open(ignore, ignore);
  try {
    return await work(connection);
  } finally {
    connection.close(new PrebakeError("ended", "the work is done"));
  }
}

/** Verifies every byte of a snapshot, and resolves to its content digest. */
export function verifySnapshot(file: FileSource): Promise<string> {
  return once((connection) => connection.request("verifySnapshot", [file]));
}

/** Copies a snapshot into a file of the browser's storage, which gets its name when every byte was verified. */
export function keepSnapshot(file: FileSource, path: string): Promise<void> {
  return once((connection) => connection.request("keep", [file, path]));
}
