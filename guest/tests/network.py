"""Peers of a guest, on ports of 127.0.0.1 that the kernel chooses.

  network.py FOLDER      prints the ports: files of FOLDER by HTTP; a server that answers with what it got, once that has
                         ended; one that accepts a connection, creates the file `accepted`, and says nothing; and one for
                         Ethernet frames, where 192.168.127.1 answers pings
"""

import http.server
import os
import socketserver
import struct
import sys
import threading
import time

os.chdir(sys.argv[1])


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.read())


class Silent(socketserver.BaseRequestHandler):
    def handle(self):
        open("accepted", "w").close()
        time.sleep(3600)


class Frames(socketserver.StreamRequestHandler):
    """The other end of a cable: each frame comes after its length."""

    MAC = bytes.fromhex("020000000099")
    ADDRESS = bytes((192, 168, 127, 1))

    def handle(self):
        while header := self.rfile.read(4):
            frame = self.rfile.read(struct.unpack(">I", header)[0])
            kind, packet = frame[12:14], frame[14:]
            if kind == b"\x08\x06" and packet[24:28] == self.ADDRESS:
                self.send(frame, kind + packet[:7] + b"\x02" + self.MAC + self.ADDRESS + packet[8:18])
            elif kind == b"\x08\x00" and packet[9] == 1 and packet[16:20] == self.ADDRESS:
                echo = packet[20 : struct.unpack(">H", packet[2:4])[0]]
                # From a request to its answer, the first byte loses 8, and so the sum gains it.
                total = struct.unpack(">H", echo[2:4])[0] + 0x0800
                answer = b"\0\0" + struct.pack(">H", (total & 0xFFFF) + (total >> 16)) + echo[4:]
                self.send(frame, kind + packet[:12] + packet[16:20] + packet[12:16] + answer)

    def send(self, frame, rest):
        answer = frame[6:12] + self.MAC + rest
        self.wfile.write(struct.pack(">I", len(answer)) + answer)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    servers = [Server(("127.0.0.1", 0), handler) for handler in (Files, Echo, Silent, Frames)]
    print(*(server.server_address[1] for server in servers), flush=True)
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()
