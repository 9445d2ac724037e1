"""The older part of a log, in files: its beginning for good, and of the rest the latest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from lunette.server._segments import Block, Segment, Stored, Stream, remove, write_blocks

__all__ = ["Spool"]

# As in openapi.yaml.
_HEAD_BYTES = 10 << 20


class Spool:
    """Segments beside *path*, each an eighth of *limit*, which threads write and read.

    The first segment is kept, of the others the oldest is dropped: there is one gap, behind the
    first.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.size = 0
        self.lost: dict[Stream, int] = {1: 0, 2: 0}
        self._path = path
        self._segments = 0
        self._segment_bytes = limit // 8
        self._head_bytes = min(limit // 8, _HEAD_BYTES)
        self._head = self._new_segment()
        self._tail: deque[Segment] = deque()
        # Of segments that were dropped, until a thread has removed them.
        self._doomed: list[Path] = []
        self._is_closed = False

    @property
    def droppable(self) -> int | None:
        """Where the oldest segment ends that can be dropped."""
        return self._tail[0].end if self._tail else None

    def drop_oldest(self) -> None:
        """Drop the oldest segment but the first."""
        segment = self._tail.popleft()
        for stored in segment.blocks:
            self.lost[1] += stored.out
            self.lost[2] += stored.size - stored.out
        self.size -= segment.size
        self._doomed.append(segment.path)

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
        await asyncio.to_thread(_write, doomed, segment, blocks)
        if self._is_closed:
            await asyncio.to_thread(remove, [segment.path])
            return
        before = segment.size
        segment.add(blocks)
        self.size += segment.size - before
        if segment is not self._head and segment not in self._tail:
            self._tail.append(segment)

    def sweep(self) -> None:
        """Let a thread remove what was dropped, which `append` does else."""
        doomed, self._doomed = self._doomed, []
        if doomed:
            asyncio.get_running_loop().run_in_executor(None, remove, doomed)

    def close(self) -> list[Path]:
        """Forget everything, and return the files that are to be removed."""
        self._is_closed = True
        paths = [*self._doomed, *(s.path for s in (self._head, *self._tail) if s.blocks)]
        self._head, self.size = self._new_segment(), 0
        self._tail.clear()
        self._doomed.clear()
        return paths

    def _segment_for(self, offset: int) -> Segment:
        if offset == self._head.end and self._head.size < self._head_bytes and not self._tail:
            return self._head
        if self._tail and self._tail[-1].size < self._segment_bytes:
            return self._tail[-1]
        return self._new_segment()

    def _new_segment(self) -> Segment:
        self._segments += 1
        return Segment(self._path.with_suffix(f".{self._segments}"))


def _write(doomed: Sequence[Path], segment: Segment, blocks: Sequence[Block]) -> None:
    remove(doomed)
    write_blocks(segment.path, segment.size, blocks)
