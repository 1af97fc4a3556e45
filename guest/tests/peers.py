"""The two sides of `peers`, each in its network namespace.

  peers.py tap NAME PROGRAM...    PROGRAM with a new TAP device as standard input
  peers.py serve ADDRESS          servers at ports of ADDRESS: 7 echoes, 9 tells the digest of all that came, 19 sends BIG, 80 says hello
  peers.py check NAME [ADDRESS]   what a client of these servers must see
"""

import fcntl
import hashlib
import os
import resource
import selectors
import socket
import socketserver
import struct
import sys
import threading
import time

ECHO, DIGEST, BIG, HELLO = 7, 9, 19, 80
BYTES = bytes(range(251)) * 132_000  # some 32 MiB


def tap(name, *program):
    # <linux/if_tun.h>: TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ; a TAP, without a protocol in front, with a header of virtio's; checksums and TSO for IPv4.
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x0002 | 0x1000 | 0x4000))
    fcntl.ioctl(device, 0x400454D8, struct.pack("i", 12))
    fcntl.ioctl(device, 0x400454D0, 0x01 | 0x02 if "offload" in program else 0)
    os.dup2(device, 0)
    os.execv(program[0], program)


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


class Digest(socketserver.BaseRequestHandler):
    """It takes its time at first, so that the client's bytes find no room."""

    def handle(self):
        digest = hashlib.sha256()
        time.sleep(0.5)
        while data := self.request.recv(1 << 16):
            digest.update(data)
        self.request.sendall(digest.hexdigest().encode())


class Big(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(BYTES)


class Hello(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"hello")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 1024
    allow_reuse_address = True


def serve(address):
    handlers = {ECHO: Echo, DIGEST: Digest, BIG: Big, HELLO: Hello}
    servers = [Server((address, port), handler) for port, handler in handlers.items()]
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("serving", flush=True)
    servers[0].serve_forever()


def connect(address, port):
    peer = socket.socket()
    peer.settimeout(30)
    peer.connect((address, port))
    return peer


def read_all(peer):
    return b"".join(iter(lambda: peer.recv(1 << 16), b""))


def counter(name):
    """One of the kernel's counters of this namespace."""
    for path in "/proc/net/snmp", "/proc/net/netstat":
        lines = open(path).read().splitlines()
        for names, values in zip(lines[::2], lines[1::2]):
            found = dict(zip(names.split()[1:], values.split()[1:]))
            if name in found:
                return int(found[name])


def many(address):
    """500 connections at once, each of which is used."""
    peers = [socket.socket() for _ in range(500)]
    selector = selectors.DefaultSelector()
    for number, peer in enumerate(peers):
        peer.setblocking(False)
        peer.connect_ex((address, ECHO))
        selector.register(peer, selectors.EVENT_WRITE, number)
    answered, until = 0, time.monotonic() + 60
    while answered < len(peers) and time.monotonic() < until:
        for key, events in selector.select(1):
            if events & selectors.EVENT_WRITE:
                key.fileobj.send(b"%04d" % key.data)
                selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
            else:
                assert key.fileobj.recv(100) == b"%04d" % key.data
                selector.unregister(key.fileobj)
                answered += 1
    assert answered == len(peers), f"{answered} of {len(peers)}"


def refused(address):
    """At once: before the client's kernel has sent its SYN again, which it does after a second."""
    again, begun = counter("RetransSegs"), time.monotonic()
    try:
        connect(address, 4)
    except ConnectionRefusedError:
        print(f"{(time.monotonic() - begun) * 1000:.1f} ms", end=" ")
    else:
        raise AssertionError("connected")
    assert counter("RetransSegs") == again


def unreachable(address):
    again = counter("RetransSegs")
    try:
        connect(address, HELLO)
    except OSError as error:
        assert not isinstance(error, (ConnectionRefusedError, TimeoutError)), error
        print(f"`{error.strerror}`", end=" ")
    else:
        raise AssertionError("connected")
    assert counter("RetransSegs") == again


def half_closed(address):
    """What is sent arrives, although the server's side finds no room; its answer comes after the client's end."""
    peer = connect(address, DIGEST)
    peer.sendall(BYTES)
    peer.shutdown(socket.SHUT_WR)
    assert read_all(peer).decode() == hashlib.sha256(BYTES).hexdigest()


def slow_reader(address):
    """A window of zero, for a second."""
    zero = counter("TCPToZeroWindowAdv")
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    peer.settimeout(30)
    peer.connect((address, BIG))
    time.sleep(1)
    assert read_all(peer) == BYTES
    assert counter("TCPToZeroWindowAdv") > zero


def hello(address):
    assert read_all(connect(address, HELLO)) == b"hello"


def nothing_lost(_):
    """Nothing came out of order, nothing had a wrong checksum, and nothing was missed on the other side. Where the processor is busy, Linux asks with a
    segment that it has sent before (a loss probe) whether one was lost; these say nothing."""
    names = "TCPOFOQueue", "InCsumErrors", "RetransSegs", "TCPLossProbes", "TCPFastRetrans", "TCPSlowStartRetrans", "TCPLostRetransmit", "TCPDSACKRecv", "TCPTimeouts"
    print({name: counter(name) for name in names}, end=" ")
    lost = [counter(name) for name in names if name not in ("RetransSegs", "TCPLossProbes")]
    assert not any(lost)


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    match sys.argv[1:]:
        case ["tap", name, *program]:
            tap(name, *program)
        case ["serve", address]:
            serve(address)
        case ["check", name, *address]:
            globals()[name](*address or [None])
