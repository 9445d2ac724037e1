"""Sandboxes that were half made when all who made them were killed.

The first process of one waits for a word of bwrap's before it asks to die with it, and no end of
bwrap's is such a word.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from lunette.server.engines.bubblewrap.inside.launching import BWRAP

__all__ = ["end_orphans"]

_ARGUMENTS = "\0".join(BWRAP).encode() + b"\0"


def end_orphans() -> None:
    """Kill the first processes of sandboxes that nobody waits for, on this machine; blocking."""
    for pid in _first_processes():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            fd = os.pidfd_open(pid)
            try:
                if _is_orphan(pid):  # still, and so it is the one behind the descriptor
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)


def _first_processes() -> Iterator[int]:
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and _is_orphan(int(path.name)):
            yield int(path.name)


def _is_orphan(pid: int) -> bool:
    """Whether *pid* is a bwrap of ours, the first in its namespace, whose parent is not bwrap."""
    if _arguments(pid) != _ARGUMENTS:
        return False
    status = _read(f"/proc/{pid}/status").splitlines()
    fields = dict(line.split(b":\t", 1) for line in status if b":\t" in line)
    if fields.get(b"NSpid", b"").split()[1:] != [b"1"]:
        return False
    return _arguments(int(fields[b"PPid"])) != _ARGUMENTS


def _arguments(pid: int) -> bytes:
    return _read(f"/proc/{pid}/cmdline")


def _read(path: str) -> bytes:
    """Return a file of /proc; nothing of a process that is gone."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
