"""Threads of sandboxes, of which no one takes all."""

from __future__ import annotations

import asyncio
import threading

import pytest

from lunette.server.engines.bubblewrap._threads import Threads

GUARD = 10.0


class Held:
    """What is done in threads that wait until they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.over = threading.Event()
        self.done: list[int] = []

    def do(self, number: int) -> None:
        self.begun.release()
        assert self.over.wait(GUARD)
        self.done.append(number)


def test_a_sandbox_has_few_at_a_time_and_leaves_the_others_theirs() -> None:
    async def main() -> None:
        threads, held = Threads(), Held()
        work = [asyncio.create_task(threads.run(held.do, number)) for number in range(100)]
        try:
            for _ in range(2):
                assert await Threads().run(held.begun.acquire, True, GUARD)
            assert not held.begun.acquire(blocking=False)
        finally:
            held.over.set()
            await asyncio.gather(*work)
        assert sorted(held.done) == list(range(100))

    asyncio.run(main())


def test_what_is_cancelled_while_it_waits_is_done_all_the_same() -> None:
    async def main() -> None:
        threads, held = Threads(), Held()
        work = [asyncio.create_task(threads.run(held.do, number)) for number in range(3)]
        for _ in range(2):
            assert await Threads().run(held.begun.acquire, True, GUARD)
        work[2].cancel()
        held.over.set()
        with pytest.raises(asyncio.CancelledError):
            await work[2]
        await asyncio.gather(*work[:2])
        assert sorted(held.done) == [0, 1, 2]

    asyncio.run(main())
