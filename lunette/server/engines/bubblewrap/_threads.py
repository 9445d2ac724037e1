"""Threads for what waits for the files of sandboxes, which those can make last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

__all__ = ["Threads", "in_thread", "to_the_end"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MOST, _TOGETHER = 64, 2
# Not the loop's own: images, logs and other sandboxes would wait with one that holds its files.
_pool = ThreadPoolExecutor(_MOST, thread_name_prefix="lunette-files")


class Threads:
    """Those of one sandbox, of which few run at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_TOGETHER)

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *function* when it is its turn, and wait for its end even when cancelled."""
        if not self._turns.locked():  # it begins at once, and nothing can cancel it before
            return await self._in_turn(function, *args)
        return await to_the_end(self._in_turn(function, *args))

    async def _in_turn(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        async with self._turns:
            return await in_thread(function, *args)


async def in_thread(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call *function* in a thread, and wait for its end even when cancelled.

    A thread cannot be stopped: what closed its descriptor meanwhile would have it write into
    whatever gets that number next.
    """
    return await to_the_end(asyncio.get_running_loop().run_in_executor(_pool, function, *args))


async def to_the_end(unstoppable: Awaitable[T]) -> T:
    """Wait for the end of what may not or cannot be stopped, even when cancelled."""
    work = asyncio.ensure_future(unstoppable)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        work.exception()  # looked at, as nobody else will
        raise
