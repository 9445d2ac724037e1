"""The threads of hunts, which are nobody else's."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from lunette.server.engines.bubblewrap._hunting import Hunting


def test_hunts_that_last_hold_up_no_other_thread() -> None:
    async def main() -> None:
        hunting = Hunting()
        over = threading.Event()
        hunts = [asyncio.create_task(hunting.run(over.wait, 30)) for _ in range(50)]
        assert await asyncio.wait_for(asyncio.to_thread(int), 20) == 0
        over.set()
        assert all(await asyncio.gather(*hunts))
        hunting.close()

    asyncio.run(main())


def test_a_hunt_that_is_cancelled_is_waited_for() -> None:
    async def main() -> None:
        hunting = Hunting()
        begun, over = threading.Event(), threading.Event()

        def hunt() -> None:
            begun.set()
            over.wait(30)

        hunting_one = asyncio.create_task(hunting.run(hunt))
        await asyncio.to_thread(begun.wait, 30)
        hunting_one.cancel()
        await asyncio.sleep(0)
        assert not hunting_one.done()
        over.set()
        with pytest.raises(asyncio.CancelledError):
            await hunting_one
        hunting.close()

    asyncio.run(main())


def test_the_reserve_is_filled_after_each_and_closed() -> None:
    async def main() -> None:
        hunting = Hunting()
        before = open_descriptors()
        await hunting.run(int)
        filled = open_descriptors()
        assert filled >= before + 2
        assert await hunting.run(hunting.reserve.give_up)
        assert open_descriptors() == filled
        hunting.close()
        assert open_descriptors() == before

    asyncio.run(main())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
