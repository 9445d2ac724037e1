"""What a request sends, read while it is sent."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Protocol

__all__ = ["Body", "Readable"]


class Readable(Protocol):
    """What a body is read from: a binary file, or as much of one."""

    def seek(self, offset: int, /) -> object: ...

    def read(self, limit: int, /) -> bytes: ...


class Body:
    """The *size* bytes of *file* that begin at *start*.

    *seen* is told each chunk that is read and where in *file* it begins, perhaps in a worker
    thread; *told* is told where the last one ends that was sent, in the world of the request.
    """

    _told: Callable[[int], object] | None = None

    def __init__(
        self,
        file: Readable,
        size: int,
        *,
        start: int = 0,
        name: str | None = None,
        seen: Callable[[int, bytes], object] | None = None,
        told: Callable[[int], object] | None = None,
    ) -> None:
        self._file = file
        self._begin = self._at = start
        self._end = start + size
        self._name = name
        self._seen = seen
        self._told = told
        # A thread may still read for a request that was given up.
        self._reading = threading.Lock()

    @property
    def size(self) -> int:
        """The bytes that are to be sent."""
        return self._end - self._begin

    def rewind(self) -> None:
        """Begin again, for another attempt."""
        with self._reading:
            self._at = self._begin

    def skip(self, size: int) -> None:
        """Leave out the first *size* bytes, which have arrived, and begin behind them."""
        self._begin += size
        self.rewind()

    def read(self, limit: int) -> bytes:
        """Read the next chunk; nothing when the declared size is reached."""
        with self._reading:
            if self._at == self._begin:
                self._file.seek(self._begin)
            chunk = self._file.read(min(limit, self._end - self._at))
            if not chunk and self._at < self._end:
                raise OSError(errno.ESTALE, "it changed while it was read", self._name)
            if self._seen is not None:
                self._seen(self._at, chunk)
            self._at += len(chunk)
        return chunk

    def tell_sent(self) -> None:
        """Say to whom it may concern how far the request is."""
        if self._told is not None:
            self._told(self._at)
