"""Who follows a log, or may come back to: what they have not read is kept for them."""

from __future__ import annotations

import asyncio
from itertools import islice
from time import monotonic

from attrs import define, field, frozen

__all__ = ["Reader", "Readers"]

# All as in openapi.yaml.
_FIRST_SECONDS, _AWAITED_FIRST_SECONDS = 5.0, 1.0
_CUT_SECONDS, _AWAITED_SECONDS = 30.0, 10.0
# More of those who are expected are taken for one; who came back is looked for among as many.
_MOST_ABSENT = 16


@define(eq=False)
class Reader:
    """One who follows: what is before its *offset* is read."""

    offset: int
    is_slow: bool
    changed: asyncio.Event = field(factory=asyncio.Event, init=False)
    began: int = field(init=False)
    moved: float = field(factory=monotonic, init=False)

    def __attrs_post_init__(self) -> None:
        self.began = self.offset

    def read_until(self, offset: int) -> None:
        """Note that everything before *offset* is read."""
        self.offset = offset
        self.moved = monotonic()


@frozen
class _Absent:
    """One who is expected to follow from *offset* on, *until* then; of an awaited process, until
    *soon*.
    """

    offset: int
    until: float
    soon: float


class Readers:
    """The readers of one log; what was sent may be lost on its way, up to *in_flight* bytes.

    While *awaited*, since somebody waits for the end of the process, who does not read any more
    does not hold it up for ever: it may be the same who waits.
    """

    def __init__(self, in_flight: int) -> None:
        self.awaited = 0
        self._in_flight = in_flight
        self._present: dict[Reader, None] = {}
        self._absent: list[_Absent] = []
        self.expect_first()

    def __bool__(self) -> bool:
        """Say whether there is one, or may soon be."""
        return bool(self._present or self._expected())

    def expect_first(self) -> None:
        """Expect one from now on, whose process has just begun."""
        if not self._present:
            now = monotonic()
            self._absent = [_Absent(0, now + _FIRST_SECONDS, now + _AWAITED_FIRST_SECONDS)]

    def expect_last(self) -> None:
        """Expect one for a while, whose process has ended."""
        self._expect(0)

    def needed(self, in_flight: int | None = None) -> int | None:
        """Return the offset from which on everything is kept for them, None if nothing is; perhaps
        with fewer bytes *in_flight*.
        """
        slowest = self._slowest()
        if slowest is None:
            return None
        return slowest - (self._in_flight if in_flight is None else in_flight)

    def unread(self, offset: int) -> int:
        """Return how many bytes before *offset* are kept for the slowest."""
        slowest = self._slowest()
        return 0 if slowest is None else max(0, offset - slowest)

    def have_read(self, offset: int) -> bool:
        """Say whether all were sent everything before *offset*."""
        slowest = self._slowest()
        return slowest is None or slowest >= offset

    def fast(self) -> Reader | None:
        """Return the last of those who read as fast as the process writes."""
        fast = [reader for reader in self._present if not reader.is_slow]
        return min(fast, key=lambda reader: reader.offset, default=None)

    def patience(self) -> float | None:
        """Return for how many seconds the next is waited for of those who may not come or read."""
        now = monotonic()
        ends = [self._end_of(a) for a in self._expected()]
        if self.awaited:
            ends += [
                r.moved + _AWAITED_SECONDS for r in self._present if not self._is_stuck(r, now)
            ]
        return max(0.0, min(ends) - now) if ends else None

    def wake(self) -> None:
        """Tell everyone that the log has changed."""
        for reader in self._present:
            reader.changed.set()

    def enter(self, offset: int, *, is_slow: bool) -> Reader:
        """Let somebody follow from *offset* on, perhaps one who was expected."""
        expected = [a for a in self._expected() if self._may_be(a.offset, offset)]
        if expected:
            self._absent.remove(min(expected, key=lambda a: a.offset))
        reader = Reader(offset, is_slow)
        self._present[reader] = None
        return reader

    def leave(self, reader: Reader, *, is_coming_back: bool) -> None:
        """Let one go, and expect one who *is_coming_back* for a while."""
        is_back = self._is_back(reader)
        del self._present[reader]
        if is_coming_back and not is_back:
            self._expect(reader.offset)

    def _is_back(self, reader: Reader) -> bool:
        """Say whether one of the latest came after *reader*, and goes on where it was."""
        for other in islice(reversed(self._present), _MOST_ABSENT):
            if other is reader:
                return False
            if self._may_be(reader.offset, other.began):
                return True
        return False

    def _expect(self, offset: int) -> None:
        now = monotonic()
        if len(self._expected()) >= _MOST_ABSENT:
            offset = min(offset, self._absent.pop().offset)
        self._absent.append(_Absent(offset, now + _CUT_SECONDS, now + _AWAITED_SECONDS))

    def _slowest(self) -> int | None:
        now = monotonic()
        offsets = [r.offset for r in self._present if not self._is_stuck(r, now)]
        return min([*offsets, *(a.offset for a in self._expected())], default=None)

    def _is_stuck(self, reader: Reader, now: float) -> bool:
        return self.awaited > 0 and now >= reader.moved + _AWAITED_SECONDS

    def _may_be(self, left: int, came: int) -> bool:
        """Say whether one who was sent everything before *left* would come back to *came*."""
        return left - self._in_flight <= came <= left

    def _expected(self) -> list[_Absent]:
        if self._absent:
            now = monotonic()
            self._absent = [a for a in self._absent if self._end_of(a) > now]
        return self._absent

    def _end_of(self, absent: _Absent) -> float:
        return absent.soon if self.awaited else absent.until
