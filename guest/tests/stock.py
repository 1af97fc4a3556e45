"""Runs a machine in wasmtime as any program of WASI's: nothing is called but `_start`.

    stock.py MACHINE.wasm FOLDER GUEST NAME=VALUE... -- COMMAND...

The guest finds FOLDER at GUEST and the names in its environment, runs COMMAND on the standard streams, and ends with its status.
"""

import sys

from wasmtime import Config, Engine, ExitTrap, Linker, Module, Store, WasiConfig


def main(machine, folder, guest, *rest):
    end = rest.index("--")
    wasi = WasiConfig()
    wasi.argv = [machine, *rest[end + 1 :]]
    wasi.env = [name.split("=", 1) for name in rest[:end]]
    wasi.preopen_dir(folder, guest)
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    config = Config()
    config.cache = True
    engine = Engine(config)
    store = Store(engine)
    store.set_wasi(wasi)
    linker = Linker(engine)
    linker.define_wasi()
    instance = linker.instantiate(store, Module.from_file(engine, machine))
    try:
        instance.exports(store)["_start"](store)
    except ExitTrap as end:
        sys.exit(end.code)


main(*sys.argv[1:])
