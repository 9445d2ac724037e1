"""An archive: a directory that goes out piece by piece, each as often as it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from attrs import frozen

from lunette.server._digests import Digest
from lunette.server._problems import Problem
from lunette.server._run import seen
from lunette.server._transfer import Errors, Transfer
from lunette.server.engines.files import Bytes

__all__ = ["PIECE", "Archive", "Piece"]

# As in openapi.yaml.
PIECE = 4 << 20


@frozen
class Piece:
    """What begins at *offset*; only the last has a *digest*, of all."""

    offset: int
    data: bytes
    digest: str | None = None

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class Archive(Transfer):
    """One piece is kept until the next is asked for, which is fetched meanwhile."""

    what = "archive"

    def __init__(
        self, request: bytes, errors: Errors, begin: Callable[[], Awaitable[Bytes]]
    ) -> None:
        self._begin = begin
        self._pieces: _Pieces | None = None
        self._piece = Piece(0, b"")
        self._next: asyncio.Task[Piece] | None = None
        self._turn = asyncio.Lock()
        super().__init__(request, errors)

    async def read(self, offset: int) -> Piece:
        """Return what begins at *offset*, to the end of the piece that it is in."""
        await self.ready()
        async with self._turn:
            if offset == self._piece.end and self._next is not None:
                await self._go_on(self._next)
            self.check()
            return self._from(offset)

    def _from(self, offset: int) -> Piece:
        piece = self._piece
        if not piece.offset <= offset <= piece.end:
            detail = f"what is there begins at {piece.offset} and ends at {piece.end}"
            raise Problem(416, "range_not_satisfiable", detail, key="offset")
        return Piece(offset, piece.data[offset - piece.offset :], piece.digest)

    async def _go_on(self, fetching: asyncio.Task[Piece]) -> None:
        await asyncio.wait([fetching])
        self.check()
        self._piece = fetching.result()
        self._next = None if self._piece.digest else self._fetch()

    def _fetch(self) -> asyncio.Task[Piece]:
        async def fetch() -> Piece:
            assert self._pieces is not None
            with self.working():
                return await self._pieces.next()

        task = asyncio.create_task(fetch())
        task.add_done_callback(seen)
        return task

    async def _open(self) -> None:
        self._pieces = _Pieces(await self._begin())
        del self._begin  # it holds the rules
        self._next = self._fetch()

    async def _close(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.cancel()
            await asyncio.wait([self._next])
        self._piece, self._next = Piece(0, b""), None
        if self._pieces is not None:
            await self._pieces.aclose()


class _Pieces:
    """What *source* has, in pieces; it is closed after the last."""

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self._chunks = source.chunks()
        self._digest = Digest()
        self._offset = 0
        self._rest = b""

    async def next(self) -> Piece:
        """Fetch the next piece, and a little more to know whether it is the last."""
        parts, size = [self._rest], len(self._rest)
        while size <= PIECE and (chunk := await anext(self._chunks, None)) is not None:
            await self._digest.update(chunk)
            parts.append(chunk)
            size += len(chunk)
        whole = b"".join(parts)
        data, self._rest = whole[:PIECE], whole[PIECE:]
        offset, self._offset = self._offset, self._offset + len(data)
        if size > PIECE:
            return Piece(offset, data)
        await self.aclose()
        return Piece(offset, data, await self._digest.value())

    async def aclose(self) -> None:
        await self._source.aclose()
