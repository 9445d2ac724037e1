"""Making this process one that reaches nothing but one directory, and holds no right but to shape
what is in it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from lunette.server.engines.bubblewrap.inside import kernel

__all__ = ["enter", "keep_only"]

_CLONE_NEWUTS, _CLONE_NEWIPC = 0x0400_0000, 0x0800_0000
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_NAMESPACES = _CLONE_NEWUSER | kernel.CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
_CAP_CHOWN, _CAP_DAC_OVERRIDE, _CAP_FOWNER, _CAP_FSETID = 0, 1, 3, 4
_KEPT = 1 << _CAP_CHOWN | 1 << _CAP_DAC_OVERRIDE | 1 << _CAP_FOWNER | 1 << _CAP_FSETID
_PR_SET_PDEATHSIG = 1
_MORE_FILES = 16
_MORE_MEMORY_BYTES = 1 << 30

_libc = ctypes.CDLL(None, use_errno=True)


def keep_only(fds: Iterable[int]) -> None:
    """Close every descriptor but the standard streams and *fds*."""
    first = 3
    for fd in sorted(fds):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def enter(directory: int, *, become_root: bool, map_ids: Callable[[], None], parent: int) -> None:
    """Let the directory of the descriptor *directory* be all that this process has of the disk.

    It may have other descriptors, but of no other directory, and no thread. *map_ids* waits until
    the new user namespace has its ids; *become_root* says that these are not those of this process.
    When *parent* ends, so does this process.
    """
    memory, files = _memory_bytes(), _highest_descriptor()
    os.fchdir(directory)  # first, so that the directory below is of the new mount namespace
    os.close(directory)
    kernel.unshare(_NAMESPACES)
    map_ids()
    if become_root:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    os.chroot(".")
    os.chdir("/")
    os.umask(0o022)
    _forget_how_to_import()
    _limit_resources(memory=memory + _MORE_MEMORY_BYTES, files=files + _MORE_FILES)
    kernel.drop_capabilities(_KEPT)
    kernel.no_new_privileges()
    kernel.set_seccomp()
    _die_with(parent)


def _memory_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


def _highest_descriptor() -> int:
    return max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())


def _forget_how_to_import() -> None:
    """A module that is looked for from now on would be one of the image's."""
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.meta_path[:] = []
    sys.path_importer_cache.clear()


def _limit_resources(*, memory: int, files: int) -> None:
    for number, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_AS, memory),
    ):
        _, hard = resource.getrlimit(number)
        lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(number, (lowest, lowest))


def _die_with(parent: int) -> None:
    """Be killed when *parent* ends. Last, as the kernel forgets it when credentials change."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        os._exit(1)
