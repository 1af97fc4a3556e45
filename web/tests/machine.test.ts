// The package in Node.js: machines, what is kept of them, and files that are not what they should be.

import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type PrebakeError, verifySnapshot } from "prebake";
import { machine, restore, Shell, snapshot, snapshotBytes } from "./support.js";

const scratch = mkdtempSync(join(tmpdir(), "prebake-web-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** A machine that can be repeated. */
const repeatable = { clock: "virtual", entropy: "published", seed: new Uint8Array(64).fill(7), saveTo: "memory" } as const;

const random = "head -c 16 /dev/urandom | od -An -tx1";

function kindOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "no error",
    (error: PrebakeError) => error.kind,
  );
}

/** Restores a machine and runs it to the prompt. */
async function toPrompt(options: Parameters<typeof Shell.start>[0]): Promise<void> {
  const shell = await Shell.start(options);
  await shell.prompt();
  shell.vm.kill();
}

describe("a machine", () => {
  test("answers what is typed", async () => {
    const shell = await Shell.start();
    expect(await shell.run("uname -m; echo $TERM")).toBe("x86_64\nxterm-256color");
    shell.vm.kill();
  });

  test("that is restored twice draws different random numbers", async () => {
    const drawn = async (options = {}): Promise<string> => {
      const shell = await Shell.start(options);
      const numbers = await shell.run(random);
      shell.vm.kill();
      return numbers;
    };
    expect(await drawn()).toMatch(/^( [0-9a-f]{2}){16}$/);
    expect(await drawn()).not.toBe(await drawn());
    // The same numbers would be noticed.
    expect(await drawn(repeatable)).toBe(await drawn(repeatable));
  });

  test("ends with the status of its program, whose output comes on two streams", async () => {
    const output = { 1: "", 2: "" };
    const vm = await restore({
      terminal: false,
      onOutput: (bytes, stream) => void (output[stream] += new TextDecoder().decode(bytes)),
    });
    // At once: the program may have ended when its input was taken.
    await Promise.all([vm.input("echo out; echo error >&2; exit 3\n"), vm.endInput()]);
    expect(await vm.ended).toEqual({ how: "exited", status: 3 });
    expect(output).toEqual({ 1: "out\n", 2: "error\n" });
    expect(await kindOf(vm.input("late"))).toBe("ended");
  });

  test("passes signals on, and knows the size of its terminal", async () => {
    const shell = await Shell.start({ columns: 100, rows: 30 });
    expect(await shell.run("stty size")).toBe("30 100");
    await shell.vm.resize(81, 25);
    await shell.vm.input("stty size\n");
    await shell.until(/\n25 81/);
    await shell.vm.input("trap 'echo caug''ht' USR2; echo s''et\n");
    await shell.until(/\nset/);
    await shell.vm.signal("SIGUSR2");
    await shell.vm.input("\n");
    await shell.until(/caught/);
    expect(await kindOf(shell.vm.signal("SIGNOT"))).toBe("wrong-option");
    shell.vm.kill();
  });

  test("runs another program than the image's, with variables", async () => {
    const shell = await Shell.start({ command: ["sh", "-c", "echo $0 $A; exit 4"], environment: ["A=b c"], terminal: false });
    expect(await shell.vm.ended).toEqual({ how: "exited", status: 4 });
    expect(shell.text).toBe("sh b c\n");
    expect(await kindOf(Shell.start({ environment: ["novalue"] }))).toBe("wrong-option");
  });

  test("stops at its limit, with an error that says so", async () => {
    // Long before its prompt, where it waits.
    const vm = await restore({ limit: 300_000 });
    expect(await kindOf(vm.ended)).toBe("limit");
  });

  test("takes a megabyte of input without losing a byte", async () => {
    const content = randomBytes(1 << 20);
    const vm = await restore({
      terminal: false,
      command: ["sha256sum"],
      onOutput: (bytes) => void (said += new TextDecoder().decode(bytes)),
    });
    let said = "";
    await vm.input(content);
    await vm.endInput();
    expect((await vm.ended).status).toBe(0);
    expect(said).toBe(`${createHash("sha256").update(content).digest("hex")}  -\n`);
  });
});

