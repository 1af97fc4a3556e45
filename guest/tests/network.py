"""Peers of a guest, on ports of 127.0.0.1 that the kernel chooses.

  network.py FOLDER      prints the ports: files of FOLDER by HTTP; a server that answers with what it got, once that has
                         ended; and one that accepts a connection, creates the file `accepted`, and says nothing
"""

import http.server
import os
import socketserver
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


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    servers = [Server(("127.0.0.1", 0), handler) for handler in (Files, Echo, Silent)]
    print(*(server.server_address[1] for server in servers), flush=True)
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()
