"""What keeps sandboxes to their memory and processors: the protocol of all that can, and which of
them this machine has.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from attrs import frozen

__all__ = [
    "LEAST_MEMORY",
    "PROCESSES",
    "Deaths",
    "Group",
    "Limits",
    "Usage",
    "machine_memory",
    "machine_processes",
    "machine_processors",
]

# What a sandbox itself takes is less than half of it.
LEAST_MEMORY = 16 << 20
PROCESSES = 4096  # a sandbox
_JUST_NOW = 5.0  # seconds


@frozen(kw_only=True)
class Usage:
    """What the processes of a sandbox use, in bytes and seconds; threads count as processes."""

    memory: int
    memory_peak: int | None
    memory_limit: int | None
    cpu_seconds: float
    processes: int


class Group(Protocol):
    """The processes of one sandbox, as their limits see them."""

    @property
    def entries(self) -> Sequence[str]:
        """The files to which a process writes `0` to come into it, with all that it starts."""
        ...

    def limit(self, *, memory: int | None, cpus: float | None) -> None:
        """Set what it may use, None for what it may without being asked."""
        ...

    def began(self, worker: int, pid1: int) -> None:
        """Note who is in it: below *worker*, in the sandbox of *pid1*."""
        ...

    def kills(self) -> int:
        """Return how many of its processes were killed so far for want of memory."""
        ...

    def usage(self) -> Usage:
        """Measure; blocking."""
        ...

    def close(self) -> None:
        """Give it back, when nothing is in it any more; blocking."""
        ...


class Limits(Protocol):
    """One way to enforce limits. *memory* is what a sandbox may use without being asked, in bytes;
    *total* what all of them may together; *processes* how many one may have without being asked.
    """

    name: str
    enforces: frozenset[str]
    memory: int
    total: int
    processes: int

    def open(self) -> None:
        """Get ready, and remove what servers left that are dead; raise OSError where it cannot be
        used after all.
        """
        ...

    def group(self, processes: int | None) -> Group:
        """Make the group of one sandbox, with the limits of one that asks for none, but for
        *processes* where those are more.
        """
        ...

    async def watch(self) -> None:
        """Do what has to be done all the time, until cancelled."""
        ...

    def close(self) -> None:
        """Give back all of it."""
        ...


def machine_memory() -> int:
    """Return the memory of this machine in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def machine_processes() -> int:
    """Return how many processes and threads this machine can have."""
    return int(Path("/proc/sys/kernel/pid_max").read_text())


def machine_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


class Deaths:
    """Knows who of a *group* was killed for want of memory."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._known = 0
        self._last = -math.inf

    def count(self) -> int:
        """Return how many there were until now."""
        found = self._group.kills()
        if found > self._known:
            self._known, self._last = found, time.monotonic()
        return found

    @property
    def just_now(self) -> bool:
        """Whether one was noticed just now, by this or an earlier count: with the first process of
        a sandbox all others die, and are told of before.
        """
        self.count()
        return time.monotonic() - self._last < _JUST_NOW
