// The page in Chromium, as it is built, on a server of files.

import { randomBytes } from "node:crypto";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { holds, launch, newContext, picture, PROMPT, run, save, screen, sha256, Site, until } from "./browser.js";
import { within } from "./patience.js";
import { machine, snapshot } from "./support.js";

let browser: Browser;
let site: string;
let url: string;
let context: BrowserContext;
let served: Site;

beforeAll(async () => {
  served = await Site.start();
  ({ folder: site, url } = served);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  served?.stop();
});

afterEach(() => context?.close());

async function open(address = "", options: Parameters<Browser["newContext"]>[0] = {}, before?: () => void): Promise<Page> {
  context = await newContext(browser, { viewport: { width: 1100, height: 640 }, colorScheme: "dark", ...options });
  if (before) await context.addInitScript(before);
  const page = await context.newPage();
  await page.goto(url + address);
  return page;
}

/** Waits until all that is needed without a network is kept. */
function kept(page: Page): Promise<void> {
  return holds(page, "all that is needed without a network", async () => {
    const snapshots = await (await navigator.storage.getDirectory()).getDirectoryHandle("snapshots").catch(() => undefined);
    const hasSnapshot = async (): Promise<boolean> => {
      if (snapshots) for await (const name of snapshots.keys()) if (name.endsWith(".snap")) return true;
      return false;
    };
    const machines = await (await caches.open("prebake-machines")).keys();
    return navigator.serviceWorker.controller !== null && machines.length > 0 && hasSnapshot();
  });
}

async function errorOf(page: Page): Promise<string> {
  return page.locator("#overlay .card.bad").innerText();
}

