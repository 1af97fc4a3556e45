"""Runs a machine in wasmtime, through Machine ABI version 1, and does what a log says.

    replay.py MACHINE.wasm FOLDER

FOLDER holds `config` (for pb_configure), `log`, and for a restore `snapshot` and `layout`: the length of what lies in front of the pages,
then for each run of pages the number of its disk (-1: guest RAM), its address there, its offset in the file and its length. A line of the log is a call:

    run REASON DETAIL COUNT     pb_run, which must end like this: up to COUNT if REASON is 0, without a limit if not
    skip TICK                   pb_skip_to
    push PORT HEX               pb_push_input
    frame HEX                   pb_push_frame, with an empty header; the guest must take it
    sent HEX                    pb_take_frames: what the guest has sent must be this, one frame behind the other

The machine it comes to is left in FOLDER: `records` (of pb_save), `ram`, `upper` (the second disk), and `said.N` with what the guest wrote on port N (255: serial).
"""

import struct
import sys
from collections import defaultdict
from pathlib import Path

from wasmtime import Config, Engine, Linker, Module, Store, WasiConfig

NO_LIMIT = -1  # as an unsigned number, the greatest


class Machine:
    def __init__(self, path):
        config = Config()
        config.cache = True
        engine = Engine(config)
        self.store = Store(engine)
        self.store.set_wasi(WasiConfig())
        linker = Linker(engine)
        linker.define_wasi()
        instance = linker.instantiate(self.store, Module.from_file(engine, str(path)))
        self.exports = instance.exports(self.store)
        self.memory = self.exports["memory"]
        assert self.call("abi") == 1
        self.call("init")
        self.ram = self.call("ram")
        self.said = defaultdict(bytes)

    def call(self, name, *arguments):
        return self.exports["pb_" + name](self.store, *arguments)

    def give(self, data):
        """Puts bytes where the next call takes them."""
        self.memory.write(self.store, data, self.call("reserve", len(data)))
        return len(data)

    def answer(self):
        address = self.call("answer")
        return bytes(self.memory.read(self.store, address, address + self.call("answer_length")))

    def check(self, status):
        if status != 0:
            sys.exit(self.answer().decode())

    def restore(self, folder):
        snapshot = (folder / "snapshot").read_bytes()
        head, *runs = (folder / "layout").read_text().splitlines()
        for run in runs:
            disk, address, offset, length = map(int, run.split())
            start = self.ram if disk < 0 else self.call("disk", disk)
            self.memory.write(self.store, snapshot[offset : offset + length], start + address)
        self.check(self.call("restore", self.give(snapshot[: int(head)]), len(snapshot)))

    def listen(self):
        self.call("take_output")
        output = self.answer()
        while output:
            port, length = struct.unpack_from("<BI", output)
            self.said[port] += output[5 : 5 + length]
            output = output[5 + length :]

    def frames(self):
        self.call("take_frames")
        records, frames = self.answer(), b""
        while records:
            (length,) = struct.unpack_from("<I", records)
            frames += records[16 : 16 + length]
            records = records[16 + length :]
        return frames

    def replay(self, line):
        match line.split():
            case ["run", *numbers]:
                reason, detail, count = map(int, numbers)
                found = self.call("run", NO_LIMIT if reason else count), self.call("detail"), self.call("count")
                self.listen()
                if found != (reason, detail, count):
                    sys.exit(f"`{line}` came to {found}")
            case ["skip", tick]:
                self.call("skip_to", int(tick))
            case ["push", port, data]:
                data = bytes.fromhex(data)
                assert self.call("push_input", int(port), self.give(data)) == len(data)
            case ["frame", frame]:
                assert self.call("push_frame", self.give(bytes(12) + bytes.fromhex(frame))) == 0
            case ["sent", frames]:
                if (found := self.frames()) != bytes.fromhex(frames):
                    sys.exit(f"`{line}`, and the guest sent {found.hex()}")
            case _:
                sys.exit(f"`{line}` is no call")


def main(module, folder):
    folder = Path(folder)
    machine = Machine(module)
    config = (folder / "config").read_bytes()
    machine.check(machine.call("configure", machine.give(config)))
    if (folder / "snapshot").exists():
        machine.restore(folder)
    else:
        machine.check(machine.call("boot"))
    for line in (folder / "log").read_text().splitlines():
        machine.replay(line)
    machine.check(machine.call("save"))
    (folder / "records").write_bytes(machine.answer())
    lines = dict(line.split("=", 1) for line in config.decode().splitlines())
    for name, start in ("ram", machine.ram), ("upper", machine.call("disk", 1)):
        (folder / name).write_bytes(machine.memory.read(machine.store, start, start + int(lines[name])))
    for port, data in machine.said.items():
        (folder / f"said.{port}").write_bytes(data)


main(*sys.argv[1:])