describe("a shared folder", () => {
  test("carries files both ways", async () => {
    const content = randomBytes(300_000);
    const shell = await Shell.start({ folder: "/shared", files: { "in/a": content } });
    const digest = createHash("sha256").update(content).digest("hex");
    expect(await shell.run("sha256sum < /shared/in/a")).toBe(`${digest}  -`);
    await shell.vm.writeFile("b b", new TextEncoder().encode("late\n"));
    expect(await shell.run("cat '/shared/b b'")).toBe("late");
    await shell.run("cd /shared; mkdir out; cp in/a out/c; echo x >> out/c; mv 'b b' out/d; rm in/a; rmdir in; mkdir -p 1/2");
    expect((await shell.vm.listFiles()).map(({ path, size }) => [path, size])).toEqual([
      ["out/c", 300_002],
      ["out/d", 5],
    ]);
    expect(Buffer.from(await shell.vm.readFile("out/c"))).toEqual(Buffer.concat([content, Buffer.from("x\n")]));
    expect(await shell.run("rmdir out; rm -r 1; mv out/none x; ls")).toMatch(/not empty[^]*No such file[^]*out$/);
    expect(await kindOf(shell.vm.writeFile("../x", content))).not.toBe("no error");
    shell.vm.kill();
  });
});

describe("a checkpoint", () => {
  test("resumes where it was, with fresh random numbers", async () => {
    const first = await Shell.start({ saveTo: "memory" });
    await first.run("X=$((6 * 7)); echo kept > /tmp/file");
    const { state } = await first.vm.checkpoint();
    // It runs on.
    expect(await first.run("echo $X")).toBe("42");
    first.vm.kill();

    const drawn: string[] = [];
    for (const _ of [1, 2]) {
      const again = await Shell.start({ saveTo: "memory", changes: state! });
      await again.prompt();
      // The line that was unfinished is shown again.
      expect(again.text).toMatch(/^\/ # /);
      expect(await again.run("echo $X; cat /tmp/file")).toBe("42\nkept");
      drawn.push(await again.run(random));
      again.vm.kill();
    }
    expect(drawn[0]).not.toBe(drawn[1]);
  });

  test("of the same input is the same, however the machine was restored", async () => {
    const whole = new Uint8Array(readFileSync(snapshot));
    const states: Uint8Array[] = [];
    for (const source of [snapshot, whole]) {
      const shell = await Shell.start({ ...repeatable, snapshot: source });
      await shell.vm.input("i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); done; dd if=/dev/zero of=/tmp/z bs=64k count=5; exit\n");
      states.push((await shell.vm.ended).state!);
    }
    expect(Buffer.compare(states[0]!, states[1]!)).toBe(0);
    // What is saved after a restore covers what was saved before.
    const shell = await Shell.start({ ...repeatable, changes: states[0]! });
    await shell.run("cat /tmp/z | wc -c");
    const { state } = await shell.vm.checkpoint();
    shell.vm.kill();
    const last = await Shell.start({ ...repeatable, changes: state! });
    expect(await last.run("wc -c < /tmp/z")).toBe("327680");
    last.vm.kill();
  });

  test("is taken when the program has ended, and starts it again", async () => {
    const first = await Shell.start({ saveTo: "memory" });
    await first.run("echo disk > /tmp/file");
    await first.vm.input("exit 5\n");
    const ending = await first.vm.ended;
    expect([ending.how, ending.status]).toEqual(["exited", 5]);
    const again = await Shell.start({ changes: ending.state! });
    expect(await again.run("cat /tmp/file")).toBe("disk");
    again.vm.kill();
  });

  test("is refused where there is nothing new, or no place for it", async () => {
    const shell = await Shell.start();
    await shell.prompt();
    expect(await kindOf(shell.vm.checkpoint())).toBe("cannot-save");
    shell.vm.kill();
  });

  test("that is damaged, or is another snapshot's, is refused", async () => {
    const shell = await Shell.start({ saveTo: "memory" });
    await shell.run("echo");
    const { state } = await shell.vm.checkpoint();
    shell.vm.kill();
    for (const at of [20, 300, state!.length - 100]) {
      const damaged = state!.slice();
      damaged[at]! ^= 1;
      expect(await kindOf(toPrompt({ changes: damaged })), `byte ${at}`).toBe("corrupted");
    }
    expect(await kindOf(toPrompt({ changes: state!.subarray(0, -1) }))).toBe("truncated");
    expect(await kindOf(toPrompt({ changes: snapshot }))).toBe("not-a-delta");
    expect(await kindOf(toPrompt({ snapshot: state! }))).toBe("delta");
  });
});

describe("a file that is not what it should be", () => {
  test("is noticed: every flipped byte", async () => {
    const whole = snapshotBytes();
    const header = new DataView(whole.buffer);
    const [index, pages] = [56, 64].map((at) => Number(header.getBigUint64(at, true)));
    for (const at of [0, 24, 200, 256, 2000, index! + 16]) {
      const damaged = whole.slice();
      damaged[at]! ^= 0x40;
      expect(await kindOf(toPrompt({ snapshot: damaged })), `byte ${at}`).toMatch(/^(corrupted|not-a-snapshot)$/);
    }
    // Of the pages, those that are touched, and all when the file is verified.
    const damaged = whole.slice();
    for (let at = pages!; at < damaged.length; at += 4096) damaged[at]! ^= 1;
    expect(await kindOf(toPrompt({ snapshot: damaged }))).toBe("corrupted");
    const one = whole.slice();
    one[one.length - 1]! ^= 1;
    expect(await kindOf(verifySnapshot(one))).toMatch(/^(corrupted|malformed)$/);
    expect(await verifySnapshot(whole)).toMatch(/^blake3:[0-9a-f]{64}$/);
  });

  test("is noticed: it is cut off, empty, missing or something else", async () => {
    const cut = join(scratch, "cut.snap");
    writeFileSync(cut, snapshotBytes());
    truncateSync(cut, 5_000_000);
    expect(await kindOf(toPrompt({ snapshot: cut }))).toBe("truncated");
    expect(await kindOf(toPrompt({ snapshot: new Uint8Array(0) }))).not.toBe("no error");
    expect(await kindOf(toPrompt({ snapshot: machine }))).toBe("not-a-snapshot");
    expect(await kindOf(toPrompt({ snapshot: join(scratch, "none.snap") }))).toBe("not-found");
    expect(await kindOf(toPrompt({ machine: join(scratch, "none.wasm") }))).toBe("not-found");
    expect(await kindOf(toPrompt({ machine: readFileSync(machine).subarray(0, 1_000_000) }))).toBe("not-an-artifact");
    expect(await kindOf(toPrompt({ machine: snapshot }))).toBe("not-an-artifact");
  });

  test("and options that are wrong are errors, too", async () => {
    expect(await kindOf(toPrompt({ seed: new Uint8Array(8) }))).toBe("wrong-option");
    expect(await kindOf(toPrompt({ clock: "sun" as "host" }))).toBe("wrong-option");
    expect(await kindOf(toPrompt({ folder: "relative" }))).toBe("wrong-option");
  });
});

test("a machine that has ended needs no end of its input", async () => {
  const vm = await restore({ terminal: false, command: ["true"] });
  await vm.ended;
  await vm.endInput();
  expect(await kindOf(vm.input("more"))).toBe("ended");
});

test("a machine that is stopped says how it ended, however soon that is", async () => {
  const shell = await Shell.start();
  await shell.prompt();
  expect(await shell.vm.stop()).toEqual({ how: "left", status: 0 });
});
