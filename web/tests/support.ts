// What the tests share.

import { readFileSync } from "node:fs";
import { PrebakeError, type RestoreOptions, Vm } from "prebake";
import { bounded, within } from "./patience.js";

/** The folder with `demo.wasm` and `demo.snap`. */
const folder = process.env["PREBAKE_DEMO"];
if (!folder) throw new Error("PREBAKE_DEMO must name the folder with demo.wasm and demo.snap: run make web-test");

export const machine = `${folder}/demo.wasm`;
export const snapshot = `${folder}/demo.snap`;
export const snapshotBytes = (): Uint8Array => new Uint8Array(readFileSync(snapshot));

/** A prompt; the shell may ask where the cursor is after it. */
const PROMPT = /[#$] (\x1b\[6n)?$/;

function start(options: Partial<RestoreOptions>): Promise<Vm> {
  return within("a machine to be restored", Vm.restore({ machine, snapshot, ...options }));
}

/** A machine. None of its promises is waited for without end. */
export async function restore(options: Partial<RestoreOptions>): Promise<Vm> {
  return bounded(await start(options));
}

/** A machine whose shell is talked to. */
export class Shell {
  text = "";
  private waiting: (() => void)[] = [];

  /** As `restore` gives it. */
  readonly vm: Vm;

  private constructor(private readonly machine: Vm) {
    this.vm = bounded(machine);
  }

  static async start(options: Partial<RestoreOptions> = {}): Promise<Shell> {
    let shell: Shell | undefined;
    let early = "";
    const decoder = new TextDecoder();
    const onOutput = (bytes: Uint8Array): void => {
      const text = decoder.decode(bytes, { stream: true });
      if (shell) shell.hear(text);
      else early += text;
    };
    const machine = await start({ ...options, onOutput });
    shell = new Shell(machine);
    shell.hear(early);
    // Who fails is never waited for in vain.
    machine.ended.then(
      () => shell.hear(""),
      () => shell.hear(""),
    );
    return shell;
  }

  private hear(text: string): void {
    this.text += text;
    this.waiting.splice(0).forEach((resolve) => resolve());
  }

  /** Resolves to what matched. Rejects if the machine has failed. */
  until(pattern: RegExp): Promise<RegExpMatchArray> {
    return within(String(pattern), this.untilEnd(pattern), () => `The machine said ${JSON.stringify(this.text.slice(-500))}`);
  }

  private async untilEnd(pattern: RegExp): Promise<RegExpMatchArray> {
    let over: "no" | "yes" | PrebakeError = "no";
    void this.machine.ended.then(
      () => (over = "yes"),
      (error: PrebakeError) => (over = error),
    );
    for (;;) {
      const found = this.text.match(pattern);
      if (found) return found;
      if ((over as unknown) instanceof PrebakeError) throw over;
      if ((over as string) === "yes") throw new Error(`the machine ended without ${pattern}; it said ${JSON.stringify(this.text.slice(-500))}`);
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  async prompt(): Promise<void> {
    await this.until(PROMPT);
  }

  /** What a command prints. */
  async run(command: string): Promise<string> {
    await this.prompt();
    this.text = "";
    await this.vm.input(`${command}\n`);
    await this.until(new RegExp(`\\n[^]*${PROMPT.source}`));
    const lines = this.text.replaceAll("\r", "").replaceAll("\x1b[6n", "").split("\n");
    return lines.slice(1, -1).join("\n");
  }
}
