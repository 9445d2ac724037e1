"""Ranges of user ids for the sandboxes of a root server: no two sandboxes of a machine ever share
one.
"""

from __future__ import annotations

import fcntl
import os
import random
from pathlib import Path

from attrs import field, frozen

from lunette.server.engines.protocol import NoCapacityError

__all__ = ["IMAGE_IDS", "IdRange", "is_root", "take_range"]

# systemd's "Users, Groups, UIDs and GIDs on systemd Systems" leaves these unused by anybody.
_FIRST, _END = 0x7000_0000, 0x7FFE_0000
_COUNT = 65_536
# What the files of unpacked images have on disk: nobody's ids, so that a set-uid program among them
# makes nobody somebody.
IMAGE_IDS = (_END, _COUNT)
_TRIES = 64
_LOCKS = Path("/run/lunette/ids")


@frozen
class IdRange:
    """*count* ids from *base*, ours for as long as the lock is held."""

    base: int
    count: int
    _path: Path = field(repr=False, eq=False)
    _lock: int = field(repr=False, eq=False)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._lock)


def take_range() -> IdRange:
    """Take a free range, by a lock on a file that only root can reach."""
    slots = (_END - _FIRST) // _COUNT
    _LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
    for _ in range(_TRIES):
        slot = random.SystemRandom().randrange(slots)
        path = _LOCKS / str(slot)
        lock = _lock(path)
        if lock is not None:
            return IdRange(_FIRST + slot * _COUNT, _COUNT, path, lock)
    raise NoCapacityError(f"no free range of user ids among {slots} (tried {_TRIES})")


def _lock(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(fd).st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):  # taken, or just given back
        pass
    os.close(fd)
    return None


def is_root() -> bool:
    return os.geteuid() == 0
