// Runs a machine in V8, through Machine ABI version 1, and does what a log says: in Node.js, or in Chromium.
//
//     node replay.mjs node|chromium MACHINE.wasm FOLDER
//
// FOLDER has, and gets, what harness/cli/tests/hosts/replay.py says.

import { createServer } from "node:http";
import { readFile, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { basename, join } from "node:path";

/** Replays in the place where this runs. `files` reads and writes by name; `read` gives undefined for a file that is not there. */
async function replay(wasm, Wasi, { read, write }) {
  const text = async (name) => new TextDecoder().decode(await read(name));
  const module = await WebAssembly.compile(wasm);
  // There is no snapshot that the module reads.
  const wasi = new Wasi({ size: 0, read: () => new Uint8Array(0), pending: false }, undefined);
  const { exports } = await WebAssembly.instantiate(module, wasi.imports(module));
  wasi.attach(exports.memory);
  const memory = new Uint8Array(exports.memory.buffer);
  const give = (bytes) => {
    memory.set(bytes, exports.pb_reserve(bytes.length) >>> 0);
    return bytes.length;
  };
  const answer = () => memory.slice(exports.pb_answer() >>> 0, (exports.pb_answer() >>> 0) + exports.pb_answer_length());
  const check = (status) => {
    if (status !== 0) throw new Error(new TextDecoder().decode(answer()));
  };
  if (exports.pb_abi() !== 1) throw new Error("another ABI");
  exports.pb_init();
  const config = await read("config");
  check(exports.pb_configure(give(config)));
  const snapshot = await read("snapshot");
  if (snapshot) {
    const [head, ...runs] = (await text("layout")).trimEnd().split("\n");
    for (const run of runs) {
      const [disk, address, offset, length] = run.split(" ").map(Number);
      const start = (disk < 0 ? exports.pb_ram() : exports.pb_disk(disk)) >>> 0;
      memory.set(snapshot.subarray(offset, offset + length), start + address);
    }
    check(exports.pb_restore(give(snapshot.subarray(0, Number(head))), BigInt(snapshot.length)));
  } else {
    check(exports.pb_boot());
  }
  const said = new Map();
  const listen = () => {
    exports.pb_take_output();
    const output = answer();
    const view = new DataView(output.buffer);
    for (let at = 0; at < output.length; ) {
      const [port, length] = [output[at], view.getUint32(at + 1, true)];
      said.set(port, [...(said.get(port) ?? []), output.subarray(at + 5, at + 5 + length)]);
      at += 5 + length;
    }
  };
  const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (digits) => parseInt(digits, 16));
  const takeFrames = () => {
    exports.pb_take_frames();
    const records = answer();
    const view = new DataView(records.buffer);
    const frames = [];
    for (let at = 0; at < records.length; ) {
      const length = view.getUint32(at, true);
      frames.push(...records.subarray(at + 16, at + 16 + length));
      at += 16 + length;
    }
    return frames;
  };
  for (const line of (await text("log")).trimEnd().split("\n")) {
    const [call, ...words] = line.split(" ");
    if (call === "run") {
      // Without a limit: as an unsigned number, the greatest.
      const reason = exports.pb_run(words[0] === "0" ? BigInt(words[2]) : -1n);
      const found = [reason, exports.pb_detail(), exports.pb_count()].join(" ");
      listen();
      if (found !== words.join(" ")) throw new Error(`\`${line}\` came to ${found}`);
    } else if (call === "skip") {
      exports.pb_skip_to(BigInt(words[0]));
    } else if (call === "push") {
      const bytes = fromHex(words[1]);
      if (exports.pb_push_input(Number(words[0]), give(bytes)) !== bytes.length) throw new Error(`no room for \`${line}\``);
    } else if (call === "frame") {
      // With an empty header.
      const frame = Uint8Array.from([...new Array(12).fill(0), ...fromHex(words[0])]);
      if (exports.pb_push_frame(give(frame)) !== 0) throw new Error(`the guest does not take \`${line}\``);
    } else if (call === "sent") {
      const found = takeFrames();
      if (found.join() !== fromHex(words[0] ?? "").join()) throw new Error(`\`${line}\`, and the guest sent ${found}`);
    } else {
      throw new Error(`\`${line}\` is no call`);
    }
  }
  check(exports.pb_save());
  await write("records", answer());
  const sizes = new Map(new TextDecoder().decode(config).split("\n").map((line) => line.split("=")));
  for (const [name, start] of [["ram", exports.pb_ram()], ["upper", exports.pb_disk(1)]]) {
    await write(name, memory.slice(start >>> 0, (start >>> 0) + Number(sizes.get(name))));
  }
  for (const [port, parts] of said) await write(`said.${port}`, new Uint8Array(await new Blob(parts).arrayBuffer()));
}

async function inNode(machine, folder) {
  const { Wasi } = await import("../dist/lib/wasi.js");
  const read = async (name) => (existsSync(join(folder, name)) ? new Uint8Array(await readFile(join(folder, name))) : undefined);
  await replay(await readFile(machine), Wasi, { read, write: (name, bytes) => writeFile(join(folder, name), bytes) });
}

/** The same in a page, which gets the files from a server here, and sends them to it. */
async function inChromium(machine, folder) {
  const { chromium } = await import("playwright-core");
  const library = new URL("../dist/lib/", import.meta.url);
  const fileOf = (place, name) => {
    if (place === "lib") return new URL(basename(name), library);
    return name === "machine" ? machine : join(folder, basename(name));
  };
  const server = createServer(async (request, response) => {
    const [, place, name] = request.url.split(/^\/(lib|files)\//);
    try {
      if (request.method === "PUT") {
        const parts = [];
        for await (const part of request) parts.push(part);
        await writeFile(join(folder, basename(name)), Buffer.concat(parts));
        response.end();
      } else {
        const bytes = request.url === "/" ? "" : await readFile(fileOf(place, name));
        response.writeHead(200, { "content-type": place === "lib" ? "text/javascript" : "text/html" }).end(bytes);
      }
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.evaluate(`(async () => {
      const replay = ${replay};
      const { Wasi } = await import("/lib/wasi.js");
      const get = async (name) => {
        const response = await fetch("/files/" + name);
        return response.ok ? new Uint8Array(await response.arrayBuffer()) : undefined;
      };
      const put = (name, bytes) => fetch("/files/" + name, { method: "PUT", body: bytes });
      await replay(await get("machine"), Wasi, { read: get, write: put });
    })()`);
  } finally {
    await browser.close();
    server.close();
  }
}

const [place, machine, folder] = process.argv.slice(2);
await (place === "chromium" ? inChromium : inNode)(machine, folder);
