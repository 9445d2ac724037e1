"""A log has every byte in order, of the stream that it was written to, or says how many it lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from lunette.server import _log, _readers
from lunette.server._log import Gap, Log
from lunette.server._readers import Reader
from lunette.server._segments import Block, Stream

LIMIT = 64 << 10
GUARD = 30.0

Piece = tuple[Stream, bytes] | Gap


def _run(work: Coroutine[Any, Any, None]) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(GUARD):
            await work

    asyncio.run(guarded())


def _mixed(size: int, seed: int = 1) -> list[tuple[Stream, bytes]]:
    """Return writes of all sizes to both streams, of *size* bytes together."""
    rng = random.Random(seed)
    found: list[tuple[Stream, bytes]] = []
    while size > 0:
        data = rng.randbytes(min(size, rng.choice([1, 1, 2, 7, 100, 3000, 9000])))
        found.append((rng.choice([1, 1, 2]), data))
        size -= len(data)
    return found


def _joined(pieces: list[tuple[Stream, bytes]]) -> list[tuple[Stream, int]]:
    """Return each byte with its stream."""
    return [(stream, byte) for stream, data in pieces for byte in data]


async def _pieces(log: Log, reader: Reader) -> AsyncIterator[Piece]:
    """Yield what there is now for *reader*."""
    while reader.offset < log.end:
        found = await log.find(reader.offset)
        if isinstance(found, Gap):
            log.read_until(reader, reader.offset + found.size)
            yield found
            continue
        assert found.begin <= reader.offset < found.end
        for stream, start, stop in list(found.runs(reader.offset)):
            log.read_until(reader, found.begin + stop)
            yield stream, bytes(found.data[start:stop])


async def _all(log: Log, offset: int = 0) -> list[Piece]:
    with log.followed_from(offset, is_coming_back=False) as reader:
        return [piece async for piece in _pieces(log, reader)]


async def _write(log: Log, writes: list[tuple[Stream, bytes]]) -> None:
    for stream, data in writes:
        log.write(stream, data)
        await log.room()


def _files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expect nobody in the first seconds of a process."""
    monkeypatch.setattr(_readers, "_FIRST_SECONDS", 0)


@pytest.mark.parametrize("size", [0, 1, 5000, LIMIT // 2])
def test_what_was_written_is_read_from_every_offset(tmp_path: Path, size: int) -> None:
    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        writes = _mixed(size)
        await _write(log, writes)
        log.finish()
        written = _joined(writes)
        assert log.end == size
        for offset in [*range(min(size, 50)), *range(0, size + 1, 997), size]:
            found = await _all(log, offset)
            assert _joined([p for p in found if not isinstance(p, Gap)]) == written[offset:]

    _run(body())


def test_little_stays_in_memory(tmp_path: Path) -> None:
    async def body() -> None:
        log = Log(tmp_path)
        await _write(log, [(1, b"x" * 60_000)])
        log.finish()
        await asyncio.sleep(0)
        assert log._writing is None
        assert not _files(tmp_path)

    _run(body())


def test_many_writes_of_a_byte_take_little(tmp_path: Path) -> None:
    async def body() -> None:
        log = Log(tmp_path)
        for number in range(250_000):
            log.write(1 if number % 2 else 2, b"%c" % (number % 251))
            if log._memory > 2 << 20:
                await log.room()
        assert log.end == 250_000
        assert log.size < 1_500_000
        streams = {1: b"", 2: b""}
        for piece in await _all(log):
            assert not isinstance(piece, Gap)
            streams[piece[0]] += piece[1]
        assert streams[1] == bytes(n % 251 for n in range(1, 250_000, 2))
        assert streams[2] == bytes(n % 251 for n in range(0, 250_000, 2))

    _run(body())


def test_adjacent_writes_of_a_stream_are_one_run(tmp_path: Path) -> None:
    async def body() -> None:
        log = Log(tmp_path)
        await _write(log, [(1, b"a"), (1, b"b"), (2, b"c"), (2, b"d"), (1, b"e")])
        assert await _all(log) == [(1, b"ab"), (2, b"cd"), (1, b"e")]
        assert await _all(log, 3) == [(2, b"d"), (1, b"e")]

    _run(body())


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("seed", range(5))
def test_the_oldest_goes_behind_the_beginning(tmp_path: Path, seed: int) -> None:
    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        writes = _mixed(5 * LIMIT, seed)
        await _write(log, writes)
        log.finish()
        assert log.size <= LIMIT + 2048
        found = await _all(log)
        (gap,) = (piece for piece in found if isinstance(piece, Gap))
        at = found.index(gap)
        before = _joined([p for p in found[:at] if not isinstance(p, Gap)])
        after = _joined([p for p in found[at + 1 :] if not isinstance(p, Gap)])
        written = _joined(writes)
        assert len(before) >= LIMIT // 8
        assert len(after) >= LIMIT // 2
        assert len(before) + gap.size + len(after) == len(written)
        assert before == written[: len(before)]
        assert after == written[-len(after) :]
        lost = written[len(before) : -len(after)]
        assert log.lost() == {1: sum(s == 1 for s, _ in lost), 2: sum(s == 2 for s, _ in lost)}
        # One who comes to the middle of the gap is told of the rest of it.
        assert (await _all(log, len(before) + 10))[0] == Gap(gap.size - 10)

    _run(body())


async def _waits(work: asyncio.Task[None]) -> bool:
    """Say whether *work* waits for something that does not come by itself."""
    for _ in range(200):
        await asyncio.sleep(0.0005)
    return not work.done()


@pytest.mark.usefixtures("forgetful")
def test_nothing_goes_that_a_follower_has_not_read(tmp_path: Path) -> None:
    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        writes = _mixed(4 * LIMIT)
        with log.followed_from(0) as reader:
            writing = asyncio.create_task(_write(log, writes))
            assert await _waits(writing)
            assert LIMIT // 2 < log.end <= LIMIT + 9000
            found: list[Piece] = []
            while not writing.done() or reader.offset < log.end:
                found += [piece async for piece in _pieces(log, reader)]
                await asyncio.sleep(0)
        assert _joined([p for p in found if not isinstance(p, Gap)]) == _joined(writes)

    _run(body())


@pytest.mark.parametrize("came_back", [True, False])
def test_one_who_was_cut_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, came_back: bool
) -> None:
    monkeypatch.setattr(_readers, "_FIRST_SECONDS", 0)
    monkeypatch.setattr(_readers, "_CUT_SECONDS", 1.0)

    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        writes = _mixed(3 * LIMIT)
        with log.followed_from(0):
            pass
        writing = asyncio.create_task(_write(log, writes))
        assert await _waits(writing)
        if not came_back:
            await writing
            assert any(isinstance(piece, Gap) for piece in await _all(log))
            return
        found: list[Piece] = []
        with log.followed_from(0) as reader:
            while not writing.done() or reader.offset < log.end:
                found += [piece async for piece in _pieces(log, reader)]
                await asyncio.sleep(0)
        assert _joined([p for p in found if not isinstance(p, Gap)]) == _joined(writes)

    _run(body())


def test_the_first_seconds_are_kept_for_who_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_readers, "_FIRST_SECONDS", 0.5)

    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        writing = asyncio.create_task(_write(log, _mixed(3 * LIMIT)))
        assert await _waits(writing)
        assert not any(isinstance(piece, Gap) for piece in await _all(log, 1))
        await writing  # nobody came
        assert log.end == 3 * LIMIT

    _run(body())


