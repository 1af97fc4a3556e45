"""What is passed in and out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence


def _time(seconds: Optional[int]) -> Optional[datetime]:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


@dataclass(frozen=True)
class Progress:
    """How far a task has come: bytes, unless the task counts something else."""

    task: str
    text: str
    done: int
    total: Optional[int]
    ended: bool


@dataclass(frozen=True)
class Artifacts:
    """The files of an image, in the store. `snapshot` is `None` if the image was not pre-baked: such a machine boots once, when it is first started."""

    machine: Path
    snapshot: Optional[Path]
    reference: str
    digest: str


@dataclass(frozen=True)
class Image:
    """An image in the store."""

    reference: str
    digest: str
    target: str
    machine_bytes: int
    snapshot_bytes: Optional[int]
    pulled: datetime


@dataclass(frozen=True)
class Session:
    """A session of `subject`: a reference, or a file. `saved` is `None` if it never was, as while its first run lasts."""

    name: str
    subject: str
    image: Optional[str]
    began: datetime
    saved: Optional[datetime]
    bytes: int
    running: bool


@dataclass(frozen=True)
class Pruned:
    """What was removed; `in_use` files were not, since something needs them."""

    files: int
    bytes: int
    in_use: int


@dataclass(frozen=True)
class Output:
    """What the guest wrote at once: to stream 1, standard output or the terminal, or to 2, standard error."""

    stream: int
    bytes: bytes


@dataclass(frozen=True)
class Checkpoint:
    """A session that was saved."""

    session: str
    pages: int
    bytes: int
    milliseconds: float


@dataclass(frozen=True)
class Ended:
    """How a machine ended. `status` is that of its program if it has exited; `signal` the one that ended it, if one did; otherwise it was stopped."""

    status: Optional[int]
    signal: Optional[int]
    saved: Optional[Checkpoint]
    restore_ms: Optional[float]
    first_output_ms: Optional[float]


@dataclass(frozen=True)
class Completed:
    """What a program wrote, and how its machine ended."""

    stdout: bytes
    stderr: bytes
    ended: Ended


@dataclass(frozen=True)
class Terminal:
    """The program's terminal."""

    columns: int = 80
    rows: int = 24
    name: str = "xterm-256color"


@dataclass(frozen=True)
class Volume:
    """A directory or file of the host at a path in the guest. `size` bounds the bytes that the guest may add."""

    host: str
    guest: str
    read_only: bool = False
    size: Optional[int] = None


@dataclass(frozen=True)
class Port:
    """A port of this host that leads to one of the guest; `host` 0 is any that is free."""

    guest: int
    host: int = 0
    udp: bool = False
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Network:
    """A guest's network. With `host` it may reach this host's loopback interface."""

    none: bool = False
    host: bool = False
    published: Sequence[Port] = ()
    dns: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        if self.none:
            return {"none": True}
        ports = [{"host": port.host, "guest": port.guest, "udp": port.udp, "address": port.address} for port in self.published]
        return {"host": self.host, "published": ports, "dns": list(self.dns), "names": dict(self.names)}
