// A guest's network in a tab: through a relay, through another machine's, and through the browser.

import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, newContext, run, save, Site, until } from "./browser.js";
import { wire, wispRelay } from "./relay.mjs";

const content = randomBytes(3_000_000);
const digest = createHash("sha256").update(content).digest("hex");

let browser: Browser;
let site: Site;
/** A server in the world. */
let server: Server;
let port: number;
let context: BrowserContext;
let relay: Awaited<ReturnType<typeof wire>> | undefined;

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url?.startsWith("/open")) response.setHeader("access-control-allow-origin", "*");
  if (request.method === "POST") {
    const hash = createHash("sha256");
    for await (const part of request) hash.update(part as Buffer);
    response.end(`${hash.digest("hex")}\n`);
  } else if (request.url?.endsWith("/slow")) {
    response.write("begun\n");
  } else if (request.url?.endsWith("/hello")) {
    response.end("hello\n");
  } else {
    response.setHeader("content-length", content.length).end(content);
  }
}

beforeAll(async () => {
  [browser, site] = await Promise.all([launch(), Site.start()]);
  server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ({ port } = server.address() as AddressInfo);
});

afterAll(async () => {
  await browser?.close();
  site?.stop();
  server?.closeAllConnections();
  server?.close();
});

afterEach(async () => {
  await context?.close();
  relay?.stop();
  relay = undefined;
});

/** A page whose machines have this network. */
async function open(network: { kind: string; relay?: string }): Promise<Page> {
  context = await newContext(browser);
  await context.addInitScript((text) => localStorage.setItem("network", text), JSON.stringify({ relay: "", ...network }));
  const page = await context.newPage();
  await page.goto(site.url);
  return page;
}

test("a relay carries streams both ways, and a broken one is an error in the guest", async () => {
  relay = await wispRelay();
  const page = await open({ kind: "wisp", relay: relay.address });
  expect(await run(page, `wget -qO- http://files.test:${port}/ | sha256sum | cut -c1-64`)).toBe(digest);
  expect(await run(page, `wget -qO- http://127.0.0.2:1/; wget -qO- http://192.168.127.254/; wget -qO- http://127.0.0.1:${port}/ | wc -c`)).toMatch(
    /^(wget: .*\n){3}0$/,
  );
  await run(page, "head -c 400000 /dev/urandom | od -x > /tmp/up");
  const [sent, got] = (await run(page, `sha256sum < /tmp/up | cut -c1-64; wget -qO- --post-file /tmp/up http://files.test:${port}/`)).split("\n");
  expect(got).toBe(sent);
  // Names have no other addresses than those that stand for them.
  expect(await run(page, "nslookup files.test | grep -c 198.1[89]")).toBe("1");
  relay.stop();
  expect(await run(page, `wget -qO- http://files.test:${port}/ | wc -c`)).toMatch(/wget: .*\n0$/);
  await page.locator(".toast.bad", { hasText: "the relay" }).or(page.locator(".toast.bad", { hasText: "The relay" })).first().waitFor();
});

test("a connection that was open when the machine was saved is reset, and the network goes on", async () => {
  relay = await wispRelay();
  const page = await open({ kind: "wisp", relay: relay.address });
  await until(page, /#$/);
  await page.keyboard.type(`wget -O- http://files.test:${port}/slow\n`);
  await until(page, /begun/);
  await save(page);
  await page.reload();
  await until(page, /wget: [^]*#$/);
  expect(await run(page, `wget -qO- http://files.test:${port}/hello`)).toBe("hello");
});

test("a link to a relay starts a machine of which nothing is kept", async () => {
  relay = await wispRelay();
  context = await newContext(browser);
  const page = await context.newPage();
  const command = encodeURIComponent(`wget -qO- http://files.test:${port}/hello`);
  await page.goto(`${site.url}?relay=${encodeURIComponent(relay.address)}&cmd=${command}`);
  await until(page, /\nhello\n/);
  expect(await page.locator("#status-text").innerText()).toContain("not saved");
});

test("two machines on one wire reach each other by bare frames", async () => {
  relay = await wire();
  const page = await open({ kind: "frames", relay: relay.address });
  await run(page, "ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:02; ip addr flush dev eth0; ip addr add 192.168.127.4/24 dev eth0; ip link set eth0 up");
  const other = await context.newPage();
  await other.goto(`${site.url}?cmd=true`);
  // A link has asked for it.
  await other.getByRole("button", { name: "Start it with the relay" }).click();
  await until(other, /#$/);
  await page.bringToFront();
  await page.keyboard.type("echo from the other | nc -l -p 7\n");
  expect(await run(other, "sleep 1; nc 192.168.127.4 7")).toBe("from the other");
});

test("plain HTTP goes through the browser, to servers that allow it", async () => {
  const page = await open({ kind: "fetch" });
  const host = `files.localhost:${port}`;
  expect(await run(page, `wget -qO- http://${host}/open/hello`)).toBe("hello");
  expect(await run(page, `wget -qO- http://${host}/open | sha256sum | cut -c1-64`)).toBe(digest);
  await run(page, "head -c 400000 /dev/urandom | od -x > /tmp/up");
  const [sent, got] = (await run(page, `sha256sum < /tmp/up | cut -c1-64; wget -qO- --post-file /tmp/up http://${host}/open`)).split("\n");
  expect(got).toBe(sent);
  // One that does not allow it, one that is not there, and what is not HTTP.
  expect(await run(page, `wget -qO- http://${host}/closed/hello`)).toContain("502 Bad Gateway");
  expect(await run(page, "wget -qO- http://nobody.localhost:1024/")).toContain("502 Bad Gateway");
  expect(await run(page, "nc files.localhost 22; echo $?")).toMatch(/refused\n1$/);
  expect(await run(page, `printf 'SSH-2.0-x\\r\\n\\r\\n' | nc files.localhost ${port} | head -1`)).toContain("400 Bad Request");
});

test("without a network there is none", async () => {
  const page = await open({ kind: "none" });
  expect(await run(page, `wget -qO- http://files.localhost:${port}/open/hello`)).toContain("wget: ");
  expect(await run(page, "ip a show eth0 | grep -c UP")).toBe("0");
});

test("a link gets the user's relay only if they say so", async () => {
  relay = await wispRelay();
  context = await newContext(browser);
  await context.addInitScript((text) => localStorage.setItem("network", text), JSON.stringify({ kind: "wisp", relay: relay.address }));
  const page = await context.newPage();
  await page.goto(`${site.url}?cmd=wget+-qO-+http://files.test:${port}/hello`);
  const card = page.locator("#overlay .card", { hasText: "Does it get your relay?" });
  await card.waitFor();
  expect(await card.innerText()).toContain(relay.address);
  await page.getByRole("button", { name: "Start it without the relay" }).click();
  // The browser does not fetch what does not allow it.
  await until(page, /502 Bad Gateway/);
  await page.reload();
  await page.getByRole("button", { name: "Start it with the relay" }).click();
  await until(page, /^hello$/m);
});
