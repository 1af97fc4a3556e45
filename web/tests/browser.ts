// The page on a server of files, and Chromium in front of it.

import { createHash } from "node:crypto";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { serve } from "../serve.mjs";
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

/** What the terminal shows, if it is there. */
export async function screen(page: Page): Promise<string> {
  return page.evaluate(() => {
    const { prebake } = globalThis as unknown as { prebake?: { terminal: import("@xterm/xterm").Terminal } };
    if (!prebake) return "";
    const { active } = prebake.terminal.buffer;
    const lines = Array.from({ length: active.length }, (_, at) => active.getLine(at)?.translateToString(true) ?? "");
    return lines.join("\n").trimEnd();
  });
}

export async function until(page: Page, pattern: RegExp): Promise<RegExpMatchArray> {
  for (;;) {
    const text = await screen(page);
    const found = text.match(pattern);
    if (found) return found;
    const overlay = await page.locator("#overlay .card.bad").allInnerTexts();
    if (overlay.length) throw new Error(`the page shows an error: ${overlay.join()}`);
    await page.waitForTimeout(50);
  }
}

export const PROMPT = /[#$]$/;

/** What a command prints. */
export async function run(page: Page, command: string): Promise<string> {
  await until(page, PROMPT);
  const before = (await screen(page)).length;
  await page.keyboard.type(`${command}\n`);
  for (;;) {
    const text = (await screen(page)).slice(before);
    if (text.includes("\n") && PROMPT.test(text)) return text.split("\n").slice(1, -1).join("\n");
    await page.waitForTimeout(50);
  }
}
