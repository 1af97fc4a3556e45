"""What a guest's network meets where the host's own is not as it mostly is.

  circumstances.py      serves names on port 53 of 127.0.0.2 to 127.0.0.53 (what each of them does is said below), a page on port
                        80, and datagrams that come back on port 7, until it is killed; prints a line when it is ready
  circumstances.py echo ADDRESS     serves only datagrams that come back, on port 7 of the address
"""

import http.server
import socket
import socketserver
import struct
import sys
import threading
import time

REFUSING, SILENT, SLOW, OTHER, STUB = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.53"
HOST = bytes((192, 168, 127, 254))
A, AAAA = 1, 28
REFUSED, NO_SUCH_NAME = 5, 3


def records(resolver, name, kind):
    """The code of the answer to a question, and the data of its records."""
    if resolver == REFUSING:
        return REFUSED, []
    known = ["page", "db.prod.svc.cluster", *(f"n{n}.slow" for n in range(200))]
    if name == "moved":
        return 0, [HOST] if kind == A and resolver == OTHER else []
    if name in known:
        return 0, [HOST] if kind == A else []
    if name in ("six", "both"):
        found = {AAAA: bytes.fromhex("20010db8000000000000000000000001"), A: HOST if name == "both" else None}
        return 0, [found[kind]] if found.get(kind) else []
    if name == "large":
        return 0, [bytes((10, 0, n >> 8, n & 255)) for n in range(400)] if kind == A else []
    return NO_SUCH_NAME, []


def answer(resolver, message, longest):
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode().lower())
        at += 1 + message[at]
    (kind,) = struct.unpack(">H", message[at + 1 : at + 3])
    code, data = records(resolver, ".".join(labels), kind)
    question = message[12 : at + 5]
    rows = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(row)) + row for row in data)
    if 12 + len(question) + len(rows) > longest:
        return message[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, 0) + question
    return message[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(data), 0, 0) + question + rows


class Datagrams(socketserver.BaseRequestHandler):
    def handle(self):
        message, peer = self.request
        if (resolver := self.server.server_address[0]) == SILENT:
            return
        if resolver == SLOW:
            time.sleep(0.3)
        peer.sendto(answer(resolver, message, 512), self.client_address)


class Streams(socketserver.StreamRequestHandler):
    def handle(self):
        while header := self.rfile.read(2):
            message = answer(self.server.server_address[0], self.rfile.read(struct.unpack(">H", header)[0]), 65535)
            self.wfile.write(struct.pack(">H", len(message)) + message)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


def echo(address):
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind((address, 7))
    while True:
        message, sender = peer.recvfrom(65535)
        try:
            peer.sendto(message, sender)
        except OSError:
            # There is no way to the sender any more.
            pass


class ManyDatagrams(socketserver.ThreadingUDPServer):
    daemon_threads = True


class ManyStreams(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    if sys.argv[1:2] == ["echo"]:
        echo(sys.argv[2])
    servers = [ManyStreams(("127.0.0.1", 80), Page)]
    for resolver in REFUSING, SILENT, SLOW, OTHER, STUB:
        servers += ManyDatagrams((resolver, 53), Datagrams), ManyStreams((resolver, 53), Streams)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=echo, args=("127.0.0.1",), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()
