"""How far a pull has come, told now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from .image import Progress

__all__ = ["Meter"]

_SECONDS_BETWEEN = 0.1


class Meter:
    """Adds up what threads report, and passes it on to *tell*, at most ten times a second."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._told = -_SECONDS_BETWEEN

    def begin(self, stage: Literal["pulling", "unpacking"], total: int) -> None:
        """Begin a *stage* of *total* bytes."""
        with self._lock:
            self._stage: Literal["pulling", "unpacking"] = stage
            self._total = total
            self._done: dict[str, int] = {}
            self._told = -_SECONDS_BETWEEN  # that it begins is always told
            self._say()

    def report(self, part: str, done: int) -> None:
        """Note that *done* bytes of *part* are there; fewer than before if it began anew."""
        with self._lock:
            self._done[part] = done
            self._say()

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._told < _SECONDS_BETWEEN:
            return
        self._told = now
        done = min(sum(self._done.values()), self._total)
        self._tell(Progress(self._stage, done, self._total))
