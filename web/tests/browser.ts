// The page on a server of files, and Chromium in front of it.

import { createHash } from "node:crypto";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { serve } from "../serve.mjs";
import { PATIENCE, until as untilThat, within } from "./patience.js";
import { machine, snapshot } from "./support.js";

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The page with the demo's machine, in a folder of its own. */
export class Site {
  private constructor(
    readonly folder: string,
    readonly server: Server,
    readonly url: string,
  ) {}

  static async start(): Promise<Site> {
    const folder = mkdtempSync(join(tmpdir(), "prebake-page-"));
    cpSync(new URL("../dist/page", import.meta.url).pathname, folder, { recursive: true });
    mkdirSync(join(folder, "images"));
    copyFileSync(machine, join(folder, "images/demo.wasm"));
    copyFileSync(snapshot, join(folder, "images/demo.snap"));
    const [wasm, snap] = [readFileSync(machine), readFileSync(snapshot)];
    const image = {
      name: "demo",
      title: "Linux",
      description: "busybox",
      network: true,
      machine: { url: "images/demo.wasm?v=1", size: wasm.length, digest: sha256(wasm).slice(0, 32) },
      snapshot: { url: "images/demo.snap?v=1", size: snap.length, digest: sha256(snap).slice(0, 32) },
    };
    writeFileSync(join(folder, "images.json"), JSON.stringify({ images: [image] }));
    const server = await serve([["/", folder]]);
    return new Site(folder, server, `http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  }

  stop(): void {
    this.server.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env["PREBAKE_CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

/** A profile of its own. What is asked of its pages is not waited for without end. */
export async function newContext(browser: Browser, options: BrowserContextOptions = {}): Promise<BrowserContext> {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE);
  return context;
}

/** What the terminal shows, if it is there. */
export async function screen(page: Page): Promise<string> {
  const shown = page.evaluate(() => {
    const { prebake } = globalThis as unknown as { prebake?: { terminal: import("@xterm/xterm").Terminal } };
    if (!prebake) return "";
    const { active } = prebake.terminal.buffer;
    const lines = Array.from({ length: active.length }, (_, at) => active.getLine(at)?.translateToString(true) ?? "");
    return lines.join("\n").trimEnd();
  });
  return within("what the terminal shows", shown);
}

/** What of the terminal `pick` finds. A page that shows an error is not waited for. */
async function shown<T>(page: Page, what: string, pick: (text: string) => T | undefined | false): Promise<T> {
  let text = "";
  const ask = async (): Promise<T | undefined | false> => {
    text = await screen(page);
    const found = pick(text);
    if (found !== undefined && found !== false) return found;
    const errors = await page.locator("#overlay .card.bad").allInnerTexts();
    if (errors.length) throw new Error(`${what} was waited for, and the page shows an error: ${errors.join()}`);
    return undefined;
  };
  return untilThat(what, ask, () => `The terminal shows ${JSON.stringify(text.slice(-500))}`);
}

export function until(page: Page, pattern: RegExp): Promise<RegExpMatchArray> {
  return shown(page, String(pattern), (text) => text.match(pattern) ?? undefined);
}

/** Waits until a question is answered with yes. `waitForFunction` takes a promise for an answer. */
export async function holds(page: Page, what: string, question: () => Promise<boolean>): Promise<void> {
  await untilThat(what, () => page.evaluate(question));
}

export const PROMPT = /[#$]$/;

/** What a command prints. It fits into a line of 80 columns: at first, the guest's shell may not know that there are more. */
export async function run(page: Page, command: string): Promise<string> {
  await until(page, PROMPT);
  const before = (await screen(page)).length;
  await page.keyboard.type(`${command}\n`);
  return shown(page, `the end of ${command}`, (text) => {
    const said = text.slice(before);
    return said.includes("\n") && PROMPT.test(said) && said.split("\n").slice(1, -1).join("\n");
  });
}

/** Saves the session `demo`. */
export async function save(page: Page): Promise<void> {
  // What was said before is not taken for this.
  await page.evaluate(() => document.getElementById("toasts")!.replaceChildren());
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".toast", { hasText: "Saved demo" }).waitFor();
  await page.locator("#terminal").click();
}

/** Where pictures of the page go, if they are wanted. */
const pictures = process.env["PREBAKE_PICTURES"];

export async function picture(page: Page, name: string): Promise<void> {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  await page.waitForTimeout(300);
  await page.screenshot({ path: join(pictures, `${name}.png`) });
}
