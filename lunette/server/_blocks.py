"""Bytes on their way in, written in large blocks: while one is written the next comes."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from lunette.server._digests import Digest
from lunette.server._run import seen
from lunette.server.engines.files import FileWriter

__all__ = ["Blocks"]

_BLOCK = 1 << 20
# What all that come may hold while they wait for the rest of a block. Over that, each is written
# as it comes: a client that is slow, or silent, holds no more than it has just sent.
_MOST_HELD = 128 << 20
_OVERHEAD = 64  # of an object


class Blocks:
    """What *writer* is given, in blocks; *digest*, if there is one, is computed at the same time.

    After an error of one of them, nothing more is written.
    """

    held: ClassVar[int] = 0

    def __init__(self, writer: FileWriter, digest: Digest | None = None) -> None:
        self.written = 0
        self._writer = writer
        self._digest = digest
        self._pending: list[bytes] = []
        self._size = 0
        self._held = 0
        self._writing: asyncio.Task[None] | None = None

    async def add(self, data: bytes) -> None:
        """Take *data*; raise what became of a block before it."""
        self._pending.append(data)
        self._size += len(data)
        self._hold(len(data) + _OVERHEAD)
        if self._size >= _BLOCK or Blocks.held > _MOST_HELD:
            await self._begin()

    async def flush(self) -> None:
        """Return when all is written and seen; raise what became of it."""
        if self._pending:
            await self._begin()
        await self._settled()
        if self._digest is not None:
            await self._digest.settle()

    async def settle(self) -> None:
        """Wait until nothing is being written, and forget what is not."""
        self._take()
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _begin(self) -> None:
        await self._settled()
        pending = self._take()
        block = pending[0] if len(pending) == 1 else b"".join(pending)
        self._writing = asyncio.create_task(self._write(block))
        self._writing.add_done_callback(seen)

    def _hold(self, size: int) -> None:
        self._held += size
        Blocks.held += size

    def _take(self) -> list[bytes]:
        self._hold(-self._held)
        pending, self._pending, self._size = self._pending, [], 0
        return pending

    async def _settled(self) -> None:
        if self._writing is not None:
            await asyncio.wait([self._writing])  # cancelled, it must not cancel the writing
            self._writing.result()

    async def _write(self, block: bytes) -> None:
        if self._digest is not None:
            await self._digest.update(block)
        await self._writer.write(block)
        self.written += len(block)
