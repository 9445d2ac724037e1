"""The blocks of a log, and the files that older ones are in."""

from __future__ import annotations

import contextlib
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Literal

from attrs import define, field, frozen

__all__ = ["Block", "Segment", "Stored", "Stream", "read_block", "remove", "write_blocks"]

Stream = Literal[1, 2]
_OTHER: dict[Stream, Stream] = {1: 2, 2: 1}

# What a block takes beside its bytes, and what a run does.
_BLOCK_OVERHEAD = 512
_RUN_OVERHEAD = 4
_MOST_RUNS = 8192


@define(eq=False)
class Block:
    """Adjacent bytes of a log, in runs of one stream each: the first of stream *first*, the next of
    the other one, and so on; *ends* says where each run ends.

    So a million writes of a byte each take little more than a megabyte.
    """

    begin: int
    first: Stream
    data: bytearray | bytes = field(factory=bytearray)
    ends: array[int] = field(factory=lambda: array("I"))

    @property
    def end(self) -> int:
        return self.begin + len(self.data)

    @property
    def cost(self) -> int:
        return len(self.data) + _RUN_OVERHEAD * len(self.ends) + _BLOCK_OVERHEAD

    def room(self, limit: int) -> int:
        """Return how many bytes may be added to a block of *limit* bytes."""
        return limit - len(self.data) if len(self.ends) < _MOST_RUNS else 0

    def append(self, stream: Stream, data: bytes | memoryview) -> int:
        """Add what was written to *stream*; return what it costs."""
        self.data += data
        if self.ends and self._stream(len(self.ends) - 1) == stream:
            self.ends[-1] = len(self.data)
            return len(data)
        self.ends.append(len(self.data))
        return len(data) + _RUN_OVERHEAD

    def runs(self, offset: int) -> Iterator[tuple[Stream, int, int]]:
        """Yield what is there from *offset* of the log on: a stream, and where in *data*."""
        start = offset - self.begin
        for index in range(bisect_right(self.ends, start), len(self.ends)):
            yield self._stream(index), start, self.ends[index]
            start = self.ends[index]

    def size_of(self, stream: Stream) -> int:
        """Return the bytes of *stream*."""
        return sum(stop - start for found, start, stop in self.runs(self.begin) if found == stream)

    def _stream(self, index: int) -> Stream:
        return self.first if index % 2 == 0 else _OTHER[self.first]


@frozen
class Stored:
    """Where in its file a block is; *out* are the bytes of its standard output."""

    begin: int
    size: int
    first: Stream
    runs: int
    position: int
    out: int

    @property
    def end(self) -> int:
        return self.begin + self.size


@define(eq=False)
class Segment:
    """A file of adjacent blocks."""

    path: Path
    size: int = 0
    blocks: list[Stored] = field(factory=list[Stored])
    begun: float = field(factory=monotonic)

    @property
    def begin(self) -> int:
        return self.blocks[0].begin if self.blocks else 0

    @property
    def end(self) -> int:
        return self.blocks[-1].end if self.blocks else 0

    def add(self, blocks: Sequence[Block]) -> None:
        """Note that *blocks* were written at the end of the file."""
        for block in blocks:
            out = block.size_of(1)
            where = (block.begin, len(block.data), block.first, len(block.ends), self.size)
            self.blocks.append(Stored(*where, out))
            self.size += len(block.data) + len(block.ends) * block.ends.itemsize

    def find(self, offset: int) -> Stored:
        """Return the block with the byte at *offset*."""
        return self.blocks[bisect_right(self.blocks, offset, key=lambda b: b.begin) - 1]


def write_blocks(path: Path, position: int, blocks: Sequence[Block]) -> None:
    """Write *blocks* to a file from *position* on; blocking. A write that fails leaves nothing."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = position
    try:
        for block in blocks:
            for part in (block.data, block.ends):
                end += _write_all(fd, end, memoryview(part).cast("B"))
    except OSError:
        if position == 0:
            remove([path])
        with contextlib.suppress(OSError):
            os.ftruncate(fd, position)
        raise
    finally:
        os.close(fd)


def _write_all(fd: int, position: int, data: memoryview) -> int:
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], position + written)
    return written


def read_block(path: Path, stored: Stored) -> Block:
    """Read a block; blocking."""
    ends = array("I")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(fd, stored.size, stored.position)
        ends.frombytes(os.pread(fd, stored.runs * ends.itemsize, stored.position + stored.size))
    finally:
        os.close(fd)
    if len(data) < stored.size or len(ends) < stored.runs:
        raise OSError(f"{path} was cut")
    return Block(stored.begin, stored.first, data, ends)


def remove(paths: Sequence[Path]) -> None:
    """Remove files, as far as they are there; blocking."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
