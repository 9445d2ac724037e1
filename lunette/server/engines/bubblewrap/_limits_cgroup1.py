"""Limits by control groups of version 1, which a root server can make."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lunette.server.engines.bubblewrap import _limits_groups as groups
from lunette.server.engines.bubblewrap._limits import (
    PROCESSES,
    Usage,
    machine_memory,
    machine_processes,
)

__all__ = ["Cgroup1Limits", "allowed_memory", "hierarchies"]

_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids")
_NEEDED = {"memory", "cpu", "cpuacct", "pids"}
_PERIOD = 100_000  # microseconds
_LESS_SHARES = 512  # than the 1024 of the server
_UNLIMITED = 1 << 60
_TOTAL, _ONE = 0.8, 0.5  # of the memory of the machine
_PROCESSES = 0.5  # of the pids of the machine
_CROWD = 16  # sandboxes full of processes leave room for no other
_NANOSECONDS = 1e9


class Cgroup1Limits:
    """See `Limits`. *mounts* are where the groups of each controller can be made."""

    name = "cgroup1"
    enforces = frozenset({"memory", "cpus", "pids", "disk"})

    def __init__(self, mounts: Mapping[str, Path]) -> None:
        self._mounts = mounts
        memory = min(machine_memory(), _limit_of(mounts["memory"]))
        self.memory, self.total = int(memory * _ONE), int(memory * _TOTAL)
        self._processes = int(machine_processes() * _PROCESSES)
        self.processes = min(PROCESSES, self._processes // _CROWD)
        self._claim: groups.Claim | None = None
        self._numbers = itertools.count(1)

    @classmethod
    def found(cls) -> Cgroup1Limits | None:
        """Return them where this process may make such groups."""
        mounts = hierarchies()
        writable = all(os.access(path, os.W_OK) for path in mounts.values())
        return cls(mounts) if mounts.keys() >= _NEEDED and writable else None

    def open(self) -> None:
        # Several controllers may have one directory.
        parents = list(dict.fromkeys(self._mounts[name] for name in _CONTROLLERS))
        groups.sweep(parents)
        self._claim = groups.claim(parents)
        try:
            self._limit_all()
        except BaseException:
            self.close()
            raise

    def _limit_all(self) -> None:
        home = self._homes()
        with contextlib.suppress(OSError):  # always so since Linux 5.11
            groups.put(home["memory"] / "memory.use_hierarchy", 1)
        _limit_memory(home["memory"], self.total)
        groups.put(home["cpu"] / "cpu.shares", _LESS_SHARES)
        groups.put(home["pids"] / "pids.max", self._processes)

    def _homes(self) -> dict[str, Path]:
        assert self._claim is not None
        by_parent = {path.parent.parent: path for path in self._claim.paths}
        return {name: by_parent[self._mounts[name]] for name in _CONTROLLERS}

    def group(self, processes: int | None) -> Cgroup1:
        name = str(next(self._numbers))
        paths = {c: home / name for c, home in self._homes().items()}
        return Cgroup1(paths, self.memory, max(processes or 0, self.processes))

    async def watch(self) -> None: ...

    def close(self) -> None:
        if self._claim is not None:
            self._claim.release()
            self._claim = None


class Cgroup1:
    """See `Group`; *paths* are its directories by their controllers."""

    def __init__(self, paths: Mapping[str, Path], memory: int, processes: int) -> None:
        self._paths = paths
        self._directories = list(dict.fromkeys(paths.values()))
        self._memory = memory
        self._limit = memory
        try:
            for path in self._directories:
                path.mkdir()
            _limit_memory(paths["memory"], memory)
            groups.put(paths["pids"] / "pids.max", processes)
            self._events = os.open(
                paths["memory"] / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC
            )
        except BaseException:
            groups.remove(self._directories)
            raise

    @property
    def entries(self) -> Sequence[str]:
        # A thread that moves itself, by `tasks`, waits for nobody; by `cgroup.procs` it would for
        # 10 ms, until all processors have seen it. Who enters has one thread.
        return [str(path / "tasks") for path in self._directories]

    def limit(self, *, memory: int | None, cpus: float | None) -> None:
        self._limit = memory or self._memory
        _limit_memory(self._paths["memory"], self._limit)
        if cpus is not None:
            groups.put(self._paths["cpu"] / "cpu.cfs_quota_us", max(1000, int(cpus * _PERIOD)))

    def began(self, worker: int, pid1: int) -> None: ...

    def kills(self) -> int:
        with contextlib.suppress(OSError):  # the group was given back, or taken away
            for line in os.pread(self._events, 4096, 0).splitlines():
                if line.startswith(b"oom_kill "):  # since Linux 4.13
                    return int(line.split()[1])
        return 0

    def usage(self) -> Usage:
        memory = self._paths["memory"]
        # What was read from files and not for long goes before anybody is killed.
        spare = groups.value(memory / "memory.stat", "total_inactive_file")
        return Usage(
            memory=max(0, groups.value(memory / "memory.usage_in_bytes") - spare),
            memory_peak=groups.value(memory / "memory.max_usage_in_bytes"),
            memory_limit=self._limit,
            cpu_seconds=groups.value(self._paths["cpuacct"] / "cpuacct.usage") / _NANOSECONDS,
            processes=groups.value(self._paths["pids"] / "pids.current"),
        )

    def close(self) -> None:
        if self._events >= 0:
            os.close(self._events)
            self._events = -1
        groups.remove(self._directories)


def _limit_memory(path: Path, limit: int) -> None:
    """Limit the memory, and that with swap, which may never be the less."""
    both = path / "memory.memsw.limit_in_bytes"
    swaps = both.exists()
    if swaps:
        groups.put(both, -1)
    groups.put(path / "memory.limit_in_bytes", limit)
    if swaps:
        groups.put(both, limit)


def hierarchies() -> dict[str, Path]:
    """Return where the groups of a server belong, by controller: below the group that limits the
    server itself, if one does.
    """
    own = _own_groups()
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, place = before.split()[3:5]
        kind, _, options = after.split()[:3]
        if kind != "cgroup":
            continue
        for name in own.keys() & set(options.split(",")):
            found.setdefault(name, _limiting(Path(place), root, own[name]))
    return found


def allowed_memory() -> int:
    """Return what groups leave to this process."""
    group = hierarchies().get("memory")
    return _UNLIMITED if group is None else _limit_of(group)


def _own_groups() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found |= {name: path for name in controllers.split(",") if name in _CONTROLLERS}
    return found


def _limiting(mount: Path, root: str, own: str) -> Path:
    """Return the nearest group around this process that has a limit; else where all begin."""
    within = own.removeprefix(root).strip("/") if own.startswith(root) else ""
    group = mount / within
    while group != mount:
        if _is_limited(group):
            return group
        group = group.parent
    return mount


def _is_limited(group: Path) -> bool:
    memory = groups.value(group / "memory.limit_in_bytes")
    return (
        0 < memory < _UNLIMITED
        or groups.value(group / "cpu.cfs_quota_us") > 0
        or groups.value(group / "pids.max") > 0
    )


def _limit_of(group: Path) -> int:
    """Return the least memory that this group and those around it may use."""
    return groups.value(group / "memory.stat", "hierarchical_memory_limit") or _UNLIMITED
