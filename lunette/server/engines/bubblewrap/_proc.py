"""What /proc says of processes, and signals to them, where the server may have no descriptor left.

What a process says of itself there can be of any size, so all of it is read up to a deadline.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from attrs import frozen

from lunette.server.engines.bubblewrap.inside.wire import MARKER

__all__ = ["HUNTS", "PAUSE_SECONDS", "STILL", "STOPPED", "Key", "Proc", "Process", "Reserve"]

T = TypeVar("T")

HUNTS = 8  # at once
PAUSE_SECONDS = 0.002
STOPPED = "T"
STILL = "TtD"  # D: waits for a child that it vforked, which is stopped
_ENDED = "ZX"
# For each hunt a pidfd, and a file of /proc beside it; and what others are quick enough to take.
_RESERVED = HUNTS * 2 + 8
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_GONE = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM)
# The second is what a kernel before 6.16 says where a session still has the pid.
_NO_PROCESS = (errno.ESRCH, errno.EINVAL)
_CHUNK = 64 * 1024
_MOST_ENVIRONMENT = 6 * 1024 * 1024  # execve(2) takes no more; prctl(2) can show any size

Key = tuple[int, str]


# Which, unlike os, keeps the interpreter lock: no other thread runs before the next call.
_libc = ctypes.PyDLL(None)


class Reserve:
    """Descriptors that are held to be given up by who must go on where the server has no other.

    Others in the server wait for one too, and would keep it: what is given up is held again as soon
    as it is not needed, with no moment between in which it is free.
    """

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._lock = threading.Lock()

    def refill(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # the next time, then
            while len(self._fds) < _RESERVED:
                self._fds.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def give_up(self) -> bool:
        """Make room for one descriptor; False if none is held."""
        with self._lock:
            if not self._fds:
                return False
            _libc.close(self._fds.pop())
        return True

    def take_back(self, fd: int) -> None:
        """Close *fd*, or hold it where one was given up."""
        with self._lock:
            if not 0 < len(self._fds) < _RESERVED:
                os.close(fd)
                return
            os.dup2(self._fds[0], fd, inheritable=False)
            self._fds.append(fd)

    def close(self) -> None:
        while self.give_up():
            pass


@frozen
class Process:
    """What /proc/PID/stat says; *started* tells it from a later one with its pid."""

    pid: int
    state: str
    parent: int
    session: int
    threads: int
    started: str

    @property
    def key(self) -> Key:
        return self.pid, self.started

    @property
    def over(self) -> bool:
        """A process whose first thread has ended shows as a zombie and may live on in others."""
        return self.state in _ENDED and self.threads <= 1


@frozen
class Proc:
    """Looks at processes until *end*, by the monotonic clock; blocking.

    Raise OSError if until then there is no descriptor to be had, not even from *reserve*.
    """

    end: float
    reserve: Reserve

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.end

    def descendants(self, root: int) -> list[Process]:
        """Return all that lives below *root*, parents first, or what is found of it in time."""
        found: list[Process] = []
        pending = self._children(root, threads=1)
        while pending and not self.late:
            pid = pending.pop()
            process = self.look(pid)
            if process is None or process.over:
                continue
            found.append(process)
            pending += self._children(pid, threads=process.threads)
        return found

    def inside(self, root: int, pid1: int) -> list[Process]:
        """Return all below *root*, the worker of a sandbox, less bwrap itself, which waits outside
        for *pid1*.
        """
        found = self.descendants(root)
        outside = {process.parent for process in found if process.pid == pid1}
        return [process for process in found if process.pid not in outside]

    def is_alive(self, process: Process) -> bool:
        now = self.look(process.pid)
        return now is not None and now.key == process.key and not now.over

    def signal(self, process: Process, number: int) -> None:
        """Signal *process*, and never another that got its pid meanwhile."""
        try:
            fd = self._with_room(lambda: os.pidfd_open(process.pid))
        except OSError as error:
            if error.errno not in _NO_PROCESS:
                raise
            return
        try:
            if self.is_alive(process):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, number)
        finally:
            self.reserve.take_back(fd)

    def is_marked(self, process: Process, markers: Collection[str]) -> bool:
        """Whether *process* was started with one of *markers*, as far as is read in time."""
        if self.late or (fd := self._open(f"/proc/{process.pid}/environ")) is None:
            return False
        try:
            return self._finds(fd, [f"\0{MARKER}={marker}\0".encode() for marker in markers])
        except OSError:  # nothing that a process does to its memory may break the hunt
            return False
        finally:
            self.reserve.take_back(fd)

    def _finds(self, fd: int, wanted: Collection[bytes]) -> bool:
        kept = max(map(len, wanted)) - 1
        window = b"\0"
        for _ in range(_MOST_ENVIRONMENT // _CHUNK + 1):
            chunk = os.read(fd, _CHUNK)
            window += chunk or b"\0"
            if any(one in window for one in wanted):
                return True
            if not chunk or self.late:
                return False
            window = window[-kept:]
        return False

    def _children(self, pid: int, *, threads: int) -> list[int]:
        tasks = self._tasks(pid) if threads > 1 else [str(pid)]
        lists = (self.read(f"/proc/{pid}/task/{task}/children") for task in tasks)
        return [int(child) for children in lists for child in children.split()]

    def look(self, pid: int) -> Process | None:
        """Return what is said of one; None for one that is gone."""
        stat = self.read(f"/proc/{pid}/stat").decode(errors="replace")
        if not stat:
            return None
        fields = stat.rpartition(")")[2].split()  # the name before it can hold anything
        state, parent, session, threads, started = (fields[n] for n in (0, 1, 3, 17, 19))
        if int(threads) > 1:
            state = self._state_of_threads(pid)
        return Process(pid, state, int(parent), int(session), int(threads), started)

    def _state_of_threads(self, pid: int) -> str:
        """Return the state of a thread that moves, if one does."""
        stats = [self.read(f"/proc/{pid}/task/{task}/stat") for task in self._tasks(pid)]
        states = {stat.rpartition(b")")[2].split()[0].decode() for stat in stats if stat}
        moving = states - {*STILL, *_ENDED}
        return next(iter(moving or states & {*STILL} or {"Z"}))

    def _tasks(self, pid: int) -> list[str]:
        try:
            path = f"/proc/{pid}/task"
            return self._with_room(lambda: os.listdir(path))  # noqa: PTH208, names are what is wanted
        except OSError as error:
            _check_gone(error)
            return []
        finally:
            self.reserve.refill()

    def read(self, path: str) -> bytes:
        """Return what a file of /proc says; nothing for a process that is gone or not ours."""
        if (fd := self._open(path)) is None:
            return b""
        try:
            content = b""
            while chunk := os.read(fd, _CHUNK):
                content += chunk
            return content
        except OSError as error:
            _check_gone(error)
            return b""
        finally:
            self.reserve.take_back(fd)

    def _open(self, path: str) -> int | None:
        try:
            return self._with_room(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            _check_gone(error)
            return None

    def _with_room(self, opening: Callable[[], T]) -> T:
        """Return what *opening* gives, as soon as there is a descriptor for it."""
        while True:
            try:
                return opening()
            except OSError as error:
                if error.errno not in _NO_ROOM or self.late:
                    raise
            if not self.reserve.give_up():
                time.sleep(PAUSE_SECONDS)


def _check_gone(error: OSError) -> None:
    """Raise *error* again unless it says that a process is gone, or not ours to read."""
    if error.errno not in _GONE:
        raise error
