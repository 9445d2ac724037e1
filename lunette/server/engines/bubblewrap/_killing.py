"""Ending a command with all that it started, from outside the sandbox, where nothing in it can
interfere.

A process belongs to a command if it descends from it, shares its session, or carries its marker in
the environment that it was started with. All are stopped before any is killed: a stopped process
cannot fork, and while the dead would hand their children to pid 1, the stopped keep theirs. What
double-forks, leaves the session *and* clears its environment before the kill begins is a daemon of
the sandbox and lives until the sandbox ends.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from attrs import frozen

from lunette.server.engines.bubblewrap.inside.wire import MARKER

__all__ = ["kill_command"]

_PAUSE_SECONDS = 0.002


@frozen
class _Found:
    pid: int
    parent: int
    session: int
    state: str
    started: str


def kill_command(*, leader: int, root: int, marker: str, deadline: float) -> bool:
    """Kill the command whose first process is *leader*; blocking, so not on the loop.

    *root* is the worker, whose descendants the whole sandbox is. Returns False if something of the
    command still runs after *deadline* seconds.
    """
    end = time.monotonic() + deadline
    stopped: dict[tuple[int, str], _Found] = {}
    while time.monotonic() < end:
        new = [p for p in _members(root, leader, marker) if (p.pid, p.started) not in stopped]
        if not new:
            break
        for process in new:
            _signal(process, signal.SIGSTOP)
            stopped[process.pid, process.started] = process
    for process in stopped.values():
        _signal(process, signal.SIGKILL)
    while time.monotonic() < end:
        left = [p for p in stopped.values() if _alive(p)] + _members(root, leader, marker)
        if not left:
            return True
        for process in left:
            _signal(process, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)
    return False


def _members(root: int, leader: int, marker: str) -> list[_Found]:
    """The living processes of the command."""
    everything = _descendants(root)
    wanted = f"{MARKER}={marker}".encode()
    members = {
        p.pid
        for p in everything.values()
        if p.pid == leader or p.session == leader or wanted in _environment(p.pid)
    }
    grown = True
    while grown:
        children = {p.pid for p in everything.values() if p.parent in members} - members
        members |= children
        grown = bool(children)
    return [p for p in everything.values() if p.pid in members and p.state not in "ZX"]


def _descendants(root: int) -> dict[int, _Found]:
    found: dict[int, _Found] = {}
    pending = _children(root)
    while pending:
        pid = pending.pop()
        process = _look(pid)
        if process is None or pid in found:
            continue
        found[pid] = process
        pending += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def _look(pid: int) -> _Found | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Found(pid, int(fields[1]), int(fields[3]), fields[0], fields[19])


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _alive(process: _Found) -> bool:
    now = _look(process.pid)
    return now is not None and now.started == process.started and now.state not in "ZX"


def _signal(process: _Found, number: int) -> None:
    """Signal *process*, and never another that got its pid meanwhile."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        now = _look(process.pid)
        if now is not None and now.started == process.started:
            signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)
