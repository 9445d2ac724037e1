"""Who is waited for, and for how long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from lunette.server import _readers
from lunette.server._log import Log
from lunette.server._readers import Readers

LIMIT = 64 << 10
GUARD = 30.0


class Clock:
    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(_readers, "monotonic", found)
    return found


@pytest.mark.parametrize("awaited", [0, 1])
def test_a_first_follower_is_expected(clock: Clock, awaited: int) -> None:
    readers = Readers(10)
    readers.awaited = awaited
    seconds = 1.0 if awaited else 5.0
    assert readers.patience() == pytest.approx(seconds)
    clock.now += seconds - 0.1
    assert readers.needed() == -10
    clock.now += 0.2
    assert readers.needed() is None and readers.patience() is None


@pytest.mark.parametrize("awaited", [0, 1])
def test_one_who_was_cut_is_expected(clock: Clock, awaited: int) -> None:
    readers = Readers(10)
    readers.leave(readers.enter(0, is_slow=False), is_coming_back=True)
    readers.awaited = awaited
    clock.now += 9.9 if awaited else 29.9
    assert readers.needed() == -10
    clock.now += 0.2
    assert readers.needed() is None


def test_who_reads_nothing_is_not_waited_for_where_somebody_waits_for_the_end(clock: Clock) -> None:
    readers = Readers(10)
    reader = readers.enter(0, is_slow=False)
    clock.now += 3600.0
    assert not readers.have_read(1) and readers.patience() is None
    readers.awaited = 1
    assert readers.have_read(1) and readers.needed() is None
    reader.read_until(50)
    assert not readers.have_read(51) and readers.patience() == pytest.approx(10.0)
    clock.now += 9.9
    assert readers.needed() == 40
    clock.now += 0.2
    assert readers.needed() is None and readers
    readers.awaited = 0
    assert readers.needed() == 40


@pytest.mark.parametrize("who", ["stuck", "cut"])
def test_the_end_comes_though_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(_readers, "_AWAITED_SECONDS", 0.05)
    monkeypatch.setattr(_readers, "_AWAITED_FIRST_SECONDS", 0.01)

    async def write(log: Log) -> None:
        for _ in range(100):
            log.write(1, bytes(10_000))
            await log.room()

    async def body() -> None:
        log = Log(tmp_path, LIMIT)
        async with asyncio.timeout(GUARD):
            with log.followed_from(0) as reader, log.awaited():
                if who == "stuck":
                    await write(log)
                    assert reader.offset == 0
            if who == "cut":
                with log.awaited():
                    await write(log)

    asyncio.run(body())


def test_many_who_were_cut_are_a_few(clock: Clock) -> None:
    readers = Readers(10)
    for number in range(1000):
        there = readers.enter(1000 + 100 * number, is_slow=False)
        clock.now += 0.001
        readers.leave(there, is_coming_back=True)
    assert len(readers._absent) <= 16
    assert readers.needed() == -10  # the first follower has not come
    clock.now += 6.0
    assert readers.needed() == 990
    clock.now += 25.0
    assert readers.needed() is None


def test_one_who_is_back_before_the_cut_is_seen_is_not_expected(clock: Clock) -> None:
    readers = Readers(10)
    before = readers.enter(0, is_slow=False)
    before.read_until(100)
    after = readers.enter(95, is_slow=False)
    readers.leave(before, is_coming_back=True)
    readers.leave(after, is_coming_back=False)
    assert not readers
