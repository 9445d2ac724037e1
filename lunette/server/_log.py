"""What a process wrote, both streams in order: bounded, and followed from any offset.

Offsets count the bytes of both streams together. The newest are in memory, in blocks, of which a
process that says little fills none; older blocks are in files.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path

from attrs import frozen

from lunette.server._budget import Budget
from lunette.server._readers import Reader, Readers
from lunette.server._segments import Block, Stored, Stream, read_block
from lunette.server._spool import Spool

__all__ = ["LOG_LIMIT", "Gap", "Log"]

logger = logging.getLogger(__name__)

# As in openapi.yaml.
LOG_LIMIT = 64 << 20

_MEMORY_BYTES = 1 << 20
_BLOCK_BYTES = 256 << 10
# A reader that takes nothing for so long does not hold the process up, until the log is full.
_PATIENCE_SECONDS = 0.025
# What the log of an ended process may keep in memory.
_SMALL = 64 << 10


@frozen
class Gap:
    """Bytes that were dropped."""

    size: int


class Log:
    """The log of one process, of *limit* bytes at most; its files are in *directory*, count in
    *budget*, and *leave_free* bytes of the disk.
    """

    def __init__(
        self,
        directory: Path,
        limit: int = LOG_LIMIT,
        budget: Budget | None = None,
        *,
        leave_free: int = 0,
    ) -> None:
        self.end = 0
        self.ended = False
        self.readers = Readers(limit // 4)
        self._limit = limit
        self._memory_bytes = min(limit // 8, _MEMORY_BYTES)
        self._block_bytes = min(limit // 32, _BLOCK_BYTES)
        self._budget = budget or Budget()
        path = directory / uuid.uuid4().hex
        self._spool = Spool(path, limit, self, self._budget, leave_free=leave_free)
        self._blocks: deque[Block] = deque()
        self._memory = 0
        self._lost: dict[Stream, int] = {1: 0, 2: 0}
        self._room = asyncio.Event()
        self._is_unbounded = False
        self.is_dropped = False
        self._is_full_disk = False
        self._writing: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """What it takes in memory and on the disk."""
        return self._memory + self._spool.size

    @property
    def memory(self) -> int:
        """What it takes in memory; of one that has ended, what stays there."""
        return 0 if self.ended and self._memory > _SMALL else self._memory

    def oldest(self, *, is_head: bool, is_tight: bool) -> float | None:
        """Return when the oldest segment was begun that nobody needs, the first or another one;
        where it is *is_tight*, little is kept of what was sent.
        """
        segment = self._spool.droppable(is_head=is_head)
        needed = self.readers.needed(self._memory_bytes if is_tight else None)
        if segment is None or (needed is not None and segment.end > needed):
            return None
        return segment.begun

    def drop_oldest(self, *, is_head: bool) -> None:
        """Drop that segment."""
        self._spool.drop_oldest(is_head=is_head)
        self._spool.sweep()

    def write(self, stream: Stream, data: bytes) -> None:
        """Add what the process wrote; wait for `room` before it writes more."""
        if self.is_dropped:
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._append(stream, rest) :]
        self.readers.wake()
        self._begin_to_write()

    async def room(self) -> None:
        """Wait until the process may write on."""
        await self._until(self._has_room)
        await self._be_read()

    def be_unbounded(self) -> None:
        """Take the little that still comes without delay: the process is over."""
        self._is_unbounded = True
        self._room.set()

    def finish(self) -> None:
        """Nothing is written any more; it may be said again, to wake who follows."""
        if not self.ended:
            self.ended = self._is_unbounded = True
            self.readers.expect_last()
            self._room.set()
            self._begin_to_write()
            self._spool.sweep()
        self.readers.wake()

    def drop(self) -> list[Path]:
        """Drop everything, and return the files that are to be removed."""
        self.is_dropped = True
        self._blocks.clear()
        self._memory = 0
        self._room.set()
        self.readers.wake()
        return self._spool.close()

    @contextlib.contextmanager
    def followed_from(self, offset: int, *, is_coming_back: bool = True) -> Generator[Reader]:
        """Keep what is not read for somebody who, if cut, *is_coming_back*."""
        reader = self.readers.enter(offset, is_slow=offset < self.end)
        try:
            yield reader
        finally:
            self.readers.leave(reader, is_coming_back=is_coming_back)
            self._room.set()

    @contextlib.contextmanager
    def awaited(self) -> Generator[None]:
        """Let somebody wait for the end of the process, which who does not read would hold up."""
        self.readers.awaited += 1
        self._room.set()
        try:
            yield
        finally:
            self.readers.awaited -= 1

    def read_until(self, reader: Reader, offset: int) -> None:
        """Note that *reader* has read everything before *offset*."""
        reader.read_until(offset)
        if offset == self.end:
            reader.is_slow = False
        self._room.set()

    async def find(self, offset: int) -> Block | Gap:
        """Return the block that has the byte at *offset*, or the gap that is there."""
        while True:
            found = self._place(offset)
            if not isinstance(found, tuple):
                return found
            try:
                return await asyncio.to_thread(read_block, *found)
            except OSError as error:
                if self._place(offset) == found:
                    raise
                logger.debug("a block was dropped while it was read: %s", error)

    def content(self) -> list[Block | tuple[Path, Stored] | Gap]:
        """Return everything that is there of an ended log, in order."""
        found: list[Block | tuple[Path, Stored] | Gap] = []
        offset = 0
        while offset < self.end:
            place = self._place(offset)
            found.append(place)
            offset = _end_of(place, offset)
        return found

    def lost(self) -> dict[Stream, int]:
        """Return how many bytes of each stream were dropped."""
        return {n: self._lost[n] + self._spool.lost[n] for n in self._lost}

    def _place(self, offset: int) -> Block | tuple[Path, Stored] | Gap:
        if self._blocks and offset >= self._blocks[0].begin:
            return next(b for b in reversed(self._blocks) if b.begin <= offset)
        found = self._spool.find(offset)
        if found is not None:
            return found
        begin = self._spool.after(offset)
        return Gap((self._begin if begin is None else begin) - offset)

    def _append(self, stream: Stream, data: memoryview) -> int:
        """Add the beginning of *data*, and return how much that was."""
        if not self._blocks or self._blocks[-1].room(self._block_bytes) <= 0:
            self._blocks.append(Block(self.end, stream))
            self._memory += self._blocks[-1].cost
        block = self._blocks[-1]
        part = data[: block.room(self._block_bytes)]
        self._memory += block.append(stream, part)
        self.end += len(part)
        return len(part)

    def _has_room(self) -> bool:
        while self.size > self._limit and self.oldest(is_head=False, is_tight=False) is not None:
            self._spool.drop_oldest()
        if self._is_unbounded or self.is_dropped:
            return True
        if self._budget.is_over and self.readers.unread(self._begin) > self._memory_bytes:
            self._budget.wait(self._room)
            return False
        return self.size <= self._limit and self._memory <= 2 * self._memory_bytes

    @property
    def _begin(self) -> int:
        """Where that begins which is in memory."""
        return self._blocks[0].begin if self._blocks else self.end

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true that readers, the disk or time may change."""
        while not condition():
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.readers.patience()):
                    await self._room.wait()

    async def _be_read(self) -> None:
        """Wait for those who read as fast as the process writes, while all is in memory still."""
        while not self._is_unbounded:
            reader = self.readers.fast()
            if reader is None or self.end - reader.offset <= self._memory_bytes // 4:
                return
            offset = reader.offset
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._room.wait()
            reader.is_slow = reader.offset == offset

    def _begin_to_write(self) -> None:
        if self._writing is None and self._memory > (_SMALL if self.ended else self._memory_bytes):
            self._writing = asyncio.create_task(self._write_out())

    async def _write_out(self) -> None:
        """Move the oldest blocks to the disk, some at once."""
        try:
            while blocks := self._oldest():
                try:
                    await self._spool.append(blocks)
                except OSError as error:
                    if not await self._give_way(blocks[-1].end, error):
                        return
                else:
                    self._forget(len(blocks))
        finally:
            self._writing = None

    def _oldest(self) -> list[Block]:
        """Return what is to be moved next; a block that may grow is not."""
        excess = self._memory - (0 if self.ended else self._memory_bytes // 2)
        found: list[Block] = []
        for block in self._blocks:
            if excess <= 0 or (block is self._blocks[-1] and not self.ended):
                break
            if sum(b.cost for b in found) > self._memory_bytes:
                break
            found.append(block)
            excess -= block.cost
        return found

    async def _give_way(self, end: int, error: OSError) -> bool:
        """Lose the oldest where the disk is full, as soon as everyone has read it; say whether
        that is so.
        """
        if not self._is_full_disk:
            self._is_full_disk = True
            logger.error("cannot write the log of a process: %s; its oldest is dropped", error)
        segment = self._spool.droppable()
        oldest = end if segment is None else segment.end
        await self._until(lambda: self.ended or self.readers.have_read(oldest))
        if not self.readers.have_read(oldest):
            return False
        if self._spool.droppable() is not None:
            self._spool.drop_oldest()
            return True
        while self._blocks and self._blocks[0].end <= end:
            for stream in self._lost:
                self._lost[stream] += self._blocks[0].size_of(stream)
            self._forget(1)
        return True

    def _forget(self, count: int) -> None:
        """Take the *count* oldest blocks out of memory."""
        for _ in range(min(count, len(self._blocks))):
            self._memory -= self._blocks.popleft().cost
        self._room.set()


def _end_of(place: Block | tuple[Path, Stored] | Gap, offset: int) -> int:
    if isinstance(place, Gap):
        return offset + place.size
    return place.end if isinstance(place, Block) else place[1].end
