"""What is left when all has ended: nothing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from world import ChaosError, descendants, described, reap

__all__ = ["Remains"]

_SECONDS = 30.0
_RUNNING = "SELECT count(*) FROM commands WHERE state NOT IN ('ended', 'given up', 'dropped')"


class Remains:
    """Compares what there is with what there was."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._before = set(self._found())

    def check(self, state: Path, groups: Collection[str]) -> None:
        """Raise what is left, also of the control *groups*, and what is wrong with the database."""
        deadline = time.monotonic() + _SECONDS
        while left := {*self._found(), *_groups_left(groups)} - self._before:
            if time.monotonic() > deadline:
                raise ChaosError("left behind:\n" + "\n".join(sorted(left)))
            time.sleep(0.05)
        _check_database(state)

    def _found(self) -> Iterable[str]:
        reap()
        for pid in descendants(os.getpid()):
            yield f"process {described(pid)}"
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if "lunette" in line or str(self._directory) in line:
                yield f"mount {line}"
        for place in (*self._directory.glob("tmp/*"), *self._directory.glob("state/sandboxes/*")):
            yield f"file {place}"


def _groups_left(names: Collection[str]) -> list[str]:
    groups = Path("/sys/fs/cgroup").glob("*/lunette/*/")
    return [f"cgroup {group}" for group in groups if group.name in names]


def _check_database(state: Path) -> None:
    for path in state.glob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as database:
            (found,) = database.execute("PRAGMA integrity_check").fetchone()
            if found != "ok":
                raise ChaosError(f"{path.name}: {found}")
            alive = database.execute("SELECT count(*) FROM sandboxes WHERE code IS NULL").fetchone()
            running = database.execute(_RUNNING).fetchone()
        if alive[0] or running[0]:
            raise ChaosError(f"{alive[0]} sandboxes and {running[0]} commands are said to be there")
