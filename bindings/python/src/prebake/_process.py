"""A process of `prebake serve`, and its protocol."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import logging
import os
import queue
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import IO, Any, Callable, Iterable, Iterator, Mapping, Optional, Sequence, Union

from ._errors import PrebakeError, died, error
from ._model import Artifacts, Completed, Image, Network, Progress, Pruned, Session, Terminal, Volume, _time
from ._vm import Vm

Json = dict[str, Any]
Resolver = Callable[[str], Iterable[str]]

LOG = logging.getLogger("prebake")
# More than any list of what is in a store: what says that it is longer is no frame.
MAX_FRAME = 16 << 20
# Seconds that a process has to end, once it has closed its output or has been told to end.
PATIENCE = 30
# Messages about the progress of a call that may wait for whoever is told. More of them are left out, but for the last of a task.
UNTOLD = 64


def system_resolver(name: str) -> Iterable[str]:
    """Looks up `name` as this program does."""
    try:
        return {info[4][0] for info in socket.getaddrinfo(name, None)}
    except socket.gaierror:
        return ()


class Prebake:
    """A process of `prebake serve`. It runs any number of machines; if it dies, this program does not.

    Everything that it writes is below `home`, or where `prebake` on the command line has it. Names of hosts are looked up by `resolver`, or by the
    process itself if there is none. Leaving a `with` block, or `close`, ends it: what is in sessions is saved. So does the end of this program.

    Its methods may be called by any thread.
    """

    def __init__(
        self,
        executable: Union[str, os.PathLike[str]] = "prebake",
        *,
        home: Union[str, os.PathLike[str], None] = None,
        resolver: Optional[Resolver] = None,
        plain_http: bool = False,
        environment: Mapping[str, str] = {},
        wrapper: Sequence[str] = (),
    ):
        command = [*wrapper, os.fspath(executable), "serve"]
        if resolver is not None:
            command.append("--resolve")
        if plain_http:
            command.append("--plain-http")
        variables = dict(os.environ)
        if home is not None:
            folder = Path(home).absolute()
            (folder / "temporary").mkdir(parents=True, exist_ok=True)
            variables.update(
                PREBAKE_HOME=str(folder / "store"),
                PREBAKE_CACHE=str(folder / "cache"),
                PREBAKE_CONFIG=str(folder / "configuration"),
                TMPDIR=str(folder / "temporary"),
            )
        variables.update(environment)
        self._resolver = resolver
        self._numbers = itertools.count(1)
        # Guards what follows and what machines keep, and is notified of every change.
        self._changed = threading.Condition()
        self._pending = 0
        self._closing = False
        self._writing = threading.Lock()
        self._calls: dict[int, queue.SimpleQueue[Json]] = {}
        self._machines: dict[int, Vm] = {}
        self._dead: Optional[PrebakeError] = None
        # Of itself it would get the interrupts that a terminal sends to this program, and end.
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables, start_new_session=True
            )
        except OSError as problem:
            raise died(f"cannot start {command[0]}: {problem}") from problem
        ready: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self._calls[0] = ready
        self._reader = threading.Thread(target=self._read, name="prebake-output", daemon=True)
        self._reader.start()
        try:
            message = ready.get()
            if "error" in message:
                raise message["error"]
            self.version: str = message["params"]["version"]
        except BaseException:
            self._process.kill()
            with contextlib.suppress(OSError):
                self._stdin().close()
            raise

    def __enter__(self) -> Prebake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Prebake {self.version}, {'alive' if self._process.poll() is None else 'ended'}>"

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def close(self, timeout: float = 30) -> None:
        """Ends the process: what is in sessions is saved. Returns when it is gone, or kills it after `timeout` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        # Whoever writes to a process that does not read waits for it.
        if self._writing.acquire(timeout=timeout):
            try:
                self._stdin().close()
            except OSError:
                pass  # It is gone already.
            finally:
                self._writing.release()
        else:
            self._process.kill()
        self._end(timeout)
        self._reader.join()

    def _end(self, timeout: float) -> int:
        """Waits until the process is gone, or kills it after `timeout` seconds. Returns its status."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def ensure(
        self,
        reference: str,
        *,
        offline: bool = False,
        verify_key: Optional[str] = None,
        progress: Optional[Callable[[Progress], object]] = None,
    ) -> Artifacts:
        """Makes sure that what `reference` names is in the store, and keeps it there while this process lives.

        Asks the registry what it names now; if that cannot be reached, what was pulled before is returned. Whatever `progress` raises, or an interrupt,
        gives it up: what was fetched so far is kept, and the next call goes on from there.
        """
        parameters: Json = {"reference": reference, "offline": offline}
        if verify_key is not None:
            parameters["verify_key"] = verify_key
        found = self._call("ensure", parameters, progress)
        snapshot = found["snapshot"]
        return Artifacts(Path(found["machine"]), None if snapshot is None else Path(snapshot), found["reference"], found["digest"])

    def images(self) -> list[Image]:
        """The images in the store."""
        return [Image(**{**image, "pulled": _time(image["pulled"])}) for image in self._call("images")["images"]]

    def sessions(self) -> list[Session]:
        """The sessions, by name."""

        def session(of: Json) -> Session:
            began, saved = _time(of["began"]), _time(of["kept"])
            assert began is not None
            return Session(of["name"], of["of"], of["image"], began, saved, of["bytes"], of["running"])

        return [session(of) for of in self._call("sessions")["sessions"]]

    def remove_session(self, name: str) -> None:
        """Ends a session for good."""
        self._call("remove-session", {"name": name})

    def prune(self, references: Sequence[str] = ()) -> Pruned:
        """Forgets `references`, and removes the files that nothing else needs."""
        return Pruned(**self._call("prune", {"references": list(references)}))

    def start(
        self,
        image: Optional[str] = None,
        arguments: Sequence[str] = (),
        *,
        machine: Union[str, os.PathLike[str], None] = None,
        snapshot: Union[str, os.PathLike[str], None] = None,
        session: Optional[str] = None,
        fresh: bool = False,
        terminal: Optional[Terminal] = None,
        environment: Mapping[str, str] = {},
        volumes: Sequence[Volume] = (),
        workdir: Optional[str] = None,
        user: Optional[str] = None,
        hostname: Optional[str] = None,
        entrypoint: Optional[str] = None,
        network: Optional[Network] = None,
        memory: Optional[int] = None,
        engine: Optional[str] = None,
        offline: bool = False,
    ) -> Vm:
        """Starts a machine of `image`, of files, or, without any of them, of what `session` is of.

        What is left out is as `prebake run` has it. The program is on `terminal`, or on three byte-exact streams. Each start draws a new seed for the
        guest. What fails later, say because there is no such image, `Vm.wait` raises.
        """
        fields: Json = {
            "image": image,
            "machine": None if machine is None else os.fspath(machine),
            "snapshot": None if snapshot is None else os.fspath(snapshot),
            "session": session,
            "terminal": None if terminal is None else vars(terminal),
            "workdir": workdir,
            "user": user,
            "hostname": hostname,
            "entrypoint": entrypoint,
            "network": None if network is None else network.json(),
            "memory": memory,
            "engine": engine,
        }
        spec = {name: value for name, value in fields.items() if value is not None}
        spec.update(fresh=fresh, offline=offline, seed=os.urandom(64).hex(), environment=dict(environment))
        spec.update(arguments=list(arguments), volumes=[vars(volume) for volume in volumes])
        vm = Vm(self, next(self._numbers))
        with self._changed:
            self._machines[vm._number] = vm
        try:
            self._call("start", {"machine": vm._number, "spec": spec})
        except PrebakeError:
            with self._changed:
                self._machines.pop(vm._number, None)
            raise
        except BaseException:
            # It may have been started, and nobody else could end it.
            vm._discarded = True
            self._request(next(self._numbers), "stop", {"machine": vm._number})
            raise
        return vm

    def run(self, image: Optional[str] = None, arguments: Sequence[str] = (), *, input: bytes = b"", **options: Any) -> Completed:
        """Runs a program to its end, as `subprocess.run` does. The options are those of `start`."""
        with self.start(image, arguments, **options) as vm:
            writer = threading.Thread(target=vm._write_all, args=(input,), daemon=True)
            writer.start()
            written = {1: bytearray(), 2: bytearray()}
            for output in vm:
                written[output.stream] += output.bytes
            return Completed(bytes(written[1]), bytes(written[2]), vm.wait())

    # The protocol.

    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """While something of the process is waited for, which comes behind what machines write, that is read on."""
        with self._changed:
            self._pending += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._pending -= 1

    def _write(self, kind: int, body: bytes) -> None:
        try:
            with self._writing:
                self._stdin().write(struct.pack(">IB", 1 + len(body), kind) + body)
                self._stdin().flush()
        except (OSError, ValueError) as problem:
            raise (self._dead.again() if self._dead else died("prebake has ended")) from problem

    def _send(self, message: Json) -> None:
        self._write(0, json.dumps({"jsonrpc": "2.0", **message}).encode())

    def _request(self, number: int, method: str, parameters: Json) -> None:
        self._send({"id": number, "method": method, "params": parameters})

    def _input(self, machine: int, data: bytes) -> None:
        self._write(1, struct.pack(">IB", machine, 0) + data)

    def _call(self, method: str, parameters: Json = {}, progress: Optional[Callable[[Progress], object]] = None) -> Json:
        number, answers = next(self._numbers), queue.SimpleQueue[Json]()
        with self._changed:
            if self._dead is not None:
                raise self._dead.again()
            self._calls[number] = answers
        try:
            with self._waiting():
                self._request(number, method, parameters)
                while True:
                    message = answers.get()
                    if "result" in message:
                        return message["result"]
                    if "error" in message:
                        raise message["error"].again()
                    if progress is not None:
                        told = message["params"]
                        progress(Progress(*(told[name] for name in ("task", "text", "done", "total", "ended"))))
        except PrebakeError:
            raise
        except BaseException:
            self._request(next(self._numbers), "cancel", {"id": number})
            raise
        finally:
            with self._changed:
                self._calls.pop(number, None)

    def _read(self) -> None:
        problem: Optional[Exception] = None
        output = self._process.stdout
        assert output is not None

        def exactly(count: int) -> bytes:
            data = output.read(count)
            if len(data) != count:
                raise EOFError
            return data

        try:
            while True:
                length, kind = struct.unpack(">IB", exactly(5))
                if not 1 <= length <= MAX_FRAME:
                    raise ValueError(f"a frame of {length} bytes")
                body = exactly(length - 1)
                if kind == 1:
                    number, stream = struct.unpack_from(">IB", body)
                    with self._changed:
                        vm = self._machines.get(number)
                    if vm is not None:
                        vm._wrote(stream, body[5:])
                else:
                    self._take(json.loads(body))
        except EOFError:
            pass
        except Exception as unexpected:
            problem = unexpected
            self._process.terminate()
        output.close()
        status = self._end(PATIENCE)
        dead = died(f"prebake has ended with status {status}")
        dead.__cause__ = problem
        with self._changed:
            self._dead = dead
            calls, machines = list(self._calls.values()), list(self._machines.values())
            self._machines.clear()
        for answers in calls:
            answers.put({"error": dead})
        for vm in machines:
            vm._end(dead)

    def _take(self, message: Json) -> None:
        parameters = message.get("params", {})
        method = message.get("method")
        with self._changed:
            answers = self._calls.get(0 if method == "ready" else parameters.get("id", message.get("id")))
            vm = self._machines.get(parameters.get("machine"))
        if method is None:
            if answers is not None:
                problem = message.get("error")
                answers.put(message if problem is None else {"error": error(problem["data"]["kind"], problem["message"])})
        elif method in ("ready", "progress"):
            if answers is not None and (answers.qsize() < UNTOLD or parameters.get("ended")):
                answers.put(message)
        elif method == "consumed":
            if vm is not None:
                vm._consumed(parameters["bytes"])
        elif method == "ended":
            if vm is not None:
                vm._end(parameters)
            with self._changed:
                self._machines.pop(parameters["machine"], None)
        elif method == "notice":
            LOG.info("%s", parameters["text"])
        elif method == "resolve":
            threading.Thread(target=self._look_up, args=(message["id"], parameters["name"]), daemon=True).start()

    def _look_up(self, number: Any, name: str) -> None:
        assert self._resolver is not None
        try:
            addresses = [str(ipaddress.ip_address(address)) for address in self._resolver(name)]
            answer: Json = {"result": {"addresses": addresses}}
        except Exception as problem:
            answer = {"error": {"code": 1, "message": str(problem)}}
        try:
            self._send({"id": number, **answer})
        except PrebakeError:
            pass  # Nobody asks any more.
