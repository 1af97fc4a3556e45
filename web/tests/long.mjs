// Works in the page for as long as it is told, as a person would: types, pastes, saves, reloads. Every answer is known, and every pasted byte is counted.
//
//     node long.mjs SITE MINUTES      SITE is a page with the machine `demo`
//
// Prints what was done and how much memory the page had; ends with an error at the first answer that is wrong, or if memory grows.

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { serve } from "../serve.mjs";

const MIB = 1 << 20;
/** Growth of the page's memory, from when it has settled, that is taken for a leak. */
const GROWTH = 1.5;

const [site, minutes] = process.argv.slice(2);
const server = await serve([["/", site]]);
const browser = await chromium.launch({ executablePath: process.env.PREBAKE_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-3d-apis"] });
const context = await browser.newContext();
const page = await context.newPage();
page.setDefaultTimeout(1_800_000);
const session = await browser.newBrowserCDPSession();
const done = { typed: 0, pasted: 0, bytes: 0, saved: 0, reloaded: 0 };

async function until(pattern) {
  const handle = await page.waitForFunction(
    (source) => {
      const terminal = globalThis.prebake?.terminal;
      if (!terminal) return false;
      const { active } = terminal.buffer;
      const first = Math.max(0, active.baseY + active.cursorY - 40);
      const lines = Array.from({ length: active.length - first }, (_, at) => active.getLine(first + at)?.translateToString(true) ?? "");
      return lines.join("\n").trimEnd().match(new RegExp(source))?.[1] ?? false;
    },
    pattern.source,
    { polling: 50 },
  );
  return handle.jsonValue();
}

/** What a command prints, which is one line; `mark` tells it from others. */
async function answer(mark) {
  return until(new RegExp(`\\n${mark} (.*)\\n[^\\n]*#$`));
}

function expect(found, wanted, what) {
  if (found !== wanted) throw new Error(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
}

async function type(number) {
  const [a, b] = randomBytes(4).readUInt32LE().toString().match(/.{1,5}/g).map(Number);
  await page.keyboard.type(`echo T${number} $((${a} * ${b ?? 1}))\n`, { delay: 5 });
  expect(await answer(`T${number}`), String(a * (b ?? 1)), "typed");
  done.typed += 1;
}

/** Pastes so many bytes into a file of the guest. */
async function paste(number, length) {
  const text = `${randomBytes(length).toString("base64").match(/.{1,75}/g).join("\n").slice(0, length - 1)}\n`;
  await page.keyboard.type(`cat > /tmp/pasted\n`);
  await page.evaluate((text) => globalThis.prebake.terminal.paste(text), text);
  await page.keyboard.press("Control+d");
  await page.keyboard.type(`echo P${number} $(sha256sum < /tmp/pasted)\n`);
  expect(await answer(`P${number}`), `${createHash("sha256").update(text).digest("hex")} -`, `${length} bytes pasted`);
  done.pasted += 1;
  done.bytes += length;
}

async function save() {
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".toast", { hasText: "Saved" }).first().waitFor();
  await page.locator("#terminal").click();
  done.saved += 1;
}

async function reload(number) {
  await page.keyboard.type(`R=${number}\n`);
  await until(/(R=\d+)\n[^\n]*#$/);
  await save();
  await page.reload();
  await page.waitForFunction(() => document.body.dataset.state === "running");
  await page.keyboard.type(`echo R${number} $R\n`);
  expect(await answer(`R${number}`), String(number), "after a reload");
  done.reloaded += 1;
}

/** MiB of the page's process, and of the page's script. */
async function memory() {
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const resident = processInfo
    .filter(({ type }) => type === "renderer")
    .map(({ id }) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${id}/status`, "utf8"))?.[1] ?? 0));
  return Math.max(...resident) / 1024;
}

const began = Date.now();
const elapsed = () => (Date.now() - began) / 60_000;
try {
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await until(/(#)$/);
  const figures = [];
  let settled;
  for (let round = 1; round === 1 || elapsed() < Number(minutes); round++) {
    for (let command = 0; command < 5; command++) await type(`${round}x${command}`);
    await paste(`${round}a`, 16 << 10);
    await paste(`${round}b`, round % 5 === 1 ? MIB : 128 << 10);
    if (round % 3 === 0) await reload(round);
    const now = await memory();
    // By then, both tiers of the code are there, and a whole screen of history.
    if (round === 3) settled = now;
    figures.push(now);
    if (settled && now > settled * GROWTH) throw new Error(`the page's memory grew from ${settled.toFixed(0)} to ${now.toFixed(0)} MiB`);
    console.log(`${elapsed().toFixed(1)} min: ${JSON.stringify(done)}, ${now.toFixed(0)} MiB`);
  }
  const [least, most] = [Math.min(...figures), Math.max(...figures)];
  console.log(`${elapsed().toFixed(1)} min: ${JSON.stringify(done)}; memory ${least.toFixed(0)} to ${most.toFixed(0)} MiB, at the end ${figures.at(-1).toFixed(0)}; no byte was lost`);
} finally {
  await browser.close();
  server.close();
}
