// Serves the page without a network: its own files as they were when it was last fetched, and the machines that it has kept. The browser keeps compiled code
// with what comes from here.

/** Where the page keeps machines. */
const MACHINES = "prebake-machines";
const FILES = __FILES__;
const SHELL = `prebake-page-${__VERSION__}`;

self.addEventListener("install", (event) => {
  const keep = async () => {
    const shell = await caches.open(SHELL);
    await shell.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" })));
    // There may be none.
    await shell.add("./images.json").catch(() => undefined);
    await self.skipWaiting();
  };
  event.waitUntil(keep());
});

self.addEventListener("activate", (event) => {
  const sweep = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((name) => name.startsWith("prebake-page-") && name !== SHELL).map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(sweep());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin || request.headers.has("range")) return;
  if (request.mode === "navigate") {
    // Other documents of this folder are none of the page.
    if (isPage(url)) event.respondWith(newest(event, "./"));
  } else if (url.href === new URL("./images.json", self.registration.scope).href) {
    // No other of this name: requests of a machine's program come by here as well, and are not kept.
    event.respondWith(newest(event, "./images.json"));
  } else if (request.integrity && url.href.startsWith(new URL("./machines/", self.registration.scope).href)) {
    // Only for the page, which knows what it is: not for a machine's program.
    event.respondWith(machine(request));
  } else if (FILES.some((file) => new URL(file, self.registration.scope).pathname === url.pathname)) {
    event.respondWith(kept(request));
  }
});

/** Whether this is the page's own address, whatever it asks for. */
function isPage(url) {
  return ["./", "./index.html"].some((path) => new URL(path, self.registration.scope).pathname === url.pathname);
}

/** From the network, or as it was last. */
async function newest(event, key) {
  const answer = fetch(event.request);
  // The page does not wait for that.
  const copy = answer.then((response) => (response.ok ? response.clone() : undefined));
  const keep = async () => {
    const response = await copy;
    if (response) await (await caches.open(SHELL)).put(key, response);
  };
  event.waitUntil(keep().catch(() => undefined));
  try {
    return await answer;
  } catch (error) {
    const found = await (await caches.open(SHELL)).match(key);
    if (found) return found;
    throw error;
  }
}

/** A machine that was kept. There is none on the network. */
async function machine(request) {
  const found = await caches.match(request, { cacheName: MACHINES });
  return found ?? new Response("not found\n", { status: 404 });
}

/** As it was kept: its address changes with its content. */
async function kept(request) {
  const found = await caches.match(request);
  return found ?? fetch(request);
}
