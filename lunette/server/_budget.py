"""What several logs may take together."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

__all__ = ["Budget", "Sharer"]

# How many segments a log may have of its share.
_SEGMENTS = 8


class Sharer(Protocol):
    """A log with files."""

    def oldest(self, *, is_head: bool, is_tight: bool) -> float | None:
        """Return when the oldest segment was begun that nobody needs, the first or another one."""
        ...

    def drop_oldest(self, *, is_head: bool) -> None:
        """Drop that segment."""
        ...


class Budget:
    """Counts the bytes of logs against *limit*; *sharers* are those with files."""

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit
        self.size = 0
        self.sharers: dict[Sharer, None] = {}
        self._waiting: set[asyncio.Event] = set()

    @property
    def is_over(self) -> bool:
        return self.size > self.limit

    def add(self, size: int) -> None:
        """Count *size* bytes more, or less."""
        self.size += size
        if size > 0 and self.is_over:
            self.shrink()
        if self._waiting and not self.is_over:
            self.wake()

    def shrink(self) -> None:
        """Make room, as far as somebody can."""

    def wait(self, room: asyncio.Event) -> None:
        """Set *room* as soon as there is some, once."""
        self._waiting.add(room)

    def wake(self) -> None:
        """Let those who wait look again."""
        waiting, self._waiting = self._waiting, set()
        for room in waiting:
            room.set()

    def segment(self, least: int, most: int) -> int:
        """Return the bytes of a new segment: the more logs there are, the fewer."""
        if math.isinf(self.limit):
            return most
        share = int(self.limit) // max(1, len(self.sharers))
        return max(least, min(most, share // _SEGMENTS))
