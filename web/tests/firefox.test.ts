// The page in Firefox: its first steps.

import { existsSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Site } from "./browser.js";
import { firefox } from "./firefox.mjs";
import { until as untilThat } from "./patience.js";

const path = process.env["PREBAKE_FIREFOX"] ?? "/usr/bin/firefox-esr";

let site: Site;
let browser: Awaited<ReturnType<typeof firefox>> | undefined;

beforeAll(async () => {
  site = await Site.start();
});
afterEach(() => browser?.stop());
afterAll(() => site?.stop());

const SCREEN = `(() => {
  const { active } = globalThis.prebake.terminal.buffer;
  return Array.from({ length: active.length }, (_, at) => active.getLine(at).translateToString(true)).join("\\n").trimEnd();
})()`;

async function until(pattern: RegExp): Promise<RegExpMatchArray> {
  let text = "";
  const ask = async (): Promise<RegExpMatchArray | undefined> => {
    text = await browser!.evaluate(`globalThis.prebake ? ${SCREEN} : ""`);
    const found = text.match(pattern);
    if (found) return found;
    const problem = await browser!.evaluate(`document.querySelector("#overlay .card.bad")?.innerText ?? ""`);
    if (problem) throw new Error(problem);
    return undefined;
  };
  return untilThat(String(pattern), ask, () => `The terminal shows ${JSON.stringify(text.slice(-500))}`);
}

test.skipIf(!existsSync(path))("Firefox: a prompt, a command, and a reload that goes on where it was", async () => {
  browser = await firefox(path);
  await browser.goto(site.url);
  await until(/#$/);
  await browser.type("X=kept; uname -m\n");
  await until(/\nx86_64\n[^\n]*#$/);
  await browser.evaluate(`document.getElementById("save").click()`);
  await untilThat("the session to be saved", async () => {
    const toasts = await browser!.evaluate(`document.getElementById("toasts").innerText`);
    expect(await browser!.evaluate(`document.querySelectorAll(".toast.bad").length`), toasts).toBe("0");
    return toasts.includes("Saved demo");
  });
  await browser.reload();
  await until(/x86_64[^]*#$/);
  await browser.evaluate(`globalThis.prebake.terminal.focus()`);
  await browser.type("echo it is $X\n");
  await until(/\nit is kept\n/);
});

test.skipIf(!existsSync(path))("Firefox: a private window runs machines, and says that nothing is saved", async () => {
  browser = await firefox(path, true);
  await browser.goto(site.url);
  await until(/#$/);
  await browser.type("uname -m\n");
  await until(/\nx86_64\n[^\n]*#$/);
  expect(await browser.evaluate(`document.getElementById("toasts").innerText`)).toMatch(/^This browser keeps no files for the page/);
  expect(await browser.evaluate(`document.getElementById("status-text").innerText`)).toBe("Running · not saved");
});
