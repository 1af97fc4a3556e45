// Measures the page in Chromium beside v86 and prebake's native engine, and prints tables.
//
//     node bench.mjs SITE V86 PREBAKE WORKLOADS
//
// SITE is a page with the machines `demo` and `trained`; V86 a folder of bench/guest and bench/v86-state.mjs; PREBAKE the program; WORKLOADS a shell script with functions,
// one for each workload.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "../serve.mjs";

const LOADS = Number(process.env.LOADS ?? 7);
const ROUNDS = Number(process.env.ROUNDS ?? 3);
const [site, v86, prebake, script] = process.argv.slice(2);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const server = await serve([["/libv86/", here("../node_modules/v86/build")], ["/v86/", v86], ["/bench/", here(".")], ["/", site]]);
const origin = `http://127.0.0.1:${server.address().port}`;
const OURS = `${origin}/?image=demo`;
const V86 = `${origin}/bench/v86.html`;
/** Milliseconds that a busy host may take for anything. */
const PATIENCE = 600_000;
const browser = await chromium.launch({ executablePath: process.env.PREBAKE_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });

const sockets = new Map();
server.on("connection", (socket) => sockets.set(socket, 0));
/** Bytes that the server has sent since the last call. */
function sent() {
  let sum = 0;
  for (const [socket, before] of sockets) {
    sum += socket.bytesWritten - before;
    sockets.set(socket, socket.bytesWritten);
  }
  return sum;
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
const mib = (bytes) => (bytes / (1 << 20)).toFixed(1);

const names = [...readFileSync(script, "utf8").matchAll(/^(\w+)\(\) \{.*\}$/gm)];
const WORKLOADS = names.map(([, name]) => name);
// A shell of its own runs them: what an interactive one has written to a terminal, its children write line by line to pipes, too.
const WORK = `cat >/tmp/work <<'END'\ndata=/tmp/data\n${names.map(([line]) => line).join("\n")}\n"$@"\nEND`;
const DATA = "seq 1 60000 | head -c 262144 >/tmp/part; for part in 1 2 3 4 5 6 7 8; do cat /tmp/part; done >/tmp/data";
const SET_UP = `${WORK}\n${DATA}`;
const command = (name) => `sh /tmp/work ${name} >/dev/null`;

/** Looks for the page's prompt, from inside. */
function watch() {
  const timer = setInterval(() => {
    const terminal = globalThis.prebake?.terminal;
    if (!terminal) return;
    const { active } = terminal.buffer;
    for (let row = 0; row <= active.cursorY; row++) {
      if (!/[#$] ?$/.test(active.getLine(row)?.translateToString(true) ?? "")) continue;
      globalThis.promptAt ??= performance.now();
      clearInterval(timer);
    }
  }, 5);
}

/** Types into our page. */
const typeInto = (text) => globalThis.prebake.vm().input(text);

/** Whether our page shows a line that starts so. */
function shows(text) {
  const { active } = globalThis.prebake.terminal.buffer;
  return [0, 1, 2, 3].some((up) => active.getLine(active.baseY + active.cursorY - up)?.translateToString(true).startsWith(text));
}

async function newPage(context) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.addInitScript(watch);
  return page;
}

/** Milliseconds from the start of the page's load to its prompt, and the bytes that came until then. */
async function load(page, url) {
  sent();
  await page.goto(url, { waitUntil: "commit" });
  const handle = await page.waitForFunction(() => globalThis.promptAt, undefined, { polling: 5 });
  return { time: await handle.jsonValue(), bytes: sent() };
}

/** Waits for all that makes a later visit quick. */
async function kept(page) {
  const isKept = () =>
    page.evaluate(async () => {
      const root = await navigator.storage.getDirectory();
      const snapshots = await root.getDirectoryHandle("snapshots").catch(() => undefined);
      const machines = await (await caches.open("prebake-machines")).keys();
      if (!snapshots || !navigator.serviceWorker.controller || machines.length === 0) return false;
      for await (const name of snapshots.keys()) if (name.endsWith(".snap")) return true;
      return false;
    });
  while (!(await isKept())) await page.waitForTimeout(100);
}

function row(name, loads) {
  const times = loads.map(({ time }) => time);
  return `| ${name} | ${Math.min(...times).toFixed(0)}, ${median(times).toFixed(0)}, ${Math.max(...times).toFixed(0)} | ${mib(median(loads.map(({ bytes }) => bytes)))} |`;
}

async function measureLoads() {
  const cold = { ours: [], v86: [] };
  for (let number = 0; number < LOADS; number++) {
    for (const [name, url] of [["ours", OURS], ["v86", V86]]) {
      const context = await browser.newContext();
      const page = await newPage(context);
      // The browser still draws its new window.
      await page.waitForTimeout(1000);
      cold[name].push(await load(page, url));
      await context.close();
    }
  }
  const context = await browser.newContext();
  const page = await newPage(context);
  await load(page, OURS);
  await kept(page);
  await load(page, V86);
  const warm = { ours: [], v86: [] };
  for (let number = 0; number < LOADS; number++) {
    for (const [name, url] of [["ours", OURS], ["v86", V86]]) {
      await page.goto("about:blank");
      warm[name].push(await load(page, url));
    }
  }
  await load(page, OURS);
  await page.evaluate(typeInto, `${SET_UP}; ${WORKLOADS.map(command).join("; ")}; echo DON''E\n`);
  await page.waitForFunction(shows, "DONE", { polling: 200 });
  // The browser keeps its code when it has made none for two seconds.
  await page.waitForTimeout(5000);
  const worked = [];
  for (let number = 0; number < LOADS; number++) {
    await page.goto("about:blank");
    worked.push(await load(page, OURS));
  }
  await page.locator("#terminal").click();
  await page.keyboard.type("X=1\n");
  await page.waitForTimeout(500);
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".toast", { hasText: "Saved" }).waitFor();
  const resumed = [];
  for (let number = 0; number < LOADS; number++) {
    sent();
    await page.reload({ waitUntil: "commit" });
    await page.waitForFunction(() => document.body.dataset.state === "running", undefined, { polling: 5 });
    resumed.push({ time: await page.evaluate(() => performance.now()), bytes: sent() });
  }
  await context.close();
  console.log("| page load to prompt | ms: least, median, most | MiB fetched until then |\n|---|---|---|");
  console.log([row("prebake, first visit", cold.ours), row("v86, first visit", cold.v86), row("prebake, later visit", warm.ours)].join("\n"));
  console.log([row("v86, later visit", warm.v86), row("prebake, after work in a visit", worked), row("prebake, a saved session", resumed)].join("\n"));
}

/** A shell in a page: `evaluate` types into it, and tells what it said since. */
async function workloads(page, type, said, instructions) {
  const session = await browser.newBrowserCDPSession();
  const renderers = async () => {
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    return processInfo.filter(({ type }) => type === "renderer");
  };
  const cpu = async () => (await renderers()).reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  // To ask takes the processor of the page's process.
  const until = (text) => page.waitForFunction(said, text, { polling: 200 });
  await page.evaluate(type, `${SET_UP}; echo READ''Y\n`);
  await until("READY");
  const results = new Map();
  for (const name of WORKLOADS) {
    const before = [await page.evaluate(instructions), await cpu()];
    await page.evaluate(type, `${command(name)}; echo DON''E ${name}\n`);
    await until(`DONE ${name}`);
    const after = [await page.evaluate(instructions), await cpu()];
    results.set(name, { instructions: (after[0] - before[0] + 2 ** 32) % 2 ** 32, seconds: after[1] - before[1] });
  }
  const pids = (await renderers()).map(({ id }) => id);
  const resident = pids.map((pid) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0));
  await session.detach();
  return { results, memory: Math.max(...resident) / 1024 };
}