test("a prompt, commands, and a reload that goes on where it was", async () => {
  const page = await open();
  await until(page, PROMPT);
  expect(await run(page, "uname -m")).toBe("x86_64");
  expect(await run(page, "cd /tmp; X=kept; ls /")).toMatch(/\bproc\b/);
  await picture(page, "desktop");
  await save(page);
  await page.reload();
  await until(page, /x86_64[^]*\/tmp #$/);
  expect(await run(page, "echo $X in $PWD")).toBe("kept in /tmp");
});

test("the machine is on its way before the page is there", async () => {
  context = await newContext(browser);
  const page = await context.newPage();
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route(/assets\/main-.*\.js$/, async (route) => {
    await held;
    await route.continue();
  });
  const asked = new Promise<void>((resolve) => {
    served.server.on("request", ({ url, headers }) => url?.includes("demo.snap") && headers.range && resolve());
  });
  await page.goto(url, { waitUntil: "commit" });
  await within("a request for the snapshot", asked);
  release();
  expect(await run(page, "stty size")).toBe(await page.evaluate(() => {
    const { terminal } = (globalThis as unknown as { prebake: { terminal: { rows: number; cols: number } } }).prebake;
    return `${terminal.rows} ${terminal.cols}`;
  }));
});

test("what is typed before the machine is there reaches it", async () => {
  const page = await open("icon.svg");
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route("**/demo.snap*", async (route) => {
    await held;
    await route.continue();
  });
  await page.goto(url);
  // It says that it is on its way.
  await page.locator("#overlay progress").waitFor();
  await picture(page, "loading");
  await page.keyboard.type("echo early $((6 * 7))\n");
  release();
  await until(page, /\nearly 42\n/);
});

test("a machine that nobody has used is not saved", async () => {
  const page = await open();
  await until(page, PROMPT);
  // The shell has asked where the cursor is, and was answered.
  await kept(page);
  await page.reload();
  await until(page, PROMPT);
  expect(await page.locator("#status-text").innerText()).toBe("Running · demo");
  await page.getByRole("button", { name: "Sessions" }).click();
  await page.getByRole("button", { name: "New session" }).waitFor();
  expect(await page.locator("ul.rows li").count()).toBe(0);
});

test("work is saved by itself, and outlives a tab that crashes", async () => {
  const page = await open();
  await run(page, "X=precious; cd /tmp");
  await page.locator("#saved", { hasText: "saved" }).waitFor();
  // Nothing was said, and nothing stands in the way.
  expect(await page.locator(".toast").count()).toBe(0);
  const session = await context.newCDPSession(page);
  void session.send("Page.crash").catch(() => undefined);
  await page.waitForEvent("crash");
  const next = await context.newPage();
  await next.goto(url);
  await until(next, /X=precious[^]*\/tmp #$/);
  expect(await run(next, "echo $X in $PWD")).toBe("precious in /tmp");
});

test("leaving the tab saves, without a word", async () => {
  const page = await open();
  await run(page, "X=hidden");
  await page.evaluate(() => {
    Object.defineProperty(document, "visibilityState", { value: "hidden" });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await page.locator("#saved", { hasText: "saved" }).waitFor();
  await page.reload();
  expect(await run(page, "echo $X")).toBe("hidden");
});

test("it starts, and resumes, without a network", async () => {
  const page = await open();
  await run(page, "X=offline");
  await kept(page);
  await save(page);
  await context.setOffline(true);
  await page.reload();
  expect(await run(page, "echo $X")).toBe("offline");
  await page.goto(`${url}?image=demo&cmd=echo+fresh+$X.`);
  await until(page, /\nfresh \./);
});

test("a later visit takes the machine that was kept, and a damaged one from the server again", async () => {
  let asked = 0;
  const count = ({ url }: { url?: string | undefined }): void => void (asked += url?.includes("demo.wasm") ? 1 : 0);
  served.server.on("request", count);
  const page = await open();
  await until(page, PROMPT);
  await kept(page);
  expect(asked).toBeGreaterThan(0);
  asked = 0;
  await page.reload();
  expect(await run(page, "uname -m")).toBe("x86_64");
  expect(asked).toBe(0);
  const damage = (): Promise<string> =>
    page.evaluate(async () => {
      const cache = await caches.open("prebake-machines");
      const [request] = await cache.keys();
      const bytes = new Uint8Array(await (await cache.match(request!))!.arrayBuffer());
      bytes[bytes.length - 1000]! ^= 1;
      await cache.put(request!, new Response(bytes, { headers: { "content-type": "application/wasm" } }));
      return request!.url;
    });
  expect(await damage()).toMatch(/\/machines\/[0-9a-f]{32}\.wasm$/);
  await page.reload();
  expect(await run(page, "echo $((6 * 7))")).toBe("42");
  expect(asked).toBeGreaterThan(0);
  // It was kept again.
  await page.waitForTimeout(500);
  asked = 0;
  await page.reload();
  await until(page, PROMPT);
  expect(asked).toBe(0);
  served.server.off("request", count);
});

test("a second tab is told that the session is open, and gets a fresh machine", async () => {
  const page = await open();
  await run(page, "X=first");
  await save(page);
  const second = await context.newPage();
  await second.goto(url);
  await second.locator(".toast.bad", { hasText: "open in another tab" }).waitFor();
  expect(await run(second, "echo second $X.")).toBe("second .");
  await second.locator("#status-text", { hasText: "not saved" }).waitFor();
  expect(await run(page, "echo $X")).toBe("first");
});

test("a tab that is just being closed has its session no more", async () => {
  const closing = await open("icon.svg");
  await closing.evaluate(() => {
    void navigator.locks.request("prebake-session-demo", async () => {
      while (((await navigator.locks.query()).pending ?? []).length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
      await new Promise((resolve) => setTimeout(resolve, 50));
    });
  });
  const page = await context.newPage();
  await page.goto(url);
  await until(page, PROMPT);
  expect(await page.locator("#status-text").innerText()).toMatch(/^Running · demo/);
});

test("sessions are listed, opened and removed", async () => {
  const page = await open();
  await run(page, "X=one");
  await save(page);
  await page.getByRole("button", { name: "Sessions" }).click();
  await page.getByRole("button", { name: "New session" }).click();
  await page.locator("#status-text", { hasText: "demo-2" }).waitFor();
  expect(await run(page, "echo new $X.")).toBe("new .");
  await page.getByRole("button", { name: "Sessions" }).click();
  await picture(page, "sessions");
  await page.getByRole("button", { name: "Open demo", exact: true }).click();
  await page.locator("#status-text", { hasText: /demo$/ }).waitFor();
  expect(await run(page, "echo $X")).toBe("one");
  await page.getByRole("button", { name: "Sessions" }).click();
  page.on("dialog", (dialog) => void dialog.accept());
  await page.getByRole("button", { name: "Remove demo-2" }).click();
  await page.getByRole("button", { name: "Remove demo-2" }).waitFor({ state: "detached" });
});

test("a program that ends says so, and starts again over the same disk", async () => {
  const page = await open();
  await run(page, "echo disk > /tmp/file");
  await page.keyboard.type("exit 3\n");
  await page.locator("#overlay", { hasText: "status 3" }).waitFor();
  await page.getByRole("button", { name: "Start it again" }).click();
  expect(await run(page, "cat /tmp/file")).toBe("disk");
});

test("on a phone, with the bar of keys", async () => {
  const page = await open("", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
  await until(page, PROMPT);
  await page.locator("#terminal").tap();
  await page.keyboard.type("cat\n");
  await page.getByRole("button", { name: "Control" }).tap();
  await page.keyboard.type("c");
  await until(page, /\^C\n[^]*#$/);
  await run(page, "uname -a");
  await page.getByRole("button", { name: "Up" }).tap();
  await until(page, /# uname -a$/);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  await picture(page, "phone");
  await page.setViewportSize({ width: 320, height: 568 });
  // A message does not hide what is typed.
  await page.locator("#save").tap();
  const toast = page.locator(".toast", { hasText: "Saved demo" });
  await toast.waitFor();
  const { y, height } = (await toast.boundingBox())!;
  expect(y + height).toBeLessThan(568 / 2);
});

test("on the narrowest of phones", async () => {
  const page = await open("icon.svg", { viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true });
  await page.route("**/images.json", async (route) => {
    const { images } = JSON.parse(readFileSync(join(site, "images.json"), "utf8"));
    await route.fulfill({ json: { images: [{ ...images[0], title: "A machine with a long name" }] } });
  });
  await page.goto(url);
  await until(page, PROMPT);
  // Where something is wider, the page is, and is shown smaller.
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(320);
});

test("what was copied is pasted by a key of the bar, and what is selected copied by Ctrl+C", async () => {
  const page = await open("", { hasTouch: true, permissions: ["clipboard-read", "clipboard-write"] });
  await until(page, PROMPT);
  await page.evaluate(() => navigator.clipboard.writeText("echo pasted $((6 * 7))\n"));
  await page.getByRole("button", { name: "Paste" }).tap();
  await until(page, /\npasted 42\n/);
  await page.locator("#terminal").click();
  await page.keyboard.type("cat\n");
  await page.evaluate(() => {
    const { terminal } = (globalThis as unknown as { prebake: { terminal: import("@xterm/xterm").Terminal } }).prebake;
    const row = Array.from({ length: terminal.buffer.active.length }, (_, at) => at).find((at) => terminal.buffer.active.getLine(at)?.translateToString(true) === "pasted 42");
    terminal.select(0, row!, 9);
  });
  await page.keyboard.press("Control+c");
  await holds(page, "the selection in the clipboard", async () => (await navigator.clipboard.readText()) === "pasted 42");
  // The program has heard nothing of it, and does of the next.
  expect(await screen(page)).not.toContain("^C");
  await page.keyboard.press("Control+c");
  await until(page, /\^C\n[^]*#$/);
});

test("the size of the text and the bar of keys stay as they were chosen", async () => {
  const page = await open();
  await until(page, PROMPT);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("button", { name: "Larger" }).click();
  await page.getByRole("button", { name: "Larger" }).click();
  await page.getByRole("button", { name: "Shown" }).click();
  await page.reload();
  await until(page, PROMPT);
  const size = await page.evaluate(() => (globalThis as unknown as { prebake: { terminal: import("@xterm/xterm").Terminal } }).prebake.terminal.options.fontSize);
  expect(size).toBe(17);
  await page.getByRole("button", { name: "Escape" }).waitFor();
});

test("keyboard and theme", async () => {
  const page = await open("", { colorScheme: "light" });
  await until(page, PROMPT);
  expect(await page.evaluate(() => document.documentElement.dataset["theme"])).toBe("light");
  await run(page, "ls --color=always /");
  await picture(page, "light");
  await page.keyboard.press("F6");
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("save");
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("button", { name: "Dark" }).click();
  expect(await page.evaluate(() => document.documentElement.dataset["theme"])).toBe("dark");
});

test("a screen reader hears what a program says, and all that can be pressed has a name", async () => {
  const page = await open("", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  await until(page, PROMPT);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("group", { name: "Screen reader" }).getByRole("button", { name: "On" }).click();
  await page.keyboard.press("Escape");
  await page.locator("#terminal").click();
  await page.keyboard.type("echo heard $((6 * 7))\n");
  await page.locator("[aria-live=assertive]", { hasText: "heard 42" }).waitFor();
  expect(await page.getByRole("status").innerText()).toBe("Running · demo");
  const snapshot = await page.locator("body").ariaSnapshot();
  for (const name of ["Save", "Files", "Sessions", "Settings", "Ctrl, Control with the next key", "Esc, Escape", "Up", "Paste"]) expect(snapshot).toContain(`button "${name}"`);
  expect(snapshot).toContain('heading "prebake"');
  expect(snapshot).toContain('combobox "Machine"');
  expect(snapshot).not.toMatch(/- (button|combobox|textbox|link)(:| \[|$)/m);
});

test("files that are damaged, cut off or missing are errors that can be read", async () => {
  const file = (name: string): string => join(site, "images", name);
  const [wasm, snap] = [readFileSync(machine), readFileSync(snapshot)];
  const damaged = (bytes: Uint8Array, at: number): Uint8Array => {
    const copy = new Uint8Array(bytes);
    copy[at]! ^= 1;
    return copy;
  };
  try {
    for (const [name, content, kind] of [
      ["demo.snap", damaged(snap, 300), "corrupted"],
      ["demo.snap", snap.subarray(0, 3_000_000), "truncated"],
      ["demo.wasm", damaged(wasm, 1_000_000), "corrupted"],
      ["demo.wasm", wasm.subarray(0, 3_000_000), "truncated"],
      ["demo.snap", Buffer.concat([snap, Buffer.alloc(1)]), "too-long"],
      ["demo.snap", undefined, "not-found"],
    ] as const) {
      if (content) writeFileSync(file(name), content);
      else rmSync(file(name));
      const page = await open();
      await page.locator("#overlay .card.bad").waitFor();
      expect(await errorOf(page), `${name}: ${kind}`).toContain(kind);
      if (name === "demo.snap" && kind === "corrupted") await picture(page, "error");
      await context.close();
      writeFileSync(file("demo.wasm"), wasm);
      writeFileSync(file("demo.snap"), snap);
    }
  } finally {
    writeFileSync(file("demo.wasm"), wasm);
    writeFileSync(file("demo.snap"), snap);
  }
});

test("a state that is damaged in the browser's storage is an error, and nothing is lost", async () => {
  const page = await open();
  await run(page, "X=precious");
  await save(page);
  await page.goto(`${url}icon.svg`);
  const flip = (at: number): Promise<void> =>
    page.evaluate(async (at) => {
      const root = await navigator.storage.getDirectory();
      const folder = await (await root.getDirectoryHandle("sessions")).getDirectoryHandle("demo");
      const file = await folder.getFileHandle("state.snap");
      const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer());
      bytes[bytes.length + at]! ^= 1;
      const writable = await file.createWritable();
      await writable.write(bytes);
      await writable.close();
    }, at);
  await flip(-5000);
  await page.goto(url);
  await page.locator("#overlay .card.bad").waitFor();
  expect(await errorOf(page)).toContain("could not be restored");
  expect(await errorOf(page)).toContain("corrupted");
  await page.goto(`${url}icon.svg`);
  await flip(-5000);
  await page.goto(url);
  expect(await run(page, "echo $X")).toBe("precious");
});

test("a full storage is an error, and what was saved before stays", async () => {
  const page = await open();
  await run(page, "X=before");
  await save(page);
  const session = await context.newCDPSession(page);
  const quota = (quotaSize?: number): Promise<unknown> =>
    session.send("Storage.overrideQuotaForOrigin", { origin: url, ...(quotaSize !== undefined && { quotaSize }) });
  await quota(1_000_000);
  await run(page, "X=after; dd if=/dev/urandom of=/tmp/much bs=1M count=20 2>/dev/null");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".toast.bad", { hasText: "storage for this site is full" }).first().waitFor();
  await page.locator("#terminal").click();
  // It runs on.
  expect(await run(page, "echo $X")).toBe("after");
  await page.close({ runBeforeUnload: false });
  const next = await context.newPage();
  await next.goto(url);
  expect(await run(next, "echo $X")).toBe("before");
});

test("a guest may write to the clipboard, and cannot read it", async () => {
  const page = await open();
  await until(page, PROMPT);
  await page.evaluate(() => {
    const { prebake } = globalThis as unknown as { prebake: { terminal: import("@xterm/xterm").Terminal; heard: string[] } };
    prebake.heard = [];
    prebake.terminal.onData((text) => prebake.heard.push(text));
    const clipboard = { readText: async () => "secret", writeText: async (text: string) => void prebake.heard.push(`written: ${text}`) };
    Object.defineProperty(navigator, "clipboard", { value: clipboard });
  });
  const heard = async (start: string): Promise<string> => {
    const found = await page.waitForFunction((start) => {
      return (globalThis as unknown as { prebake: { heard: string[] } }).prebake.heard.find((text) => text.startsWith(start));
    }, start);
    return found.jsonValue() as Promise<string>;
  };
  await page.keyboard.type(String.raw`printf '\033]52;c;?\007'` + "\n");
  expect(await heard("\x1b]52;")).toBe("\x1b]52;c;\x07");
  // The shell has the answer in its line, and may be amid it.
  await page.keyboard.press("Control+c");
  while ((await run(page, "echo ready")) !== "ready");
  await page.keyboard.type(String.raw`printf '\033]52;c;%s\007' "$(printf word | base64)"` + "\n");
  expect(await heard("written: ")).toBe("written: word");
});

test("what is pasted cannot end its own brackets", async () => {
  const page = await open();
  await until(page, PROMPT);
  await page.keyboard.type(String.raw`printf '\033[?2004h'; cat >/dev/null` + "\n");
  await page.waitForFunction(() => {
    const { prebake } = globalThis as unknown as { prebake: { terminal: import("@xterm/xterm").Terminal } };
    return prebake.terminal.modes.bracketedPasteMode;
  });
  await page.evaluate(() => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", "one\x1b[201~two");
    document.activeElement!.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  });
  const [, echoed] = await until(page, /\^\[\[200~(.*)\^\[\[201~/);
  expect(echoed).toBe("one␛[201~two");
});

test("a browser that keeps nothing for the page runs machines, and the page says that nothing is saved", async () => {
  const page = await open("", {}, () => {
    const refuse = (): never => {
      throw new DOMException("denied", "SecurityError");
    };
    Object.defineProperty(globalThis, "localStorage", { get: refuse });
    if ("storage" in navigator) navigator.storage.getDirectory = async () => refuse();
  });
  await page.locator(".toast.bad", { hasText: "keeps no files" }).waitFor();
  expect(await run(page, "uname -m")).toBe("x86_64");
  await page.locator("#status-text", { hasText: "not saved" }).waitFor();
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByRole("button", { name: "Light", exact: true }).click();
  expect(await page.evaluate(() => document.documentElement.dataset["theme"])).toBe("light");
  expect(await page.locator(".toast").count()).toBe(1);
});

test("other documents beside the page are not taken for it without a network", async () => {
  const page = await open();
  await until(page, PROMPT);
  await kept(page);
  writeFileSync(join(site, "other.html"), "<p>other</p>");
  await page.goto(`${url}other.html`);
  expect(await page.locator("p").innerText()).toBe("other");
  await context.setOffline(true);
  await page.goto(url);
  await until(page, PROMPT);
});

test("a megabyte that is pasted arrives whole", async () => {
  const page = await open();
  await until(page, PROMPT);
  // A terminal takes lines of up to 4,095 bytes.
  const text = `${randomBytes(1 << 20).toString("base64").match(/.{1,75}/g)!.join("\n").slice(0, (1 << 20) - 1)}\n`;
  await page.keyboard.type("cat > /tmp/pasted\n");
  await page.evaluate((text) => {
    (globalThis as unknown as { prebake: { terminal: import("@xterm/xterm").Terminal } }).prebake.terminal.paste(text);
  }, text);
  await page.keyboard.press("Control+d");
  await page.keyboard.type("echo it is $(sha256sum < /tmp/pasted)\n");
  const [, found] = await until(page, /\nit is ([0-9a-f]{64})/);
  expect(found).toBe(sha256(Buffer.from(text)));
});

test("the package in a page of its own", async () => {
  const page = await open();
  await page.goto(`${url}icon.svg`);
  cpSync(new URL("../dist/lib", import.meta.url).pathname, join(site, "lib"), { recursive: true });
  writeFileSync(join(site, "program.html"), readFileSync(new URL("./program.html", import.meta.url)));
  await page.goto(`${url}program.html`);
  await page.waitForFunction(() => document.body.dataset["done"]);
  expect(await page.locator("pre").innerText()).toBe("x86_64\n42\nexited with 3\n");
});

test("a session of another image is not gone on with, whatever it is called", async () => {
  const page = await open("icon.svg");
  await page.evaluate(async () => {
    const sessions = await (await navigator.storage.getDirectory()).getDirectoryHandle("sessions", { create: true });
    const folder = await sessions.getDirectoryHandle("demo", { create: true });
    const file = { url: "images/none", size: 1, digest: "0" };
    const image = { name: "other", title: "Another", description: "", machine: file, snapshot: file };
    for (const [name, text] of [["session.json", JSON.stringify({ image, began: 1 })], ["state.snap", "x"], ["screen.txt", ""]] as const) {
      const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
      await writable.write(text);
      await writable.close();
    }
  });
  await page.goto(`${url}?image=demo`);
  await until(page, PROMPT);
  expect(await page.locator("#status-text").innerText()).toMatch(/demo-2/);
});

test("requests that a machine could make are not kept for the page", async () => {
  const page = await open();
  await until(page, PROMPT);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  const kept = await page.evaluate(async () => {
    await Promise.all(["images.json?x=1", "images.json", "images/../images.json?y"].map((path) => fetch(path)));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const names = (await caches.keys()).map(async (name) => (await (await caches.open(name)).keys()).map((request) => request.url));
    return (await Promise.all(names)).flat().filter((address) => address.includes("images.json"));
  });
  expect(kept).toEqual([`${url}images.json`]);
  // Nor do they get another machine that was kept.
  const status = await page.evaluate(async () => {
    const requests = await (await caches.open("prebake-machines")).keys();
    return Promise.all(requests.map(async ({ url }) => (await fetch(url)).status));
  });
  expect(status).toEqual([404]);
});
