"""Where the hunts of all sandboxes run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from lunette.server.engines.bubblewrap._freezer import Freezers
from lunette.server.engines.bubblewrap._proc import HUNTS, Reserve
from lunette.server.engines.bubblewrap._threads import to_the_end

__all__ = ["Hunting"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Hunting:
    """A few threads of their own, so that who makes hunts last holds up no file and no log, the
    *reserve* of descriptors for them, and the *freezers* of what is paused.
    """

    def __init__(self) -> None:
        self.reserve = Reserve()
        self.freezers = Freezers()
        self._threads = ThreadPoolExecutor(HUNTS, thread_name_prefix="lunette-hunt")

    async def run(self, hunt: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *hunt* in one of the threads, and wait for its end even when cancelled."""
        loop = asyncio.get_running_loop()
        return await to_the_end(loop.run_in_executor(self._threads, self._run, hunt, *args))

    def _run(self, hunt: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return hunt(*args)
        finally:
            self.reserve.refill()

    def close(self) -> None:
        """Wait for the hunts that are left, which is short once their sandboxes are gone;
        blocking.
        """
        self._threads.shutdown()
        self.reserve.close()
        self.freezers.close()
