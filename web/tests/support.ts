// What the tests share.

import { readFileSync } from "node:fs";
import { PrebakeError, type RestoreOptions, Vm } from "prebake";

/** The folder with `demo.wasm` and `demo.snap`. */
const folder = process.env["PREBAKE_DEMO"];
if (!folder) throw new Error("PREBAKE_DEMO must name the folder with demo.wasm and demo.snap: run make web-test");

export const machine = `${folder}/demo.wasm`;
export const snapshot = `${folder}/demo.snap`;
export const snapshotBytes = (): Uint8Array => new Uint8Array(readFileSync(snapshot));

/** A prompt; the shell may ask where the cursor is after it. */
const PROMPT = /[#$] (\x1b\[6n)?$/;

/** A machine whose shell is talked to. */
export class Shell {
  text = "";
  private waiting: (() => void)[] = [];

  private constructor(public vm: Vm) {}

  static async start(options: Partial<RestoreOptions> = {}): Promise<Shell> {
    let shell: Shell | undefined;
    let early = "";
    const decoder = new TextDecoder();
    const onOutput = (bytes: Uint8Array): void => {
      const text = decoder.decode(bytes, { stream: true });
      if (shell) shell.hear(text);
      else early += text;
    };
    const vm = await Vm.restore({ machine, snapshot, ...options, onOutput });
    shell = new Shell(vm);
    shell.hear(early);
    // Who fails is never waited for in vain.
    vm.ended.then(
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
  async until(pattern: RegExp): Promise<RegExpMatchArray> {
    let over: "no" | "yes" | PrebakeError = "no";
    void this.vm.ended.then(
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
