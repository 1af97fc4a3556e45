"""Machines that are restored in milliseconds, from container images.

>>> import prebake
>>> with prebake.Prebake(home="machines") as pb:
...     pb.run("alpine:3.20", ["uname", "-m"]).stdout
b'x86_64\\n'
"""

from ._errors import (
    Cancelled,
    DiskFull,
    MachineEnded,
    NotFound,
    PrebakeError,
    ProcessDied,
    SessionInUse,
    Unauthorized,
    Unreachable,
)
from ._model import Artifacts, Checkpoint, Completed, Ended, Image, Network, Output, Port, Progress, Pruned, Session, Terminal, Volume
from ._process import Prebake
from ._vm import Vm

__all__ = [
    "Artifacts",
    "Cancelled",
    "Checkpoint",
    "Completed",
    "DiskFull",
    "Ended",
    "Image",
    "MachineEnded",
    "Network",
    "NotFound",
    "Output",
    "Port",
    "Prebake",
    "PrebakeError",
    "ProcessDied",
    "Progress",
    "Pruned",
    "Session",
    "SessionInUse",
    "Terminal",
    "Unauthorized",
    "Unreachable",
    "Vm",
    "Volume",
]
