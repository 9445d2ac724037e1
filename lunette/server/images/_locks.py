"""Locks between processes: on files that may be removed and made anew while one waits."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import field, frozen

__all__ = ["Lock", "wait_for_lock"]

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK_SECONDS = 0.05


@frozen
class Lock:
    """A lock that is held until `close`, or until the last process that has *fd* is dead."""

    path: Path
    fd: int = field(repr=False)

    @classmethod
    def take(cls, path: Path, *, shared: bool = False) -> Lock | None:
        """Take the lock at *path*, which is made if it is missing; None if somebody has it."""
        while True:
            fd = os.open(path, _FLAGS, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
                if _is_there(path, fd):
                    return cls(path, fd)
            except BlockingIOError:
                os.close(fd)
                return None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # it was renamed or removed before we had it

    def close(self) -> None:
        """Give the lock up."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def wait_for_lock(
    path: Path, *, shared: bool = False, pause: Callable[[float], object] = time.sleep
) -> Lock:
    """Take a lock, and look for it again after each *pause*, which may raise to give up.

    Waiting in flock() would hear neither of a server that is gone nor of a pull that has failed.
    """
    while (lock := Lock.take(path, shared=shared)) is None:
        pause(_LOOK_SECONDS)
    return lock


def _is_there(path: Path, fd: int) -> bool:
    try:
        found = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(fd))
