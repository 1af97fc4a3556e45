"""Stands in for `prebake serve`, and does what it should not: child.py WHAT [ARGUMENT] prebake serve [OPTION...]"""

import json
import os
import signal
import struct
import sys
import time

what, arguments = sys.argv[1], sys.argv[2 : sys.argv.index("prebake")]
output, requests = sys.stdout.buffer, sys.stdin.buffer


def frame(kind, body):
    output.write(struct.pack(">IB", 1 + len(body), kind) + body)


def say(message):
    frame(0, json.dumps({"jsonrpc": "2.0", **message}).encode())
    output.flush()


def hear():
    """The next message, or `None` at the end."""
    head = requests.read(5)
    if len(head) < 5:
        return None
    length, kind = struct.unpack(">IB", head)
    body = requests.read(length - 1)
    return json.loads(body) if kind == 0 else hear()


def answer(request):
    """What is right."""
    reference = {"machine": "/m", "snapshot": None, "reference": "x", "digest": "d"}
    say({"id": request["id"], "result": {"ensure": reference, "images": {"images": []}}.get(request["method"], {})})


def stay():
    """Does not end before it is killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1000)


def until_the_end():
    while (request := hear()) is not None:
        answer(request)


if what == "unready":
    with open(arguments[0], "w") as place:
        place.write(str(os.getpid()))
    say({"method": "ready", "params": {}})
    stay()
say({"method": "ready", "params": {"protocol": 1, "version": "0"}})
if what == "stall":
    stay()
elif what == "nonsense":
    hear()
    if arguments[0] == "length":
        output.write(b"\xff" * 100)
    elif arguments[0] == "short":
        frame(1, b"x")
    elif arguments[0] == "text":
        frame(0, b"\xff{")
    elif arguments[0] == "list":
        frame(0, b"[]")
    elif arguments[0] == "number":
        frame(0, b'{"method": "progress", "params": {"id": {}}}')
    elif arguments[0] == "deep":
        frame(0, b"[" * 1_000_000)
    elif arguments[0] == "answer":
        frame(0, b'{"id": 1, "error": 7}')
    output.flush()
    if arguments[0] == "silence":
        os.close(1)
    stay()
elif what == "ended":
    answer(hear())
    say({"method": "ended", "params": {"machine": 1}})
    stay()
elif what == "flood":
    answer(hear())
    try:
        for _ in range(int(arguments[0]) >> 16):
            frame(1, struct.pack(">IB", 1, 1) + b"y\n" * (1 << 15))
        request = hear()
        answer(request)
        say({"method": "ended", "params": {"machine": 1, "ending": "stopped"}})
        until_the_end()
    except BrokenPipeError:
        os._exit(0)
elif what == "drip":
    answer(hear())
    while True:
        frame(1, struct.pack(">IB", 1, 1) + b"y\n")
        output.flush()
        time.sleep(0.001)
elif what == "lookups":
    for number in range(200):
        say({"id": number, "method": "resolve", "params": {"name": "slow.example"}})
    while (message := hear()) is not None:
        if "method" in message:
            answer(message)
elif what == "progress":
    # Two requests: of the first there is a lot to tell before the second is answered.
    first, second = hear(), hear()
    ensure, images = (first, second) if first["method"] == "ensure" else (second, first)
    for done in range(10_001):
        params = {"id": ensure["id"], "task": "pull", "text": "", "done": done, "total": 10_000, "ended": done == 10_000}
        say({"method": "progress", "params": params})
    answer(images)
    answer(ensure)
    until_the_end()
