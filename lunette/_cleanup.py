"""Work that is finished although its task was cancelled, its client closed or its loop ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

__all__ = ["Cleanups"]

Work = Callable[[], Coroutine[Any, Any, None]]


class Cleanups:
    """The clean-ups of one connection that are under way on event loops of asyncio.

    trio needs none of this: there a shielded scope is enough.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself keeps none alive

    async def run(self, work: Work, seconds: float) -> None:
        """Run *work* for at most *seconds*; a second cancellation stops the waiting, not the work.

        It may be begun again, so it must be such that this does no harm.
        """
        task = asyncio.create_task(_stubborn(work, seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def finished(self) -> None:
        """Wait for those of this event loop."""
        loop = asyncio.get_running_loop()
        if left := [task for task in self._tasks if task.get_loop() is loop]:
            await asyncio.wait(left)


async def _stubborn(work: Work, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            with anyio.move_on_after(end - time.monotonic()):
                await work()
            return
        except asyncio.CancelledError:
            # Of a loop that ends: it cancels all its tasks, and waits for those that go on.
            task = asyncio.current_task()
            if task is None or time.monotonic() >= end:
                raise
            task.uncancel()
