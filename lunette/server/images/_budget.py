"""What an image may use up, and the news of how far it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from lunette.server.images._plan import Limits
from lunette.server.images.errors import InvalidImageError, NoSpaceError

__all__ = ["Budget", "Pace"]

_CHECK_BYTES = 32 << 20
_CHECK_ENTRIES = 4096
_REPORT_SECONDS = 0.05


class Budget:
    """Counts entries and bytes against *limits*, and looks at the disk from time to time.

    *directory* is any directory of that disk.
    """

    def __init__(self, limits: Limits, directory: str) -> None:
        self.entries = 0
        self._limits = limits
        self._directory = directory
        self._claimed = 0
        self._unchecked = 0

    def enter(self) -> None:
        """Count one entry of a layer."""
        self.entries += 1
        if self.entries > self._limits.files:
            raise InvalidImageError(
                f"the image has more than {self._limits.files:,} entries: take a smaller one"
            )
        if self.entries % _CHECK_ENTRIES == 0:
            self.check_disk()

    def claim(self, size: int) -> None:
        """Count *size* bytes before they are made: a bomb says how large it is."""
        self._claimed += size
        if self._claimed > self._limits.bytes:
            raise InvalidImageError(
                f"the image unpacks to more than {self._limits.bytes:,} bytes: take a smaller one"
            )

    def written(self, size: int) -> None:
        """Say that *size* bytes went to the disk."""
        self._unchecked += size
        if self._unchecked >= _CHECK_BYTES:
            self.check_disk()

    def check_disk(self) -> None:
        self._unchecked = 0
        found = os.statvfs(self._directory)
        free = found.f_bavail * found.f_frsize
        if free < self._limits.free:
            raise NoSpaceError(
                f"the disk has {free:,} bytes left, and {self._limits.free:,} must stay free;"
                " remove images that are not needed"
            )


class Pace:
    """Passes on at most one number every 50 ms."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self._report = report
        self._next = 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT_SECONDS
            self._report(done)
