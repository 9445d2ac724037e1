"""Limits where there are no control groups: somebody looks at the memory, and kills who has most.

It is soft: what grows faster than it is looked at has more for a moment. The number of processes is
kept by setrlimit(2); processors by nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence

from lunette.server.engines.bubblewrap import _stats
from lunette.server.engines.bubblewrap._hunting import Hunting
from lunette.server.engines.bubblewrap._limits import Usage, machine_memory
from lunette.server.engines.bubblewrap._proc import Proc, Process

__all__ = ["Watched", "WatchedLimits"]

logger = logging.getLogger(__name__)

_TOTAL, _ONE = 0.8, 0.5
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_REST = 5  # pauses for every moment of looking
# At one sandbox: what forks all the time could make it long, and nobody else be looked at.
_LOOK_SECONDS = 0.2
_MEASURE_SECONDS = 5.0
_IN_MEMORY = ("tmp", "dev/shm")


class WatchedLimits:
    """See `Limits`; *hunting* is where it is looked."""

    name = "rlimits"
    enforces = frozenset({"memory", "pids", "disk"})

    def __init__(self, hunting: Hunting) -> None:
        self._hunting = hunting
        memory = machine_memory()
        self.memory, self.total = int(memory * _ONE), int(memory * _TOTAL)
        self._groups: set[Watched] = set()

    def open(self) -> None: ...

    def group(self) -> Watched:
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
        if sum(group.memory for group in self._groups) > self.total:
            largest = max(self._groups, key=lambda group: group.memory)
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
        self._measure(_LOOK_SECONDS)
        if self._files > self._limit:  # which no other death would make less
            self._kill(self._first)
        elif self.memory > self._limit:
            self.kill_largest()

    def kill_largest(self) -> None:
        """Kill the process that has the most memory, but not the first of all."""
        self._kill(self._largest)

    def _kill(self, process: Process | None) -> None:
        if process is not None:
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
        killable = {p: size for p, size in found.memory.items() if p.pid != self._pid1}
        self._largest = max(killable, key=killable.__getitem__, default=None)
        self._first = next((p for p in found.memory if p.pid == self._pid1), None)
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
    for path in _IN_MEMORY:
        with contextlib.suppress(OSError):
            found = os.statvfs(f"/proc/{pid1}/root/{path}")
            used += (found.f_blocks - found.f_bfree) * found.f_frsize
    return used
