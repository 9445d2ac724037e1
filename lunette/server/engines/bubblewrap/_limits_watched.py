"""Limits where there are no control groups: somebody looks at the memory, and kills who has most.

It is soft: what grows faster than it is looked at has more for a moment. The number of processes is
kept by setrlimit(2); processors by nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from lunette.server.engines.bubblewrap import _limits_cgroup1, _limits_cgroup2, _stats
from lunette.server.engines.bubblewrap._hunting import Hunting
from lunette.server.engines.bubblewrap._limits import PROCESSES, Usage, machine_memory
from lunette.server.engines.bubblewrap._proc import Key, Proc, Process

__all__ = ["Watched", "WatchedLimits"]

logger = logging.getLogger(__name__)

_TOTAL, _ONE = 0.8, 0.5
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_REST = 5  # pauses for every moment of looking
# At one sandbox: what forks all the time could make it long, and nobody else be looked at. One that
# takes longer gets more, for it can be the machine that is slow; but not for ever.
_LOOK_SECONDS, _LONGEST_LOOK = 0.2, 1.0
_MOST_INCOMPLETE = 8  # in a row
_MEASURE_SECONDS = 5.0
_ESCAPED = re.compile(rb"\\([0-7]{3})")


class WatchedLimits:
    """See `Limits`; *hunting* is where it is looked."""

    name = "rlimits"
    enforces = frozenset({"memory", "pids", "disk"})

    def __init__(self, hunting: Hunting) -> None:
        self._hunting = hunting
        memory = min(machine_memory(), _memory_of_groups())
        self.memory, self.total = int(memory * _ONE), int(memory * _TOTAL)
        self.processes = PROCESSES  # setrlimit(2)
        self._groups: set[Watched] = set()

    def open(self) -> None: ...

    def group(self, processes: int | None) -> Watched:
        made = Watched(self._hunting, self.memory, self._groups)
        self._groups.add(made)
        return made

    async def watch(self) -> None:
        while True:
            begun = time.monotonic()
            try:
                await self._look()
            except Exception:  # whatever it is, memory is watched for ever
                logger.exception("memory could not be measured")
            pause = (time.monotonic() - begun) * _REST
            await asyncio.sleep(min(max(_SHORTEST_PAUSE, pause), _LONGEST_PAUSE))

    async def _look(self) -> None:
        for group in list(self._groups):
            await self._hunting.run(group.look)
        left = list(self._groups)  # others are closed in threads, also meanwhile
        if sum(group.memory for group in left) > self.total:
            largest = max(left, key=lambda group: group.memory)
            await self._hunting.run(largest.kill_largest)

    def close(self) -> None: ...


class Watched:
    """See `Group`; it leaves *groups* when it is closed."""

    def __init__(self, hunting: Hunting, memory: int, groups: set[Watched]) -> None:
        self._hunting = hunting
        self._default = self._limit = memory
        self._groups = groups
        self._worker = self._pid1 = 0
        self._kills = 0
        self._killed: set[Key] = set()
        self._incomplete = 0  # looks in a row
        self._peak = 0
        self._first: Process | None = None
        self._largest: Process | None = None
        self._files = 0
        self.memory = 0

    @property
    def entries(self) -> Sequence[str]:
        return ()

    def limit(self, *, memory: int | None, cpus: float | None) -> None:
        self._limit = memory or self._default

    def began(self, worker: int, pid1: int) -> None:
        self._worker, self._pid1 = worker, pid1

    def look(self) -> None:
        """Measure, and kill who has most where that is too much; blocking."""
        if not self._pid1:
            return
        found = self._measure(min(_LOOK_SECONDS * 2**self._incomplete, _LONGEST_LOOK))
        self._incomplete = 0 if found.complete else self._incomplete + 1
        if self._incomplete >= _MOST_INCOMPLETE:
            logger.warning("the memory of a sandbox takes too long to measure, so it is ended")
            self._kill(self._first)
        elif self._files > self._limit:  # which no other death would make less
            self._kill(self._first)
        elif self.memory > self._limit:
            self.kill_largest()

    def kill_largest(self) -> None:
        """Kill the process that has the most memory, but not the first of all."""
        self._kill(self._largest)

    def _kill(self, process: Process | None) -> None:
        if process is not None:
            if process.key not in self._killed:  # it can take its time to die
                self._killed.add(process.key)
                self._kills += 1  # before who waits for it can ask
            self._proc(_LOOK_SECONDS).signal(process, signal.SIGKILL)

    def kills(self) -> int:
        return self._kills

    def usage(self) -> Usage:
        found = self._measure(_MEASURE_SECONDS)
        return Usage(
            memory=self.memory,
            memory_peak=self._peak,
            memory_limit=self._limit,
            cpu_seconds=found.cpu_seconds,
            processes=found.threads,
        )

    def _measure(self, seconds: float) -> _stats.Usage:
        proc = self._proc(seconds)
        found = _stats.usage(proc, root=self._worker, pid1=self._pid1)
        self._killed &= {process.key for process in found.memory}
        killable = {p: size for p, size in found.memory.items() if p.pid != self._pid1}
        self._largest = max(killable, key=killable.__getitem__, default=None)
        self._first = self._first or proc.look(self._pid1)  # always: time or not
        self._files = _in_directories(self._pid1)
        self.memory = sum(found.memory.values()) + self._files
        self._peak = max(self._peak, self.memory)
        return found

    def _proc(self, seconds: float) -> Proc:
        return Proc(time.monotonic() + seconds, self._hunting.reserve)

    def close(self) -> None:
        self._worker = self._pid1 = 0
        self._groups.discard(self)


def _in_directories(pid1: int) -> int:
    """Return what files in memory have, that are in no process."""
    used = 0
    with contextlib.suppress(OSError):  # the sandbox is over
        machines = _in_memory("self")
        for device, place in _in_memory(pid1).items():
            path = b"/proc/%d/root%b" % (pid1, place)
            # Not the machine's, and not below another mount.
            if device not in machines and os.stat(path).st_dev == device:  # noqa: PTH116
                found = os.statvfs(path)
                used += (found.f_blocks - found.f_bfree) * found.f_frsize
    return used


def _in_memory(pid: int | str) -> dict[int, bytes]:
    """Return where *pid* sees file systems in memory, by their devices; a sandbox can move what
    they are in.
    """
    found: dict[int, bytes] = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_bytes().split(b"\n"):
        mount, _, kind = line.partition(b" - ")
        if kind.startswith(b"tmpfs "):
            device, _, path = mount.split(b" ")[2:5]
            number = os.makedev(*map(int, device.split(b":")))
            found[number] = _ESCAPED.sub(lambda code: bytes([int(code[1], 8)]), path)
    return found


def _memory_of_groups() -> int:
    """Return the memory that control groups, made by others, leave to this process."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # a /proc that is none we know
        return min(_limits_cgroup1.allowed_memory(), _limits_cgroup2.allowed_memory())
    return machine_memory()
