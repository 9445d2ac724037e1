"""Saying no in time: what would only pile up is refused before anything of it is begun."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable

from lunette.server._problems import Problem

__all__ = [
    "FOLLOWERS",
    "SCANS",
    "STARTING_COMMANDS",
    "STARTING_SANDBOXES",
    "WAITING_SANDBOXES",
    "Gate",
    "announced_bytes",
    "body_gate",
    "buffered_bytes",
    "input_gate",
    "scan_gate",
]

# As in openapi.yaml. A server starts about a thousand commands a second and sixty sandboxes, so
# that nobody waits for more than a few seconds.
STARTING_COMMANDS = 1024
STARTING_SANDBOXES = 256
# Those take nothing meanwhile but a little memory.
WAITING_SANDBOXES = 4096
# Each holds some 600 KiB when it does not read.
FOLLOWERS = 1024
# Listings, whose answers are held in memory, and digests, which read whole files: of a sandbox, and
# of all.
SCANS, _ALL_SCANS = 16, 64
_BODY_BYTES = 512 * 1024 * 1024
_INPUT_BYTES = 512 * 1024 * 1024
_RETRY_AFTER = "1"
# Others are read piece by piece, however long they are.
_HELD = (b"application/json", b"application/x-www-form-urlencoded", b"multipart/form-data")
_SMALL = 64 * 1024
_UNKNOWN = 1024 * 1024


class Gate:
    """Lets in as much as *limit* of something at the same time, and at least one."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self.inside = 0

    @contextlib.contextmanager
    def entered(self, amount: int = 1) -> Generator[None]:
        """Be inside, or raise the 429 that says to come back."""
        self.check(amount)
        self.inside += amount
        try:
            yield
        finally:
            self.inside -= amount

    def check(self, amount: int = 1) -> None:
        """Raise the 429 of what would not be let in."""
        if self.inside and self.inside + amount > self._limit:
            detail = f"the server has no room for more than {self._limit} {self._what}"
            raise Problem(429, "too_many_requests", detail, headers={"Retry-After": _RETRY_AFTER})


def body_gate() -> Gate:
    """Return the gate for bodies that are held in memory."""
    return Gate(_BODY_BYTES, "bytes of request bodies at the same time")


def input_gate() -> Gate:
    """Return the gate for what processes were started with and have not read."""
    return Gate(_INPUT_BYTES, "bytes of input that processes have not read")


def scan_gate(limit: int = _ALL_SCANS) -> Gate:
    """Return the gate for listings and digests, of all sandboxes or with a *limit* of one."""
    return Gate(limit, "listings and digests at the same time")


def buffered_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return how much of a request's body will be held in memory; nothing for a small one."""
    for name, value in headers:
        if name == b"content-type" and value.lower().startswith(_HELD):
            return announced_bytes(headers)
    return 0


def announced_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return how long a request's body is, as far as it says; nothing for a small one."""
    length = 0
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"transfer-encoding":
            length = _UNKNOWN
    return length if length > _SMALL else 0
