// Serves folders to browsers: files as they are, whole or in ranges, and nothing else.
//
//     node serve.mjs PORT FOLDER[=PATH]…      one folder at PATH, the first at /

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { pipeline } from "node:stream";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

/** The file behind an address; undefined if there is none. */
function find(folders, address) {
  try {
    const plain = normalize(decodeURIComponent(new URL(address, "http://localhost").pathname));
    for (const [prefix, folder] of folders) {
      const place = prefix.endsWith(sep) ? prefix : prefix + sep;
      if (!plain.startsWith(place)) continue;
      const name = plain.slice(place.length);
      const file = join(folder, name.endsWith(sep) || name === "" ? join(name, "index.html") : name);
      const stat = statSync(file, { throwIfNoEntry: false });
      if (stat?.isFile()) return { file, stat };
    }
  } catch {
    // It is no address, or no name that a file can have.
  }
  return undefined;
}

function answer(folders, request, response) {
  const found = ["GET", "HEAD"].includes(request.method) && find(folders, request.url);
  if (!found) {
    response.writeHead(404, { "content-type": "text/plain" }).end("not found\n");
    return;
  }
  const { file, stat } = found;
  const etag = `"${stat.size.toString(16)}-${Math.round(stat.mtimeMs).toString(16)}"`;
  const headers = {
    "content-type": TYPES[extname(file)] ?? "application/octet-stream",
    "accept-ranges": "bytes",
    // What has a version in its address never changes.
    "cache-control": /\?v=|\/assets\//.test(request.url) ? "public, max-age=31536000, immutable" : "no-cache",
    etag,
  };
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, headers).end();
    return;
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const [start, end] = range ? [Number(range[1]), Math.min(Number(range[2] || stat.size - 1), stat.size - 1)] : [0, stat.size - 1];
  if (range && start > end) {
    response.writeHead(416, { ...headers, "content-range": `bytes */${stat.size}` }).end();
    return;
  }
  if (range) headers["content-range"] = `bytes ${start}-${end}/${stat.size}`;
  response.writeHead(range ? 206 : 200, { ...headers, "content-length": end - start + 1 });
  if (request.method === "HEAD" || stat.size === 0) response.end();
  else pipeline(createReadStream(file, { start, end }), response, () => undefined);
}

/** Serves `folders`, pairs of a path and a folder, on this host alone. Resolves to the server. */
export function serve(folders, port = 0) {
  const server = createServer((request, response) => answer(folders, request, response));
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

if (process.argv[1] === import.meta.filename) {
  const [port, ...arguments_] = process.argv.slice(2);
  const folders = arguments_.map((argument) => {
    const [folder, path = "/"] = argument.split("=");
    return [path, folder];
  });
  // The longest paths first: what is inside of another folder.
  folders.sort((a, b) => b[0].length - a[0].length);
  const server = await serve(folders, Number(port));
  console.log(`web: http://localhost:${server.address().port}/`);
}
