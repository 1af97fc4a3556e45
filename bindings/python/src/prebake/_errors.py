"""Why prebake could not do something."""

from __future__ import annotations

from typing import Any


class PrebakeError(Exception):
    """The base of all. `kind` is a stable name, the same that `prebake --json` has."""

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.kind)

    def again(self) -> PrebakeError:
        """The same, to be raised once more: an exception remembers everywhere that it was raised."""
        return self.with_traceback(None)


class Unreachable(PrebakeError):
    """The registry cannot be reached or does not work, and nothing was pulled before."""


class Unauthorized(PrebakeError):
    """The registry wants to know who asks."""


class NotFound(PrebakeError):
    """The image is not in the store, and no registry was to be asked; or the registry does not have it; or there is no such file."""


class SessionInUse(PrebakeError):
    """The session is held by another machine."""


class MachineEnded(PrebakeError):
    """The machine has ended."""


class DiskFull(PrebakeError):
    """There is no room left."""


class Cancelled(PrebakeError):
    """It was given up."""


class ProcessDied(PrebakeError):
    """The process has ended: it was killed, has crashed, or cannot be started."""


KINDS = {
    "registry-unreachable": Unreachable,
    "registry-cut-off": Unreachable,
    "registry-busy": Unreachable,
    "registry-failed": Unreachable,
    "registry-unauthorized": Unauthorized,
    "registry-denied": Unauthorized,
    "not-in-store": NotFound,
    "not-in-registry": NotFound,
    "missing": NotFound,
    "session-in-use": SessionInUse,
    "machine-ended": MachineEnded,
    "disk-full": DiskFull,
    "cancelled": Cancelled,
}


def error(kind: str, message: str) -> PrebakeError:
    return KINDS.get(kind, PrebakeError)(message, kind)


def died(message: str) -> ProcessDied:
    return ProcessDied(message, "process-died")
