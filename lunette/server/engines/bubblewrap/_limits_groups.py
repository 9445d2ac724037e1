"""Directories of control groups that outlive no server: each is locked by the one that made it.

Below the group that limits the server itself, if one does, there is `lunette/SERVER`, with what all
sandboxes of a server may use together, and below that a group for each of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen

__all__ = ["Claim", "claim", "put", "remove", "sweep", "value"]

_HOME = "lunette"
_TRIES = 64
_REMOVE_SECONDS, _PAUSE_SECONDS = 1.0, 0.002


@frozen
class Claim:
    """The groups of one server, in each of the hierarchies; *lock* holds them."""

    paths: Sequence[Path]
    lock: int

    def release(self) -> None:
        """Remove them."""
        for path in reversed(self.paths):
            _remove_all(path)
            with contextlib.suppress(OSError):  # others have theirs in it
                path.parent.rmdir()
        os.close(self.lock)


def claim(parents: Sequence[Path]) -> Claim:
    """Make a group for this server in each of *parents*; raise OSError if one cannot be made."""
    first, lock = _claim_one(parents[0])  # for that is what a sweep looks at
    made = [first]
    try:
        for parent in parents[1:]:
            path = parent / _HOME / first.name
            _make(path)
            made.append(path)
    except BaseException:
        Claim(made, lock).release()
        raise
    return Claim(made, lock)


def _claim_one(parent: Path) -> tuple[Path, int]:
    for _ in range(_TRIES):
        path = parent / _HOME / uuid.uuid4().hex[:12]
        _make(path)
        lock = _lock(path)
        if lock is not None:  # else a sweep was faster
            return path, lock
    raise BlockingIOError(f"no group below {parent} can be kept")


def _make(path: Path) -> None:
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):  # the last one took the parent away
            path.parent.mkdir(exist_ok=True)
            path.mkdir()
            return
    raise FileNotFoundError(f"{path.parent} does not stay")


def sweep(parents: Sequence[Path]) -> None:
    """Remove the groups of servers that are dead."""
    first = parents[0] / _HOME
    names = {path.name for parent in parents for path in _directories(parent / _HOME)}
    for name in names:
        if not (first / name).exists():  # half removed
            _remove_named(name, parents[1:])
        elif (lock := _lock(first / name)) is not None:
            _remove_named(name, parents)
            os.close(lock)


def _remove_named(name: str, parents: Sequence[Path]) -> None:
    for parent in reversed(parents):
        _remove_all(parent / _HOME / name)


def _remove_all(path: Path) -> None:
    """Remove a server's group with those in it; what is still in use is left to a later sweep."""
    for inner in _directories(path):
        remove([*_directories(inner), inner])
    with contextlib.suppress(OSError):
        path.rmdir()


def remove(paths: Iterable[Path]) -> None:
    """Remove groups as soon as the last process, which may be dying, is out of them; blocking."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    for path in paths:
        while True:
            try:
                path.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(_PAUSE_SECONDS)
                    continue
            break


def _directories(path: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [entry for entry in path.iterdir() if entry.is_dir()]
    return []


def _lock(path: Path) -> int | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(fd).st_ino:
            return fd
    except OSError:  # somebody's, or just removed
        pass
    os.close(fd)
    return None


def put(path: Path, value: object) -> None:
    """Write to a file of a group, which takes it at once or not at all."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def value(path: Path, key: str | None = None) -> int:
    """Return the number in a file of a group, or that behind *key*; 0 if it is not there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        name, _, number = line.rpartition(" ")
        if name == (key or "") and number.isdigit():
            return int(number)
    return 0
