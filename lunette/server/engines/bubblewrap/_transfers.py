"""Whole directories on their way in or out, through a pipe to the process that reads or writes
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable

from lunette.server.engines.bubblewrap._channel import set_done
from lunette.server.engines.bubblewrap._file_workers import FileWorker, FileWorkers
from lunette.server.engines.bubblewrap._threads import in_thread, to_the_end
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.files import BlockSource
from lunette.server.engines.protocol import NoCapacityError

__all__ = ["PipedBytes", "PipedWriter"]

_CHUNK, _LEAST = 256 * 1024, 64 * 1024
_LARGE_PIPE = 1024 * 1024
# As for the pipes of commands: all of a user's together may hold 64 MiB (pipe(7)).
_MOST_LARGE = 16
_ABORT_SECONDS = 30.0

_large: set[int] = set()


class PipedBytes:
    """See `Bytes` in the engine protocol."""

    def __init__(self, worker: FileWorker, fd: int) -> None:
        _prepare(fd)
        self._worker = worker
        self._fd = fd
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def begin(cls, workers: FileWorkers, message: Message) -> PipedBytes:
        reading, writing = _pipe()
        begun = cls(await _started(workers, message, theirs=writing, ours=reading), reading)
        try:
            await begun._worker.begun()
        except BaseException:
            await begun.aclose()
            raise
        return begun

    async def chunks(self) -> AsyncIterator[bytes]:
        held: list[bytes] = []
        size = 0
        while chunk := await self._read():
            held.append(chunk)
            size += len(chunk)
            if size >= _LEAST:
                yield b"".join(held)
                held.clear()
                size = 0
        if held:
            yield b"".join(held)
        await self._worker.word()

    async def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._fd, _CHUNK)
            except BlockingIOError:
                await _ready(self._loop.add_reader, self._loop.remove_reader, self._fd)

    async def aclose(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            _close(fd)
            await to_the_end(self._worker.close())


class PipedWriter:
    """See `FileWriter` in the engine protocol."""

    def __init__(self, worker: FileWorker, fd: int) -> None:
        _prepare(fd)
        self._worker = worker
        self._fd = fd
        self._over = False
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def begin(cls, workers: FileWorkers, message: Message) -> PipedWriter:
        reading, writing = _pipe()
        begun = cls(await _started(workers, message, theirs=reading, ours=writing), writing)
        try:
            await begun._worker.begun()
        except BaseException:
            await begun.abort()
            raise
        return begun

    async def write_from(self, blocks: BlockSource) -> None:
        await to_the_end(self._write_from(blocks))

    async def _write_from(self, blocks: BlockSource) -> None:
        while block := await in_thread(blocks):
            await self.write(block)

    async def write(self, data: bytes | memoryview) -> None:
        rest = self._written(memoryview(data))
        if rest is None or rest:
            await to_the_end(self._write(rest))

    async def _write(self, rest: memoryview | None) -> None:
        while rest:
            await _ready(self._loop.add_writer, self._loop.remove_writer, self._fd)
            rest = self._written(rest)
        if rest is None:
            await self._refused()

    def _written(self, data: memoryview) -> memoryview | None:
        """Write what there is room for, and return the rest; None where nobody reads it."""
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            return None
        return data

    async def _refused(self) -> None:
        await self._worker.word()
        raise NoCapacityError("the process that unpacks ended early")

    async def commit(self) -> None:
        await to_the_end(self._commit())

    async def _commit(self) -> None:
        self._worker.tell({"op": "commit"})
        self._close()
        await self._worker.word()
        self._over = True
        await self._worker.close(patience=_ABORT_SECONDS)

    async def abort(self) -> None:
        if not self._over:
            self._over = True
            self._close()
            await to_the_end(self._worker.close(patience=_ABORT_SECONDS))

    def _close(self) -> None:
        if self._fd >= 0:
            _close(self._fd)
            self._fd = -1


def _pipe() -> tuple[int, int]:
    try:
        return os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        raise NoCapacityError(f"no pipe for files: {error.strerror}") from error


async def _started(workers: FileWorkers, message: Message, *, theirs: int, ours: int) -> FileWorker:
    try:
        return await workers.start(message, [theirs])
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)


def _prepare(fd: int) -> None:
    os.set_blocking(fd, False)
    if len(_large) < _MOST_LARGE:
        with contextlib.suppress(OSError):  # this user has enough, or the machine
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _LARGE_PIPE)
            _large.add(fd)


def _close(fd: int) -> None:
    _large.discard(fd)
    os.close(fd)


async def _ready(
    watch: Callable[[int, Callable[[], None]], None], unwatch: Callable[[int], bool], fd: int
) -> None:
    """Wait until *fd* is ready, as *watch* of the loop tells."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watch(fd, lambda: set_done(ready))
    try:
        await ready
    finally:
        unwatch(fd)
