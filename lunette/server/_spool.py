"""The older part of a log, in files: its beginning for good, and of the rest the latest."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from lunette.server._budget import Budget, Sharer
from lunette.server._segments import Block, Segment, Stored, Stream, remove, write_blocks

__all__ = ["Spool"]

# As in openapi.yaml.
_HEAD_BYTES = 10 << 20


class Spool:
    """Segments beside *path*, each an eighth of *limit* or less, which threads write and read for
    *log*; *leave_free* is what they leave free of the disk.

    The first segment is kept, of the others the oldest is dropped: there is one gap, behind the
    first, or in its place where *budget* had no room for it.
    """

    def __init__(
        self, path: Path, limit: int, log: Sharer, budget: Budget, *, leave_free: int
    ) -> None:
        self.size = 0
        self._log = log
        self._budget = budget
        self._leave_free = leave_free
        self.lost: dict[Stream, int] = {1: 0, 2: 0}
        self._path = path
        self._segments = 0
        self._segment_bytes = limit // 8
        self._least_bytes = limit // 256
        self._head = self._new_segment()
        self._tail: deque[Segment] = deque()
        # Of segments that were dropped, until a thread has removed them.
        self._doomed: list[Path] = []
        self._writing: Segment | None = None
        self._is_closed = False

    def droppable(self, *, is_head: bool = False) -> Segment | None:
        """Return the oldest segment that can be dropped: the first one, or of the others."""
        segment = self._head if is_head else self._tail[0] if self._tail else None
        if segment is None or segment is self._writing or not segment.blocks:
            return None
        return segment

    def drop_oldest(self, *, is_head: bool = False) -> None:
        """Drop the segment that is `droppable`."""
        if is_head:
            segment, self._head = self._head, self._new_segment()
        else:
            segment = self._tail.popleft()
        for stored in segment.blocks:
            self.lost[1] += stored.out
            self.lost[2] += stored.size - stored.out
        self._doomed.append(segment.path)
        self._resize(-segment.size)

    def find(self, offset: int) -> tuple[Path, Stored] | None:
        """Return where the byte at *offset* is."""
        for segment in (self._head, *self._tail):
            if segment.begin <= offset < segment.end:
                return segment.path, segment.find(offset)
        return None

    def after(self, offset: int) -> int | None:
        """Return where the first segment behind *offset* begins."""
        return next((s.begin for s in self._tail if s.begin > offset), None)

    def stored(self) -> list[tuple[Path, Stored]]:
        """Return where every block is, in order."""
        return [(s.path, stored) for s in (self._head, *self._tail) for stored in s.blocks]

    async def append(self, blocks: Sequence[Block]) -> None:
        """Write what follows; raise OSError where there is no room for it."""
        segment = self._segment_for(blocks[0].begin)
        doomed, self._doomed = self._doomed, []
        self._writing = segment
        try:
            await asyncio.to_thread(_write, doomed, segment, blocks, self._leave_free)
        finally:
            self._writing = None
            if self._is_closed:
                await asyncio.to_thread(remove, [segment.path])
        if self._is_closed:
            return
        before = segment.size
        segment.add(blocks)
        if segment is not self._head and segment not in self._tail:
            self._tail.append(segment)
        self._resize(segment.size - before)

    def sweep(self) -> None:
        """Let a thread remove what was dropped, which `append` does else."""
        doomed, self._doomed = self._doomed, []
        if doomed:
            asyncio.get_running_loop().run_in_executor(None, remove, doomed)

    def close(self) -> list[Path]:
        """Forget everything, and return the files that are to be removed."""
        self._is_closed = True
        paths = [*self._doomed, *(s.path for s in (self._head, *self._tail) if s.blocks)]
        self._head = self._new_segment()
        self._tail.clear()
        self._doomed.clear()
        self._resize(-self.size)
        return paths

    def _resize(self, size: int) -> None:
        self.size += size
        if self.size:
            self._budget.sharers[self._log] = None
        else:
            self._budget.sharers.pop(self._log, None)
        self._budget.add(size)

    def _segment_for(self, offset: int) -> Segment:
        most = self._budget.segment(self._least_bytes, self._segment_bytes)
        head = min(most, _HEAD_BYTES)
        if offset == self._head.end and self._head.size < head and not self._tail:
            return self._head
        if self._tail and self._tail[-1].size < most:
            return self._tail[-1]
        return self._new_segment()

    def _new_segment(self) -> Segment:
        self._segments += 1
        return Segment(self._path.with_suffix(f".{self._segments}"))


def _write(
    doomed: Sequence[Path], segment: Segment, blocks: Sequence[Block], leave_free: int
) -> None:
    remove(doomed)
    if leave_free:
        found = os.statvfs(segment.path.parent)
        if found.f_bavail * found.f_frsize < leave_free:
            raise OSError(errno.ENOSPC, f"less than {leave_free:,} bytes are free")
    write_blocks(segment.path, segment.size, blocks)
