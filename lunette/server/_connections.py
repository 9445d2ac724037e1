"""How many connections there are at a time, and how long each is waited for."""

from __future__ import annotations

import socket
from typing import Protocol

from attrs import field, frozen

__all__ = ["Bounds", "Connection", "Connections", "keep_alive"]

# What a server gives its connections of the descriptors that it may have, at most.
_SHARE = 2
_MOST = 8192
_UNKNOWN = 1024
# Of which so many are left for those who have not asked yet.
_LEFT = 16

_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


def _most() -> int:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return _UNKNOWN
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft < 0 else max(_LEFT, min(_MOST, soft // _SHARE))


@frozen(kw_only=True)
class Bounds:
    """What a client may take: bytes of a *head*, of its first *line*, the *fields* in it; seconds
    from its first byte to its last (*head_seconds*), without a byte of a body (*body_seconds*), and
    without a request (*idle_seconds*); *connections* at a time.

    They are looked after every *tick* seconds.
    """

    head: int = 64 * 1024
    line: int = 32 * 1024
    fields: int = 128
    head_seconds: float = 30.0
    body_seconds: float = 600.0
    idle_seconds: float = 75.0
    connections: int = field(factory=_most)
    tick: float = 1.0

    @property
    def requests(self) -> int:
        """How many connections may have a request that runs."""
        return self.connections - self.connections // _LEFT


class Connection(Protocol):
    """A connection that can be cut."""

    def cut(self) -> None:
        """Cut it at once."""
        ...


class Connections:
    """Those that have no request wait, the longest first: who only holds one has it until another
    comes for whom there is no room.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._requests = bounds.requests
        self._waiting: dict[Connection, None] = {}

    def wait(self, connection: Connection) -> None:
        """Note that a connection has no request."""
        self._waiting[connection] = None

    def leave(self, connection: Connection) -> None:
        """Note that a connection has one, or is gone."""
        self._waiting.pop(connection, None)

    def make_room(self, count: int) -> None:
        """Cut one that waits, where there are more than *count* allows."""
        if count > self.bounds.connections and self._waiting:
            longest = next(iter(self._waiting))
            self.leave(longest)
            longest.cut()

    def are_busy(self, count: int) -> bool:
        """Say whether so many of the *count* connections have a request that no more can."""
        return count > self._requests and count - len(self._waiting) > self._requests


def keep_alive(listener: socket.socket) -> None:
    """Let the system find out about clients that are gone without a word."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # Who is accepted inherits them.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # on macOS they have other names
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
