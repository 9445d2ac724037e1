"""Ranges of user ids for the sandboxes of a root server: no two sandboxes of a machine ever share
one.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket

from attrs import field, frozen

from lunette.server.engines.protocol import NoCapacityError

__all__ = ["IdRange", "take_range"]

# systemd's "Users, Groups, UIDs and GIDs on systemd Systems" leaves these unused by anybody.
_FIRST, _END = 0x7000_0000, 0x7FFE_0000
_COUNT = 65_536
_TRIES = 64


@frozen
class IdRange:
    """*count* ids from *base*, ours for as long as the lock is held."""

    base: int
    count: int
    _lock: socket.socket = field(repr=False, eq=False)

    def release(self) -> None:
        self._lock.close()


def take_range() -> IdRange:
    """Take a free range. The lock is an abstract socket: it is the machine's, and no death leaves
    it behind.
    """
    slots = (_END - _FIRST) // _COUNT
    for _ in range(_TRIES):
        slot = random.SystemRandom().randrange(slots)
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(OSError):
            lock.bind(f"\0lunette/ids/{slot}")
            return IdRange(_FIRST + slot * _COUNT, _COUNT, lock)
        lock.close()
    raise NoCapacityError(f"no free range of user ids among {slots} (tried {_TRIES})")


def is_root() -> bool:
    return os.geteuid() == 0
