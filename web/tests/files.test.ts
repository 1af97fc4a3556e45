// The files that the page and its machine share, in Chromium.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, newContext, picture, PROMPT, run, save, sha256, Site, until } from "./browser.js";

let browser: Browser;
let site: Site;
let context: BrowserContext;

beforeAll(async () => {
  [browser, site] = await Promise.all([launch(), Site.start()]);
});
afterAll(async () => {
  await browser?.close();
  site?.stop();
});
afterEach(() => context?.close());

async function open(): Promise<Page> {
  context = await newContext(browser, { viewport: { width: 1100, height: 640 }, colorScheme: "dark" });
  const page = await context.newPage();
  await page.goto(site.url);
  return page;
}

test("files go in and come out unchanged", async () => {
  const page = await open();
  await until(page, PROMPT);
  const content = randomBytes(700_000);
  await page.locator("#upload").setInputFiles({ name: "random bytes", mimeType: "application/octet-stream", buffer: content });
  await page.locator(".toast", { hasText: "random bytes" }).waitFor();
  expect(await run(page, "cd /shared; sha256sum 'random bytes' | cut -c1-64")).toBe(sha256(content));
  await run(page, "gzip < 'random bytes' | gunzip > copy");
  await page.getByRole("button", { name: "Files" }).click();
  await picture(page, "files");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download copy" }).click()]);
  expect(sha256(readFileSync(await download.path()))).toBe(sha256(content));
  await page.keyboard.press("Escape");
  // They are saved with the session.
  await save(page);
  await page.reload();
  expect(await run(page, "sha256sum copy | cut -c1-64")).toBe(sha256(content));
});

test("folders are dropped onto the page, and downloaded as archives", async () => {
  const given = mkdtempSync(join(tmpdir(), "prebake-dropped-"));
  const content = randomBytes(10_000);
  mkdirSync(join(given, "a folder/deep"), { recursive: true });
  writeFileSync(join(given, "a folder/one"), "one\n");
  writeFileSync(join(given, "a folder/deep/two"), content);
  writeFileSync(join(given, "three"), "three\n");
  try {
    const page = await open();
    await until(page, PROMPT);
    const session = await context.newCDPSession(page);
    const drag = async (type: "dragEnter" | "dragOver" | "drop"): Promise<void> => {
      const data = { items: [], files: [join(given, "a folder"), join(given, "three")], dragOperationsMask: 1 };
      await session.send("Input.dispatchDragEvent", { type, x: 400, y: 300, data });
    };
    await drag("dragEnter");
    await drag("dragOver");
    await page.locator("#drop").waitFor();
    await picture(page, "drop");
    await drag("drop");
    await page.locator(".toast", { hasText: "three is in /shared" }).waitFor();
    expect(await run(page, "cd /shared; find . -type f | sort")).toBe("./a folder/deep/two\n./a folder/one\n./three");
    expect(await run(page, "sha256sum 'a folder/deep/two' | cut -c1-64")).toBe(sha256(content));
    await run(page, "cp -r 'a folder' out; echo more > out/deep/four");
    await page.getByRole("button", { name: "Files" }).click();
    await picture(page, "folders");
    await page.getByRole("button", { name: "Open out" }).click();
    await page.getByRole("button", { name: "Open out/deep" }).click();
    await page.getByRole("button", { name: "Download out/deep/four" }).waitFor();
    await page.getByRole("button", { name: "Back" }).click();
    await page.getByRole("button", { name: "Back" }).click();
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download out", exact: true }).click()]);
    expect(download.suggestedFilename()).toBe("out.tar");
    execFileSync("tar", ["-xf", await download.path(), "-C", given]);
    expect(readFileSync(join(given, "out/one"), "utf8")).toBe("one\n");
    expect(readFileSync(join(given, "out/deep/four"), "utf8")).toBe("more\n");
    expect(sha256(readFileSync(join(given, "out/deep/two")))).toBe(sha256(content));
  } finally {
    rmSync(given, { recursive: true });
  }
});

test("the shared folder is saved whatever the guest has done to it", async () => {
  const page = await open();
  await run(page, "cd /shared; mkdir d empty; echo 1 > d/f; echo 2 > e; echo 3 > x; echo 4 > x.new; echo 5 > 'b\\s'; echo 6 > 'p%5C'; echo old > same");
  await save(page);
  // A folder where a file was, and the other way round; and a file whose size and time say that it is as it was.
  await run(page, "mv d t; mv e d; mkdir e; mv t/f e/f; rmdir t; touch -r same d; echo new > same; touch -r d same; touch -d '2001-02-03 04:05' x; rm x.new; rmdir empty; mkdir void");
  await save(page);
  await page.reload();
  expect(await run(page, "cd /; cd /shared; find . | sort")).toBe(".\n./b\\s\n./d\n./e\n./e/f\n./p%5C\n./same\n./void\n./x");
  expect(await run(page, "echo $(cat d e/f x 'b\\s' 'p%5C' same)")).toBe("2 1 3 5 6 new");
});
