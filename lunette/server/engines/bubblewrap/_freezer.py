"""Control groups of version 2 in which nothing runs, whatever signal comes.

SIGSTOP alone can be undone: timers, files and terminals send SIGCONT too, and do where somebody has
asked for it before.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from lunette.server.engines.bubblewrap import _limits_groups as groups

__all__ = ["Freezer", "Freezers"]

_FREEZE, _PROCESSES, _EVENTS = "cgroup.freeze", "cgroup.procs", "cgroup.events"


class Freezer:
    """The group at *path*, which is made; blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir()

    def hold(self, pids: Iterable[int]) -> None:
        """Freeze these and all that was held before; who has ended is left out."""
        groups.put(self._path / _FREEZE, 1)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                groups.put(self._path / _PROCESSES, pid)

    @property
    def is_frozen(self) -> bool:
        """Whether nothing in it runs any more."""
        return groups.value(self._path / _EVENTS, "frozen") == 1

    def let_go(self) -> None:
        """Let all go on."""
        groups.put(self._path / _FREEZE, 0)

    def close(self) -> None:
        """Remove it, when nothing lives in it any more."""
        groups.remove([self._path])


class Freezers:
    """Those of one server, where it may make them; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claim: groups.Claim | None = None
        self._numbers = itertools.count(1)

    def sweep(self) -> None:
        """Remove what servers left that are dead."""
        own = _group("self")
        if own is not None:
            groups.sweep([own])

    def freezer(self, pid: int) -> Freezer | None:
        """Return one for a sandbox with the process *pid*, below the group that limits it."""
        own, its = _group("self"), _group(str(pid))
        if own is None or its is None:
            return None
        try:
            parent = its if its != own else self._home(own)
            return Freezer(parent / f"paused-{next(self._numbers)}")
        except OSError:
            return None

    def _home(self, parent: Path) -> Path:
        with self._lock:
            if self._claim is None:
                if not os.access(parent / _PROCESSES, os.W_OK):
                    raise PermissionError(f"{parent} is not ours")
                self._claim = groups.claim([parent])
            return self._claim.paths[0]

    def close(self) -> None:
        """Give back what is left."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None


def _group(pid: str) -> Path | None:
    """Return the directory of the group that a process is in; None where there is none."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        if own is not None and after.split()[0] == "cgroup2":
            return Path(before.split()[4], own.strip("/"))
    return None
