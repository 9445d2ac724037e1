"""Ending commands with all that they started, from outside the sandbox, where nothing in it can
interfere.

A process belongs to a command if it descends from it, shares its session, or carries its marker in
the environment that it was started with. They are looked for while the whole sandbox is frozen:
what runs can fork, exit and get another parent faster than it is found. What double-forks, leaves
the session *and* clears its environment before the kill begins is a daemon of the sandbox and lives
until the sandbox ends.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

from attrs import define, field, frozen

from lunette.server.engines.bubblewrap.inside.wire import MARKER

__all__ = ["Hunt"]

_PAUSE_SECONDS = 0.002
_BEFORE_SECONDS = 0.2
_LOOK_SECONDS = 2.0
_ENDED, _STOPPED = "ZX", "T"
_STILL = "TtD"  # D: waits for a child that it vforked, which is stopped

_Key = tuple[int, str]


@frozen
class _Process:
    """What /proc/PID/stat says; *started* tells it from a later one with its pid."""

    pid: int
    state: str
    parent: int
    session: int
    threads: int
    started: str

    @property
    def key(self) -> _Key:
        return self.pid, self.started

    @property
    def over(self) -> bool:
        """A process whose first thread has ended shows as a zombie and may live on in others."""
        return self.state in _ENDED and self.threads <= 1


@define
class Hunt:
    """The end of some commands; blocking, so not for the loop.

    *markers* are those of the commands by their first processes, *root* is the worker, whose
    descendants are the sandbox with its first process *pid1*.
    """

    markers: Mapping[int, str]
    root: int
    pid1: int
    _stopped_before: set[_Key] = field(factory=set[_Key])

    def before(self) -> None:
        """Note, before the sandbox is frozen, who has been stopped by somebody else."""
        end = time.monotonic() + _BEFORE_SECONDS
        self._stopped_before = {p.key for p in self._inside(end) if p.state == _STOPPED}

    def kill_and_thaw(self, deadline: float) -> bool:
        """Kill the commands, let the rest go on; False if not all is dead in *deadline* seconds."""
        end = time.monotonic() + deadline
        everything = self._frozen(end)
        if everything is None:
            return False
        members = self._members(everything)
        for process in members.values():
            _signal(process, signal.SIGKILL)
        for process in reversed(everything):  # children first: no shell sees one of its own stopped
            if process.pid not in members and process.key not in self._stopped_before:
                _signal(process, signal.SIGCONT)
        while any(_is_alive(process) for process in members.values()):
            if time.monotonic() > end:
                return False
            time.sleep(_PAUSE_SECONDS)
        return True

    def signal(self, number: int) -> None:
        """Signal the commands as they are now, parents first; nobody is frozen for it."""
        members = self._members(self._inside(time.monotonic() + _LOOK_SECONDS))
        for process in members.values():
            _signal(process, number)

    def _frozen(self, end: float) -> list[_Process] | None:
        """Return all that lives in the sandbox, once nothing in it moves any more; None if it does.

        Who was about to exit still does, and its children go to pid 1; who is given children or
        reaps one while the list of them is read, hides some.
        """
        before: set[_Key] | None = None
        while time.monotonic() < end:
            found = self._inside(end)
            now = {process.key for process in found}
            if now == before and all(process.state in _STILL for process in found):
                return found
            before = now
            for process in found:
                if process.state not in _STILL:
                    _signal(process, signal.SIGSTOP)
            time.sleep(_PAUSE_SECONDS)
        return None

    def _inside(self, end: float) -> list[_Process]:
        """Return what `_descendants` finds, less bwrap itself, which waits outside for pid 1."""
        found = _descendants(self.root, end)
        outside = {process.parent for process in found if process.pid == self.pid1}
        return [process for process in found if process.pid not in outside]

    def _members(self, everything: list[_Process]) -> dict[int, _Process]:
        """The living processes of the commands; *everything* has parents before children."""
        found: dict[int, _Process] = {}
        for process in everything:
            if process.parent in found or self._is_marked(process):
                found[process.pid] = process
        return found

    def _is_marked(self, process: _Process) -> bool:
        if process.pid in self.markers or process.session in self.markers:
            return True
        wanted = {f"{MARKER}={marker}".encode() for marker in self.markers.values()}
        return not wanted.isdisjoint(_read(f"/proc/{process.pid}/environ").split(b"\0"))


def _descendants(root: int, end: float) -> list[_Process]:
    """Return all that lives below *root*, parents first, or what is found of it until *end*."""
    found: list[_Process] = []
    pending = _children(root, threads=1)
    while pending and time.monotonic() < end:
        pid = pending.pop()
        process = _look(pid)
        if process is None or process.over:
            continue
        found.append(process)
        pending += _children(pid, threads=process.threads)
    return found


def _children(pid: int, *, threads: int) -> list[int]:
    tasks = _tasks(pid) if threads > 1 else [str(pid)]
    return [int(c) for task in tasks for c in _read(f"/proc/{pid}/task/{task}/children").split()]


def _look(pid: int) -> _Process | None:
    stat = _read(f"/proc/{pid}/stat").decode(errors="replace")
    if not stat:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it can hold anything
    state, parent, session, threads, started = (fields[n] for n in (0, 1, 3, 17, 19))
    if int(threads) > 1:
        state = _state_of_threads(pid)
    return _Process(pid, state, int(parent), int(session), int(threads), started)


def _state_of_threads(pid: int) -> str:
    """Return the state of a thread that moves, if one does."""
    stats = [_read(f"/proc/{pid}/task/{task}/stat") for task in _tasks(pid)]
    states = {stat.rpartition(b")")[2].split()[0].decode() for stat in stats if stat}
    moving = states - {*_STILL, *_ENDED}
    return next(iter(moving or states & {*_STILL} or {"Z"}))


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")  # noqa: PTH208, names are what is wanted
    except OSError:
        return []


def _read(path: str) -> bytes:
    """Return what a file of /proc says; nothing for a process that is gone or not ours to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        content = b""
        while chunk := os.read(fd, 65_536):
            content += chunk
        return content
    except OSError:
        return b""
    finally:
        os.close(fd)


def _is_alive(process: _Process) -> bool:
    now = _look(process.pid)
    return now is not None and now.key == process.key and not now.over


def _signal(process: _Process, number: int) -> None:
    """Signal *process*, and never another that got its pid meanwhile."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if _is_alive(process):
            signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)