async function inOurPage(image) {
  const context = await browser.newContext();
  const page = await newPage(context);
  await load(page, `${origin}/?image=${image}`);
  const measured = await workloads(
    page,
    typeInto,
    shows,
    async () => (await globalThis.prebake.vm().stats()).instructions,
  );
  await context.close();
  return measured;
}

async function inV86() {
  const context = await browser.newContext();
  const page = await newPage(context);
  await load(page, V86);
  const measured = await workloads(
    page,
    (text) => {
      globalThis.said = "";
      globalThis.emulator.serial0_send(text);
    },
    (text) => globalThis.said.includes(`\n${text}`),
    () => globalThis.emulator.get_instruction_counter() >>> 0,
  );
  await context.close();
  return measured;
}

/** Processor seconds of each workload in the program. */
async function natively() {
  const images = join(site, "images");
  const child = spawn(prebake, ["run", join(images, "demo.wasm"), "--engine", "native", "--snapshot", join(images, "demo.snap")], { stdio: ["pipe", "pipe", "inherit"] });
  const cpu = () => {
    const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };
  const results = new Map();
  let [text, before] = ["", 0];
  child.stdin.write(`${SET_UP}; echo DONE\n`);
  const waiting = [...WORKLOADS];
  let current;
  for await (const bytes of child.stdout) {
    text += bytes;
    if (!text.endsWith("DONE\n")) continue;
    text = "";
    if (current) results.set(current, { seconds: cpu() - before });
    current = waiting.shift();
    if (!current) break;
    before = cpu();
    child.stdin.write(`${command(current)}; echo DONE\n`);
  }
  child.stdin.end();
  child.kill();
  return { results };
}