def test_who_is_cut_at_any_moment_misses_nothing(tmp_path: Path) -> None:
    """What was sent may be lost on its way: one comes back to before that."""

    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        rng = random.Random(7)
        writes = _mixed(20 * LIMIT)
        writing = asyncio.create_task(_write(log, writes))
        found: list[Piece] = []
        offset = 0
        while not writing.done() or offset < log.end:
            with log.followed_from(offset) as reader:
                async for piece in _pieces(log, reader):
                    if rng.random() < 0.1:
                        break
                    assert not isinstance(piece, Gap)
                    size = min(len(piece[1]), rng.randrange(1, 5000))
                    found.append((piece[0], piece[1][:size]))
                    offset += size
                    if size < len(piece[1]):
                        break
            await asyncio.sleep(0)
        assert _joined([p for p in found if not isinstance(p, Gap)]) == _joined(writes)
        assert len(log.readers._absent) <= 1

    _run(body())


@pytest.mark.usefixtures("forgetful")
def test_a_slow_reader_does_not_hold_the_process_up_before_the_log_is_full(tmp_path: Path) -> None:
    async def body() -> None:
        log = Log(tmp_path)
        with log.followed_from(0) as reader:
            await _write(log, [(1, bytes(100_000))] * 100)
            assert reader.is_slow
            assert log.end == 10_000_000
            assert log._memory < 2 << 20

    _run(body())


def test_the_end_of_the_process_ends_the_wait(tmp_path: Path) -> None:
    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        writing = asyncio.create_task(_write(log, _mixed(2 * LIMIT)))
        assert await _waits(writing)
        log.be_unbounded()
        await writing
        assert log.end == 2 * LIMIT
        assert not any(isinstance(piece, Gap) for piece in await _all(log))

    _run(body())


@pytest.mark.usefixtures("forgetful")
def test_what_is_dropped_leaves_no_file(tmp_path: Path) -> None:
    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        await _write(log, _mixed(5 * LIMIT))
        assert _files(tmp_path)
        writing = log._writing
        for path in log.drop():
            path.unlink(missing_ok=True)
        if writing is not None:
            await asyncio.wait([writing])
        assert not _files(tmp_path)
        assert await _all(log) == [Gap(5 * LIMIT)]
        log.write(1, b"too late")
        assert log.end == 5 * LIMIT

    _run(body())


@pytest.mark.usefixtures("forgetful")
def test_a_log_that_is_dropped_while_it_is_written_leaves_no_file(tmp_path: Path) -> None:
    async def body() -> None:
        for _ in range(50):
            log = Log(tmp_path, LIMIT)
            for stream, data in _mixed(LIMIT // 2):
                log.write(stream, data)
            await asyncio.sleep(0)
            writing = log._writing
            assert writing is not None
            for path in log.drop():
                path.unlink(missing_ok=True)
            await asyncio.wait([writing])
            assert not _files(tmp_path)

    _run(body())


@pytest.mark.usefixtures("forgetful")
def test_a_block_that_goes_while_it_is_read_is_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        await _write(log, _mixed(LIMIT // 2))

        def read(*_: object) -> Block:
            asyncio.run_coroutine_threadsafe(drop(), loop).result(GUARD)
            raise FileNotFoundError

        async def drop() -> None:
            for path in log.drop():
                path.unlink(missing_ok=True)

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(_log, "read_block", read)
        assert await log.find(0) == Gap(LIMIT // 2)

    _run(body())
