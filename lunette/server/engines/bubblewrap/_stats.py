"""What the processes of a sandbox use, as /proc says it: where no control group counts."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence

from attrs import frozen

from lunette.server.engines.bubblewrap._proc import Proc, Process

__all__ = ["Usage", "usage"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_BLOCK = 512  # bytes, of st_blocks in stat(2)
# Of /proc/PID/stat, behind the name.
_TIMES, _CHILDREN_TIMES = slice(11, 13), slice(13, 15)


@frozen(kw_only=True)
class Usage:
    """*cpu_seconds* since the sandbox began, *threads* of all processes, and the *memory* of each
    in bytes; what several of them share is divided among them, but for files in memory that nobody
    has mapped: they are those of one who has them open. Where the time was too short, it is not
    *complete*, and no more than was found.
    """

    cpu_seconds: float
    threads: int
    memory: Mapping[Process, int]
    complete: bool = True


def usage(proc: Proc, *, root: int, pid1: int) -> Usage:
    """Look at what lives below *root*, the worker, in the sandbox of *pid1*; blocking.

    What ended is counted by who has waited for it: a parent inside, its first process or the
    worker.
    """
    found = proc.inside(root, pid1)
    ticks = _ticks(proc, root, _CHILDREN_TIMES)
    for process in found:
        ticks += _ticks(proc, process.pid, _TIMES) + _ticks(proc, process.pid, _CHILDREN_TIMES)
    memory = _memory_of_all(proc, found)
    return Usage(
        cpu_seconds=ticks / _TICKS,
        threads=sum(process.threads for process in found),
        memory=memory,
        complete=not proc.late,
    )


def _memory_of_all(proc: Proc, found: Sequence[Process]) -> dict[Process, int]:
    memory: dict[Process, int] = {}
    files: dict[Process, int] = {}
    mapped = 0
    seen: set[int] = set()
    device = _device_of_memfds()
    for process in found:
        if proc.late:
            break
        memory[process], shared = _memory(proc, process.pid)
        files[process] = _in_files(proc, process.pid, device, seen)
        mapped += shared
    unmapped = sum(files.values()) - mapped
    if unmapped > 0:
        memory[max(files, key=files.__getitem__)] += unmapped
    return memory


def _device_of_memfds() -> int:
    """Return what all of the machine have in st_dev; 0 where there is no descriptor for one."""
    try:
        fd = os.memfd_create("device", os.MFD_CLOEXEC)
    except OSError:
        return 0
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def _in_files(proc: Proc, pid: int, device: int, seen: set[int]) -> int:
    """Return the bytes of memfds that *pid* has open and that are not in *seen* yet."""
    used = 0
    with contextlib.suppress(OSError):  # it has ended, or there is no descriptor to look with
        for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208, names are what is wanted
            if proc.late:
                break
            with contextlib.suppress(OSError):
                file = os.stat(f"/proc/{pid}/fd/{fd}")  # noqa: PTH116, a Path takes longer
                known = file.st_dev != device or file.st_ino in seen
                if not known and stat.S_ISREG(file.st_mode):
                    seen.add(file.st_ino)
                    used += file.st_blocks * _BLOCK
    return used


def _ticks(proc: Proc, pid: int, which: slice) -> int:
    stat = proc.read(f"/proc/{pid}/stat")
    return sum(map(int, stat.rpartition(b")")[2].split()[which]))


def _memory(proc: Proc, pid: int) -> tuple[int, int]:
    """Return what *pid* has, and how much of that is of files in memory, or shared like one."""
    sizes = dict.fromkeys((b"Pss", b"Pss_Shmem"), 0)
    for line in proc.read(f"/proc/{pid}/smaps_rollup").splitlines():
        name, _, size = line.partition(b":")
        if name in sizes:
            sizes[name] = int(size.split()[0]) * 1024
    if sizes[b"Pss"]:
        return sizes[b"Pss"], sizes[b"Pss_Shmem"]
    pages = proc.read(f"/proc/{pid}/statm").split()  # where the kernel adds nothing up
    return (int(pages[1]) * _PAGE if pages else 0), 0
