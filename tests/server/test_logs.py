"""The logs of a sandbox share one limit on the disk, and lose what nobody needs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lunette.server import _logs, _readers, _segments
from lunette.server._log import Gap, Log
from lunette.server._logs import Logs

LIMIT = 1 << 20
ALL = 4 * LIMIT
GUARD = 60.0


def _run(work: Coroutine[Any, Any, None]) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(GUARD):
            await work

    asyncio.run(guarded())


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expect nobody who has not come yet, and need no free disk."""
    monkeypatch.setattr(_readers, "_FIRST_SECONDS", 0)
    monkeypatch.setattr(_readers, "_CUT_SECONDS", 0)
    monkeypatch.setattr(_logs, "FREE_DISK", 0)


def _logs_in(directory: Path) -> Logs:
    store: Any = SimpleNamespace(logs=directory, log_limit=LIMIT, logs_limit=ALL)
    return Logs(store)


async def _write(log: Log, size: int) -> None:
    while size > 0:
        log.write(1, bytes(min(size, 50_000)))
        size -= 50_000
        await log.room()


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread, or time, makes true."""
    while not condition():  # noqa: ASYNC110, nothing announces it
        await asyncio.sleep(0.005)


def _files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def _used(directory: Path) -> int:
    found = 0
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


async def _lost(log: Log) -> int:
    offset = lost = 0
    while offset < log.end:
        found = await log.find(offset)
        if isinstance(found, Gap):
            lost += found.size
            offset += found.size
        else:
            offset = found.end
    assert log.lost() == {1: lost, 2: 0}
    return lost


async def _waits(*work: asyncio.Task[None]) -> bool:
    """Say whether all wait for something that does not come by itself."""
    for _ in range(400):
        await asyncio.sleep(0.0005)
    return not any(each.done() for each in work)


def test_living_processes_stay_within_the_limit(tmp_path: Path) -> None:
    async def body() -> None:
        logs = _logs_in(tmp_path)
        found = [logs.new() for _ in range(40)]
        await asyncio.gather(*(_write(log, 2 * LIMIT) for log in found))
        assert logs.size <= ALL
        await _until(lambda: _used(tmp_path) <= ALL)
        lost = [await _lost(log) for log in found]
        assert min(lost) > 0 and max(lost) < 2 * LIMIT
        assert logs.size == sum(log._spool.size for log in found)

    _run(body())


def test_what_has_ended_goes_first_and_whole(tmp_path: Path) -> None:
    async def body() -> None:
        logs = _logs_in(tmp_path)
        ended, followed, living = (logs.new() for _ in range(3))
        await _write(ended, 900_000)
        with followed.followed_from(0):
            for log in (ended, followed):
                if log is followed:
                    await _write(followed, 500_000)
                log.finish()
                logs.ended(log, 100)
            await _until(lambda: not (ended._writing or followed._writing))
            await _write(living, 900_000)
            for other in [logs.new() for _ in range(3)]:
                await _write(other, 900_000)
            assert ended.is_dropped and not followed.is_dropped
            assert await _lost(followed) == await _lost(living) == 0

    _run(body())


def test_what_followers_need_holds_processes_up(tmp_path: Path) -> None:
    """Each may keep a little more than its share, and none loses anything."""

    async def body() -> None:
        logs = _logs_in(tmp_path)
        found = [logs.new() for _ in range(40)]
        with contextlib.ExitStack() as following:
            readers = [following.enter_context(log.followed_from(0)) for log in found]
            writing = [asyncio.create_task(_write(log, 2 * LIMIT)) for log in found]
            assert await _waits(*writing)
            assert ALL < logs.size <= ALL + len(found) * LIMIT // 2
            assert [await _lost(log) for log in found] == [0] * len(found)
            # Who reads lets its own process go on, whatever the others do.
            while not writing[0].done():
                found[0].read_until(readers[0], found[0].end)
                await asyncio.sleep(0)
            assert not any(each.done() for each in writing[1:])
        await asyncio.gather(*writing)
        await _until(lambda: _used(tmp_path) <= ALL)

    _run(body())


def test_room_wakes_who_waits(tmp_path: Path) -> None:
    async def body() -> None:
        logs = _logs_in(tmp_path)
        held = [logs.new() for _ in range(24)]
        with contextlib.ExitStack() as following:
            for log in held:
                following.enter_context(log.followed_from(0))
            writing = [asyncio.create_task(_write(log, 900_000)) for log in held]
            await _waits()
            # Not all: some had written everything before the others filled the limit.
            kept, waiting = next(
                (log, work) for log, work in zip(held, writing, strict=True) if not work.done()
            )
            for log in held:
                if log is not kept:
                    logs.drop(log)
            await waiting  # which nobody has read
            assert await _lost(kept) == 0
            await asyncio.gather(*writing)

    _run(body())


def test_what_is_tried_in_vain_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_logs, "_SHRINK_AGAIN_SECONDS", 0.02)

    async def body() -> None:
        logs = _logs_in(tmp_path)
        held = [logs.new() for _ in range(8)]
        with contextlib.ExitStack() as following:
            for log in held:
                following.enter_context(log.followed_from(0))
                log.be_unbounded()
                await _write(log, LIMIT)
            await _until(lambda: logs.is_over)
        await _until(lambda: not logs.is_over)
        await _until(lambda: _used(tmp_path) <= ALL)

    _run(body())


def test_a_disk_that_is_nearly_full_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_logs, "FREE_DISK", 1 << 62)

    async def body() -> None:
        log = _logs_in(tmp_path).new()
        await _write(log, 3 * LIMIT)
        assert _used(tmp_path) == 0
        assert await _lost(log) > 2 * LIMIT
        assert caplog.text.count("bytes are free") == 1

    _run(body())


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all = _segments._write_all

    def fail(fd: int, position: int, data: memoryview) -> int:
        write_all(fd, position, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    async def body() -> None:
        logs = _logs_in(tmp_path)
        log = logs.new()
        await _write(log, LIMIT // 2)
        await _until(lambda: log._writing is None)
        assert _used(tmp_path) == log._spool.size > 0
        monkeypatch.setattr(_segments, "_write_all", fail)
        await _write(log, 3 * LIMIT)
        log._spool.sweep()
        await _until(lambda: _used(tmp_path) == log._spool.size)
        logs.drop(log)
        await _until(lambda: not _files(tmp_path))

    _run(body())
