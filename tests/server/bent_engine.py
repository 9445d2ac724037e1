"""The engine that isolates nothing, with files that a test can hold up and break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from lunette.server.engines.files import BlockSource, IfExists, IgnoreRule
from lunette.server.engines.protocol import Handle

from .host_engine import HostBytes, HostEngine, HostWriter

__all__ = ["BentBytes", "BentEngine", "BentWriter"]


def _open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


class BentEngine(HostEngine):
    """A test may set the attributes below to make it misbehave more."""

    def __init__(self) -> None:
        super().__init__()
        self.write_error: Exception | None = None
        self.commit_error: Exception | None = None
        self.begin_gate = _open_gate()
        self.write_gate = _open_gate()
        self.commit_gate = _open_gate()
        self.bytes_gate = _open_gate()
        self.change_gate = _open_gate()
        self.changes: list[tuple[str, ...]] = []
        # What the next archives and listings are made of, instead of what is there.
        self.blocks: Sequence[bytes | Exception] | None = None
        self.given: list[BentWriter] = []
        self.taken: list[BentBytes] = []

    async def begin_put(
        self,
        handle: Handle,
        path: str,
        *,
        mode: int | None = None,
        if_exists: IfExists = "replace",
    ) -> Any:
        await self.begin_gate.wait()
        begun = super().begin_put(handle, path, mode=mode, if_exists=if_exists)
        return await self._writer(begun)

    async def begin_unpack(self, handle: Handle, path: str) -> Any:
        await self.begin_gate.wait()
        return await self._writer(super().begin_unpack(handle, path))

    async def pack(self, handle: Handle, path: str, rules: Sequence[IgnoreRule]) -> Any:
        await self.begin_gate.wait()
        return self._bent(await super().pack(handle, path, rules))

    async def list_directory(self, handle: Handle, path: str, depth: int) -> Any:
        return self._bent(await super().list_directory(handle, path, depth))

    async def mkdir(self, handle: Handle, path: str, **more: Any) -> None:
        await self._change("mkdir", path)
        await super().mkdir(handle, path, **more)

    async def remove(self, handle: Handle, path: str, **more: Any) -> None:
        await self._change("remove", path)
        await super().remove(handle, path, **more)

    async def move(self, handle: Handle, source: str, target: str) -> None:
        await self._change("move", source, target)
        await super().move(handle, source, target)

    async def _writer(self, begun: Awaitable[HostWriter]) -> BentWriter:
        self.given.append(BentWriter(self, await begun))
        return self.given[-1]

    def _bent(self, made: HostBytes) -> BentBytes:
        self.taken.append(BentBytes(self, made))
        return self.taken[-1]

    async def _change(self, *what: str) -> None:
        self.changes.append(what)
        await self.change_gate.wait()


class BentWriter:
    """*sizes* are those of the blocks that it was given."""

    def __init__(self, engine: BentEngine, writer: HostWriter) -> None:
        self.sizes: list[int] = []
        self.aborted = writer.aborted
        self._engine = engine
        self._writer = writer

    async def write(self, data: bytes | memoryview) -> None:
        # As a real engine does, off the loop.
        await self._do(lambda: asyncio.to_thread(self._writer._write, data), "write")
        self.sizes.append(len(data))

    async def write_from(self, blocks: BlockSource) -> None:
        while block := await asyncio.to_thread(blocks):
            await self.write(bytes(block))

    async def commit(self) -> None:
        await self._do(self._writer.commit, "commit")

    async def abort(self) -> None:
        await self._writer.abort()

    async def _do(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        assert not self.aborted.is_set()
        gate: asyncio.Event = getattr(self._engine, f"{what}_gate")
        await gate.wait()
        error: Exception | None = getattr(self._engine, f"{what}_error")
        if error is not None:
            raise error
        await work()


class BentBytes:
    """*size* is how many bytes were taken from it."""

    def __init__(self, engine: BentEngine, made: HostBytes) -> None:
        self.size = 0
        self.closed = made.closed
        self._engine = engine
        self._made = made

    async def chunks(self) -> AsyncIterator[bytes]:
        async for block in self._blocks():
            await self._engine.bytes_gate.wait()
            if isinstance(block, Exception):
                raise block
            self.size += len(block)
            yield block

    async def _blocks(self) -> AsyncIterator[bytes | Exception]:
        if self._engine.blocks is None:
            async for block in self._made.chunks():
                yield block
            return
        for given in self._engine.blocks:
            yield given

    async def aclose(self) -> None:
        await self._made.aclose()
