"""The settings of the kernel that a sandbox has for itself: some lowered, and none to be changed
from inside.

What System V calls shared memory and messages belongs to no process, and no limit of setrlimit(2)
counts it.
"""

from __future__ import annotations

import contextlib
import os

from lunette.server.engines.bubblewrap.inside import kernel

__all__ = ["close", "forbid_user_namespaces", "limit_segments"]

_TOP = "/proc/sys"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_QUEUES = 256  # of 16 KiB


def forbid_user_namespaces() -> None:
    """bwrap's own switch for it is not to be had together with a range of ids."""
    _write("user/max_user_namespaces", 0)


def limit_segments(size: int) -> None:
    """Let all shared memory of System V together have *size* bytes, and messages little."""
    with contextlib.suppress(OSError):  # before Linux 5.19 only the machine's root may
        _write("kernel/shmall", size // _PAGE)
        _write("kernel/msgmni", _QUEUES)


def close() -> None:
    """Make all of them read-only."""
    kernel.bind_mount(_TOP, _TOP)
    kernel.remount_read_only(_TOP)


def _write(name: str, value: int) -> None:
    fd = os.open(f"{_TOP}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)
