"""Pipes of the server's end, against a reader or a writer in the same process."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lunette.server.engines.bubblewrap import _pipes
from lunette.server.engines.bubblewrap._pipes import InputPipe, OutputPipe, Pipes
from lunette.server.engines.protocol import NoCapacityError

PIPE = 64 * 1024


@asynccontextmanager
async def input_pipe() -> AsyncIterator[InputPipe]:
    pipe = InputPipe(owner=None)
    try:
        async with asyncio.timeout(30):
            yield pipe
    finally:
        pipe.close()


async def fill(pipe: InputPipe) -> int:
    """Write until there is no room."""
    total = 0
    while True:
        try:
            async with asyncio.timeout(0.01):
                total += await pipe.write(b"f" * PIPE)
        except TimeoutError:
            return total


def test_a_write_takes_what_there_is_room_for() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            assert await pipe.write(b"") == 0
            assert await pipe.write(b"x" * 10 * PIPE) == PIPE
            assert len(os.read(pipe.read_end, 2 * PIPE)) == PIPE
            os.close(pipe.read_end)

    asyncio.run(main())


def test_what_it_begins_with_is_let_go_when_it_is_written() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            await pipe.drained()
            pipe.begin(b"x" * 2 * PIPE)
            draining = asyncio.create_task(pipe.drained())
            await asyncio.sleep(0)
            assert not draining.done()
            assert len(os.read(pipe.read_end, PIPE)) == PIPE
            await draining
            assert pipe._rest.obj == b""
            os.close(pipe.read_end)

    asyncio.run(main())


def test_who_reads_no_more_lets_go_of_it() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            pipe.begin(b"x" * 2 * PIPE)
            draining = asyncio.create_task(pipe.drained())
            await asyncio.sleep(0)
            os.close(pipe.read_end)
            await draining

    asyncio.run(main())


def test_a_write_waits_for_room() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            await fill(pipe)
            writers = [asyncio.create_task(pipe.write(b"late")) for _ in range(2)]
            await asyncio.sleep(0)
            assert not any(writer.done() for writer in writers)
            os.read(pipe.read_end, 2 * PIPE)
            assert await asyncio.gather(*writers) == [4, 4]
            assert os.read(pipe.read_end, PIPE) == b"latelate"
            os.close(pipe.read_end)

    asyncio.run(main())


def test_a_write_that_is_cancelled_took_nothing() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            full = await fill(pipe)
            for _ in range(3):
                writer = asyncio.create_task(pipe.write(b"never"))
                await asyncio.sleep(0)
                writer.cancel()
                await asyncio.wait([writer])
                assert writer.cancelled()
            assert os.read(pipe.read_end, 2 * PIPE) == b"f" * full
            # Cancelled in the same moment in which there is room.
            await fill(pipe)
            writer = asyncio.create_task(pipe.write(b"never"))
            await asyncio.sleep(0)
            os.read(pipe.read_end, 2 * PIPE)
            writer.cancel()
            await asyncio.wait([writer])
            assert writer.cancelled()
            assert await pipe.write(b"then") == 4
            assert os.read(pipe.read_end, PIPE) == b"then"
            os.close(pipe.read_end)

    asyncio.run(main())


def test_nobody_reads() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            await fill(pipe)
            writer = asyncio.create_task(pipe.write(b"x"))
            await asyncio.sleep(0)
            os.close(pipe.read_end)
            with pytest.raises(BrokenPipeError):
                await writer
            with pytest.raises(BrokenPipeError):
                await pipe.write(b"x")

    asyncio.run(main())


def test_a_writer_is_told_of_the_close() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            await fill(pipe)
            writer = asyncio.create_task(pipe.write(b"x"))
            await asyncio.sleep(0)
            pipe.close()
            with pytest.raises(BrokenPipeError):
                await writer
            os.close(pipe.read_end)

    asyncio.run(main())


def test_what_is_written_comes_behind_what_was_first() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            first = bytes(range(256)) * 4096
            pipe.begin(first)
            writer = asyncio.create_task(pipe.write(b"second"))
            reading = asyncio.create_task(asyncio.to_thread(_read_all, pipe.read_end))
            assert await writer == 6
            await pipe.end()
            await pipe.end()
            with pytest.raises(BrokenPipeError):
                await pipe.write(b"third")
            assert await reading == first + b"second"

    asyncio.run(main())


def test_an_end_waits_for_what_was_first() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            pipe.begin(b"x" * 5 * PIPE)
            await pipe.end()
            assert len(await asyncio.to_thread(_read_all, pipe.read_end)) == 5 * PIPE

    asyncio.run(main())


def test_a_reader_that_stops_loses_what_was_first() -> None:
    async def main() -> None:
        async with input_pipe() as pipe:
            pipe.begin(b"x" * 5 * PIPE)
            writer = asyncio.create_task(pipe.write(b"y"))
            os.close(pipe.read_end)
            with pytest.raises(BrokenPipeError):
                await writer

    asyncio.run(main())


def _read_all(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


# How large an output is


@pytest.fixture
def outputs() -> Iterator[Callable[[], OutputPipe]]:
    made: list[OutputPipe] = []

    def output() -> OutputPipe:
        made.append(OutputPipe(owner=None))
        return made[-1]

    yield output
    for pipe in made:
        os.close(pipe.write_end)


def capacity(pipe: OutputPipe) -> int:
    return fcntl.fcntl(pipe.write_end, fcntl.F_GETPIPE_SZ)


def overflow(pipe: OutputPipe) -> None:
    os.write(pipe.write_end, b"x" * PIPE)
    assert len(pipe.take()) == PIPE


def test_only_a_loud_command_has_a_large_pipe(outputs: Callable[[], OutputPipe]) -> None:
    async def main() -> None:
        quiet, loud = outputs(), outputs()
        for _ in range(100):
            os.write(quiet.write_end, b"x" * (PIPE - 1))
            quiet.take()
        overflow(loud)
        assert (capacity(quiet), capacity(loud)) == (PIPE, 1 << 20)
        os.write(loud.write_end, b"y" * (1 << 20))
        assert sum(len(loud.take()) for _ in range(4)) == 1 << 20
        assert not loud.ended
        quiet.close()
        loud.close()

    asyncio.run(main())


def test_only_so_many_have_one(outputs: Callable[[], OutputPipe]) -> None:
    async def main() -> None:
        many = [outputs() for _ in range(20)]
        for pipe in many:
            overflow(pipe)
        assert [capacity(pipe) for pipe in many].count(1 << 20) == 16
        many[0].close()
        late = outputs()
        overflow(late)
        assert capacity(late) == 1 << 20
        for pipe in (*many, late):
            pipe.close()

    asyncio.run(main())


def test_a_pipe_that_may_not_grow_stays(
    outputs: Callable[[], OutputPipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pipes, "_LARGE_PIPE", (1 << 31) - 1)  # which the kernel refuses to all

    async def main() -> None:
        pipe = outputs()
        overflow(pipe)
        overflow(pipe)
        pipe.close()

    asyncio.run(main())


@pytest.mark.parametrize("room", range(6))
def test_without_room_nothing_is_left(room: int) -> None:
    async def main() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        filling = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]
        before = opened()
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(filling) + 1 + room, hard))
        try:
            with pytest.raises(NoCapacityError, match="no pipes"):
                Pipes(None, wants_input=True)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert opened() == before
        for fd in filling:
            os.close(fd)

    asyncio.run(main())


def opened() -> set[str]:
    """The descriptors of this process, but that of the look itself."""
    found = {path.name for path in Path("/proc/self/fd").iterdir()}
    return {name for name in found if Path("/proc/self/fd", name).exists()}
