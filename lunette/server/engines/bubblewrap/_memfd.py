"""Programs as sealed memory files, so that nothing that reaches them by /proc/PID/exe can change
them.

A sandbox without a range of ids of its own runs as the server's user, who owns the programs on disk
(CVE-2019-5736 is what follows from that).
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

__all__ = ["sealed_copy"]

_MFD_EXEC = 0x0010  # Linux 6.3
_F_ADD_SEALS = 1033
_SEALS = 0x01 | 0x02 | 0x04 | 0x08  # SEAL, SHRINK, GROW, WRITE
_SEALINGS = 40  # the kernel waits 150 ms each time
_SEAL_EXEC = 0x20  # Linux 6.3: no chmod of the executable bits either


def sealed_copy(program: Path, name: str) -> tuple[int, bool]:
    """Copy *program* into a sealed memfd; return it and whether its mode is sealed as well."""
    fd = _executable_memfd(name)
    with program.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        while size > 0:
            size -= os.sendfile(fd, source.fileno(), None, size)
    os.fchmod(fd, 0o755)
    try:
        _seal(fd, _SEALS | _SEAL_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _seal(fd, _SEALS)
        return fd, False
    return fd, True


def _seal(fd: int, seals: int) -> None:
    """Add seals; on a machine under load, pages just written are in use for longer than the kernel
    waits for them.
    """
    for left in reversed(range(_SEALINGS)):
        try:
            fcntl.fcntl(fd, _F_ADD_SEALS, seals)
        except OSError as error:
            if error.errno != errno.EBUSY or left == 0:
                raise
        else:
            return


def _executable_memfd(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)
