"""A machine that runs."""

from __future__ import annotations

import logging
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Iterator, Optional, Union

from ._errors import MachineEnded, PrebakeError, ProcessDied, error
from ._model import Checkpoint, Ended, Output

if TYPE_CHECKING:
    from ._process import Prebake

LOG = logging.getLogger("prebake")
# Bytes that may be sent ahead of what the guest has taken.
WINDOW = 256 << 10
CHUNK = 32 << 10
# Bytes of output that may wait to be read. Beyond that the guest waits.
UNREAD = 4 << 20
# The same while something is asked of the process, whose answer comes behind them. What is more is left out.
MOST_UNREAD = 64 << 20
# Bytes in which a text is looked for.
MOST_EXPECTED = 16 << 20


class Vm:
    """A machine that runs. Leaving a `with` block stops it.

    Iterate over it for what it writes. While more than 4 MiB wait to be read it waits, and with it all machines of this process, unless something is asked
    of the process meanwhile: then it goes on, and what is beyond 64 MiB is left out.
    """

    def __init__(self, prebake: Prebake, number: int):
        self._prebake = prebake
        self._number = number
        self._changed = prebake._changed
        self._typing = threading.Lock()
        self._output: deque[Output] = deque()
        self._unread = 0
        self._ahead = 0
        self._discarded = False
        self._has_lost = False
        self._how: Union[Ended, PrebakeError, None] = None
        self._rest = bytearray()

    def __enter__(self) -> Vm:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.has_ended:
            try:
                self.stop()
            except ProcessDied:
                pass  # That is its end as well.

    def __repr__(self) -> str:
        return f"<Vm {self._number}, {'ended' if self.has_ended else 'running'}>"

    @property
    def has_ended(self) -> bool:
        """Whether the machine has ended."""
        return self._how is not None

    def read(self, timeout: Optional[float] = None) -> Optional[Output]:
        """What the guest writes next; `None` once it has ended. Raises `TimeoutError` after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._output or self._how is not None, timeout):
                raise TimeoutError("the machine wrote nothing")
            if not self._output:
                return None
            output = self._output.popleft()
            self._unread -= len(output.bytes)
            self._changed.notify_all()
            return output

    def __iter__(self) -> Iterator[Output]:
        while (output := self.read()) is not None:
            yield output

    def expect(self, text: Union[bytes, str], timeout: Optional[float] = None) -> bytes:
        """Reads standard output, or the terminal, up to `text`, and returns it. What comes behind is for the next call.

        Raises `TimeoutError` after `timeout` seconds, whatever the guest writes meanwhile, and `PrebakeError` of the kind `not-found` if 16 MiB have come
        without it.
        """
        wanted = text.encode() if isinstance(text, str) else text
        deadline = None if timeout is None else monotonic() + timeout
        looked, is_late = 0, False
        while (start := self._rest.find(wanted, looked)) < 0:
            if len(self._rest) > MOST_EXPECTED:
                raise PrebakeError(f"the machine wrote {len(self._rest)} bytes without {wanted!r}: {bytes(self._rest[-1000:])!r}", "not-found")
            if is_late:
                raise TimeoutError(f"the machine did not write {wanted!r}")
            looked = max(len(self._rest) - len(wanted) + 1, 0)
            output = self.read(None if deadline is None else deadline - monotonic())
            is_late = deadline is not None and monotonic() >= deadline
            if output is None:
                raise MachineEnded(f"the machine ended before it wrote {wanted!r}: {bytes(self._rest[-1000:])!r}", "machine-ended")
            if output.stream == 1:
                self._rest += output.bytes
        end = start + len(wanted)
        found = bytes(self._rest[:end])
        del self._rest[:end]
        return found

    def write(self, data: Union[bytes, str]) -> None:
        """Types `data`. Returns when the guest is sure to have room for it."""
        data = data.encode() if isinstance(data, str) else data
        with self._typing:
            for start in range(0, len(data), CHUNK):
                chunk = data[start : start + CHUNK]
                with self._changed:
                    self._changed.wait_for(lambda: self._ahead + len(chunk) <= WINDOW or self._how is not None)
                    if self._how is not None:
                        raise MachineEnded("the machine has ended", "machine-ended")
                    self._ahead += len(chunk)
                self._prebake._input(self._number, chunk)

    def close_input(self) -> None:
        """Ends the guest's input. A machine with a terminal takes it as its user going away: it is saved, and ends."""
        with self._typing:
            self._prebake._input(self._number, b"")

    def resize(self, columns: int, rows: int) -> None:
        """Tells the guest the size of its terminal."""
        self._prebake._call("resize", {"machine": self._number, "columns": columns, "rows": rows})

    def signal(self, number: int) -> None:
        """Sends a signal to the guest's program."""
        self._prebake._call("signal", {"machine": self._number, "number": number})

    def checkpoint(self) -> Checkpoint:
        """Saves what the guest has done in its session, and lets it go on. Returns when that is on the disk."""
        return Checkpoint(**self._prebake._call("checkpoint", {"machine": self._number}))

    def stop(self) -> Ended:
        """Saves the machine if it is in a session, ends it, and returns how it ended. What it wrote before can still be read."""
        with self._prebake._waiting():
            try:
                self._prebake._call("stop", {"machine": self._number})
            except MachineEnded:
                pass  # It has stopped by itself.
            return self.wait()

    def wait(self, timeout: Optional[float] = None) -> Ended:
        """Waits until the machine ends. Raises what ended it if that was a failure, and `TimeoutError` after `timeout` seconds.

        It reads nothing: a machine that writes a lot does not end unless it is read meanwhile. `stop` does not depend on that.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._how is not None, timeout):
                raise TimeoutError("the machine runs")
            how = self._how
        if isinstance(how, PrebakeError):
            raise how.again()
        assert how is not None
        return how

    # What the process tells.

    def _write_all(self, data: bytes) -> None:
        try:
            self.write(data)
            self.close_input()
        except PrebakeError:
            pass  # It does not want it.

    def _wrote(self, stream: int, data: bytes) -> None:
        prebake = self._prebake
        with self._changed:
            self._changed.wait_for(lambda: self._unread < UNREAD or prebake._pending or prebake._closing)
            if self._discarded:
                return
            if self._unread >= MOST_UNREAD:
                if not self._has_lost:
                    LOG.warning("machine %d writes what nobody reads: what is beyond %d bytes is left out", self._number, MOST_UNREAD)
                self._has_lost = True
                return
            self._output.append(Output(stream, data))
            self._unread += len(data)
            self._changed.notify_all()

    def _consumed(self, count: int) -> None:
        with self._changed:
            self._ahead -= count
            self._changed.notify_all()

    def _end(self, how: Union[dict[str, Any], PrebakeError]) -> None:
        if isinstance(how, dict):
            if how["ending"] in ("failed", "broken-pipe"):
                problem = how.get("error", {"kind": "broken-pipe", "message": "the machine's output is read no more"})
                how = error(problem["kind"], problem["message"])
            else:
                saved = how.get("saved")
                how = Ended(
                    how.get("status"),
                    how.get("signal"),
                    None if saved is None else Checkpoint(**saved),
                    how.get("restore_ms"),
                    how.get("first_output_ms"),
                )
        with self._changed:
            self._how = how
            self._changed.notify_all()
