// Relays for the guest's network: a server of Wisp that is not ours, and a wire between machines.

import { createServer } from "node:http";
import { logging, server as wisp } from "@mercuryworkshop/wisp-js/server";
import { WebSocketServer } from "ws";

/** Resolves to the address of `server`, and what stops it. */
async function listen(server) {
  const sockets = new Set();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  return {
    address: `ws://127.0.0.1:${server.address().port}/`,
    stop() {
      server.close();
      sockets.forEach((socket) => socket.destroy());
    },
  };
}

/** Wisp, whose names all end here. */
export function wispRelay() {
  logging.set_level(logging.NONE);
  Object.assign(wisp.options, { allow_loopback_ips: true, allow_private_ips: true, dns_method: async () => "127.0.0.1", wisp_version: 1 });
  const server = createServer();
  server.on("upgrade", (request, socket, head) => wisp.routeRequest(request, socket, head));
  return listen(server);
}

/** Passes each frame on to all others. */
export function wire() {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    socket.on("message", (frame, isBinary) => {
      for (const other of sockets.clients) if (other !== socket) other.send(frame, { binary: isBinary });
    });
  });
  return listen(server);
}
