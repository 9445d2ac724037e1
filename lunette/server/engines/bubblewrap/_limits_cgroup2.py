"""Limits by control groups of version 2, in a subtree that this process may write to.

Experimental: written after cgroups(7) and the kernel's cgroup-v2.rst, and only its parts are
tested, since none of our machines has it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from lunette.server.engines.bubblewrap import _limits_groups as groups
from lunette.server.engines.bubblewrap._limits import (
    PROCESSES,
    Usage,
    machine_memory,
    machine_processes,
)

__all__ = ["Cgroup2", "Cgroup2Limits", "allowed_memory", "subtree"]

_CONTROLLERS = ("memory", "cpu", "pids")
_PERIOD = 100_000
_LESS_WEIGHT = 50  # than the 100 of the server
_UNLIMITED = 1 << 60
_TOTAL, _ONE = 0.8, 0.5
_PROCESSES = 0.5
_CROWD = 16  # sandboxes full of processes leave room for no other
_MICROSECONDS = 1e6


class Cgroup2Limits:
    """See `Limits`. *parent* is a group whose controllers are given to those below."""

    name = "cgroup2"
    enforces = frozenset({"memory", "cpus", "pids", "disk"})

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        memory = min(machine_memory(), _limit_of(parent))
        self.memory, self.total = int(memory * _ONE), int(memory * _TOTAL)
        self._processes = int(machine_processes() * _PROCESSES)
        self.processes = min(PROCESSES, self._processes // _CROWD)
        self._claim: groups.Claim | None = None
        self._numbers = itertools.count(1)

    @classmethod
    def found(cls) -> Cgroup2Limits | None:
        """Return them where this process may make such groups."""
        parent = subtree()
        return None if parent is None else cls(parent)

    def open(self) -> None:
        groups.sweep([self._parent])
        self._claim = groups.claim([self._parent])
        home = self._claim.paths[0]
        try:
            for path in (home.parent, home):
                for name in _CONTROLLERS:
                    groups.put(path / "cgroup.subtree_control", f"+{name}")
            _limit_memory(home, self.total)
            groups.put(home / "cpu.weight", _LESS_WEIGHT)
            groups.put(home / "pids.max", self._processes)
        except BaseException:
            self.close()
            raise

    def group(self, processes: int | None) -> Cgroup2:
        assert self._claim is not None
        path = self._claim.paths[0] / str(next(self._numbers))
        return Cgroup2(path, self.memory, max(processes or 0, self.processes))

    async def watch(self) -> None: ...

    def close(self) -> None:
        if self._claim is not None:
            self._claim.release()
            self._claim = None


class Cgroup2:
    """See `Group`; *path* is its directory."""

    def __init__(self, path: Path, memory: int, processes: int) -> None:
        self._path = path
        self._memory = memory
        self._limit = memory
        path.mkdir()
        try:
            _limit_memory(path, memory)
            groups.put(path / "pids.max", processes)
        except BaseException:
            groups.remove([path])
            raise

    @property
    def entries(self) -> Sequence[str]:
        return [str(self._path / "cgroup.procs")]

    def limit(self, *, memory: int | None, cpus: float | None) -> None:
        self._limit = memory or self._memory
        _limit_memory(self._path, self._limit)
        if cpus is not None:
            groups.put(self._path / "cpu.max", f"{max(1000, int(cpus * _PERIOD))} {_PERIOD}")

    def began(self, worker: int, pid1: int) -> None: ...

    def kills(self) -> int:
        return groups.value(self._path / "memory.events", "oom_kill")

    def usage(self) -> Usage:
        spare = groups.value(self._path / "memory.stat", "inactive_file")
        return Usage(
            memory=max(0, groups.value(self._path / "memory.current") - spare),
            memory_peak=groups.value(self._path / "memory.peak") or None,  # since Linux 5.19
            memory_limit=self._limit,
            cpu_seconds=groups.value(self._path / "cpu.stat", "usage_usec") / _MICROSECONDS,
            processes=groups.value(self._path / "pids.current"),
        )

    def close(self) -> None:
        groups.remove([self._path])


def _limit_memory(path: Path, limit: int) -> None:
    groups.put(path / "memory.max", limit)
    with contextlib.suppress(FileNotFoundError):  # a kernel that does not count what is swapped
        groups.put(path / "memory.swap.max", 0)


def subtree(proc: Path = Path("/proc/self")) -> Path | None:
    """Return the nearest group around this process in which groups can be made that limit; none
    outside of one that limits this process.
    """
    mount = _mount(proc)
    own = _own_group(proc)
    if mount is None or own is None:
        return None
    for group in (mount / own, *(mount / own).parents):
        if _gives(group) and os.access(group, os.W_OK):
            return group
        if group == mount or _is_limited(group):
            break
    return None


def allowed_memory(proc: Path = Path("/proc/self")) -> int:
    """Return what groups leave to this process."""
    mount, own = _mount(proc), _own_group(proc)
    return _UNLIMITED if mount is None or own is None else _limit_of(mount / own)


def _limit_of(group: Path) -> int:
    limits = (groups.value(one / "memory.max") for one in (group, *group.parents))
    return min(limit or _UNLIMITED for limit in limits)


def _is_limited(group: Path) -> bool:
    if groups.value(group / "memory.max"):
        return True
    with contextlib.suppress(OSError):
        return (group / "cpu.max").read_text()[:1].isdigit()
    return False


def _gives(group: Path) -> bool:
    try:
        given = (group / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False
    # To move a process takes the right to write to what is around both groups.
    return {*_CONTROLLERS} <= {*given} and os.access(group / "cgroup.procs", os.W_OK)


def _mount(proc: Path) -> Path | None:
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    return None


def _own_group(proc: Path) -> str | None:
    for line in (proc / "cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::").strip("/")
    return None