async function measureWorkloads() {
  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) rounds.push([await inOurPage("demo"), await inOurPage("trained"), await inV86(), await natively()]);
  const mean = (numbers) => Math.exp(numbers.reduce((sum, number) => sum + Math.log(number), 0) / numbers.length);
  console.log("\n| workload | s: prebake, trained, v86, native | native / prebake | v86 / prebake | v86 / trained | M instructions: prebake, v86 | MIPS: prebake, trained, v86 |");
  console.log("|---|---|---|---|---|---|---|");
  const all = WORKLOADS.map((name) => {
    const of = (place, what) => median(rounds.map((round) => round[place].results.get(name)[what]));
    const [ours, trained, v86, native] = [0, 1, 2, 3].map((place) => of(place, "seconds"));
    const [count, trainedCount, other] = [0, 1, 2].map((place) => of(place, "instructions") / 1e6);
    const ratios = [native / ours, v86 / ours, v86 / trained];
    const mips = [count / ours, trainedCount / trained, other / v86];
    const row = [
      name,
      [ours, trained, v86, native].map((seconds) => seconds.toFixed(2)).join(", "),
      ...ratios.map((ratio) => ratio.toFixed(2)),
      `${count.toFixed(0)}, ${other.toFixed(0)}`,
      mips.map((mips) => mips.toFixed(0)).join(", "),
    ];
    console.log(`| ${row.join(" | ")} |`);
    return { ratios, mips };
  });
  const means = (what) => [0, 1, 2].map((place) => mean(all.map((figures) => figures[what][place])));
  console.log(`| geometric mean | | ${means("ratios").map((ratio) => ratio.toFixed(2)).join(" | ")} | | ${means("mips").map((mips) => mips.toFixed(0)).join(", ")} |`);
  const memory = [0, 1, 2].map((place) => median(rounds.map((round) => round[place].memory)).toFixed(0));
  console.log(`\nMemory of the page's process, MiB: ${memory[0]} for prebake, ${memory[1]} for the trained machine, ${memory[2]} for v86.`);
}

try {
  if (LOADS) await measureLoads();
  if (ROUNDS) await measureWorkloads();
} finally {
  await browser.close();
  server.close();
}
