// The thread of one machine.

import { loadCore } from "./core.js";
import { Engine } from "./engine.js";
import { isNode, nodeModule } from "./environment.js";
import { PrebakeError } from "./errors.js";
import { openFile, type FileSource } from "./file.js";
import { Replacement } from "./opfs.js";
import type { MachineOptions } from "./options.js";
import type { ErrorMessage, FromWorker, Requests, ToWorker } from "./protocol.js";
import { verifySnapshot } from "./wasm/web.js";

/** Milliseconds between two reports of how much of a file has come, but for the last one: a file comes in hundreds of pieces. */
const REPORT_EVERY = 50;

type Answers = { [Name in keyof Requests]: (...args: Parameters<Requests[Name]>) => Promise<ReturnType<Requests[Name]>> };

interface Port {
  postMessage(message: FromWorker, transfer?: readonly Transferable[]): void;
}

function errorMessage(thrown: unknown): ErrorMessage {
  const { kind, message } = PrebakeError.of(thrown, "engine");
  return { kind, message };
}

function serve(port: Port): (message: ToWorker) => void {
  let engine: Engine | undefined;
  const machine = (): Engine => {
    if (!engine) throw new PrebakeError("ended", "there is no machine");
    return engine;
  };
  const reported = new Map<string, number>();
  const answers: Answers = {
    async restore(options: MachineOptions) {
      engine = await Engine.restore(options, {
        output: (output, stream) => port.postMessage({ output, stream }, [output.buffer as ArrayBuffer]),
        notice: (notice, message) => port.postMessage({ notice, message }),
        kept: (integrity) => port.postMessage({ kept: integrity }),
        progress(progress, done, total) {
          const now = performance.now();
          if (done !== total && now - (reported.get(progress) ?? -REPORT_EVERY) < REPORT_EVERY) return;
          reported.set(progress, now);
          port.postMessage({ progress, done, total });
        },
        ended: (result) =>
          port.postMessage(result instanceof PrebakeError ? { failed: errorMessage(result) } : { ended: result }),
      });
      // After the answer, so that no output is before it.
      setTimeout(() => void engine!.run(), 0);
    },
    input: async (bytes) => machine().pushInput(bytes),
    endInput: async () => machine().endInput(),
    resize: async (columns, rows) => machine().resize(columns, rows),
    signal: async (number) => machine().signal(number),
    checkpoint: async () => machine().checkpoint(),
    leave: async () => machine().leave(),
    stats: async () => machine().stats(),
    snapshotBytes: async () => machine().snapshotBytes(),
    keepCode: async () => machine().keepCode(),
    listFiles: async () => machine().files().list(),
    readFile: async (path) => machine().files().read(path),
    writeFile: async (path, bytes) => void machine().files().write(path, bytes),
    async verifySnapshot(source: FileSource) {
      await loadCore();
      const file = await openFile(source);
      try {
        await file.complete();
        return verifySnapshot(file);
      } finally {
        file.close();
      }
    },
    async keep(source: FileSource, path: string) {
      await loadCore();
      const file = await openFile(source);
      const target = await Replacement.create(path);
      try {
        await file.complete();
        const PIECE = 1 << 20;
        for (let at = 0; at < file.size; at += PIECE) target.write(file.read(at, PIECE), at);
        verifySnapshot(file);
        await target.commit();
      } catch (error) {
        await target.abandon();
        throw error;
      } finally {
        file.close();
      }
    },
  };
  return (message) => {
    if ("shown" in message) {
      engine?.shown(message.shown);
      return;
    }
    const { id, method, args } = message;
    const answer = answers[method] as (...args: readonly unknown[]) => Promise<unknown>;
    Promise.resolve()
      .then(() => answer(...args))
      .then(
        (result) => port.postMessage({ id, result }),
        (error: unknown) => port.postMessage({ id, error: errorMessage(error) }),
      );
  };
}

// What every machine needs is loaded before the first is asked for. Whoever asks is told if that fails.
loadCore().catch(() => undefined);

if (isNode) {
  const { parentPort } = await nodeModule<typeof import("node:worker_threads")>("worker_threads");
  if (parentPort) parentPort.on("message", serve(parentPort as unknown as Port));
} else {
  const scope = globalThis as unknown as Port & { onmessage: (event: MessageEvent<ToWorker>) => void };
  const answer = serve(scope);
  scope.onmessage = (event) => answer(event.data);
}
