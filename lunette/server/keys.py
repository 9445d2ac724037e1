"""The keys under which clients started commands, so that they can be killed and never run twice."""

from __future__ import annotations

import asyncio
from time import monotonic

from attrs import Factory, define

from lunette.server._problems import Problem
from lunette.server.engines.protocol import Process

__all__ = ["Keys", "Run"]

# Both are promised in openapi.yaml.
_REMEMBER_SECONDS = 24 * 3600.0
_REMEMBER_KEYS = 10_000


@define(eq=False)
class Run:
    """A command from its request to its end."""

    key: str | None
    process: Process | None = None
    given_up: bool = False
    ended: asyncio.Event = Factory(asyncio.Event)

    async def started(self, process: Process) -> None:
        """Note the process; kill it if the client gave up while it was being started."""
        self.process = process
        if self.given_up:
            await process.kill()

    async def kill(self) -> None:
        """Kill the command and return when it has ended."""
        self.given_up = True
        if self.process is not None and not self.ended.is_set():
            await self.process.kill()
        await self.ended.wait()


class Keys:
    """The keys of one sandbox."""

    def __init__(self) -> None:
        self._running: dict[str, Run] = {}
        # Until when they are remembered; the oldest first.
        self._used: dict[str, float] = {}
        self._given_up: dict[str, float] = {}

    def claim(self, key: str | None) -> Run:
        """Return the run of a new command; a key that was used or given up is taken."""
        run = Run(key)
        if key is None:
            return run
        self._forget_the_old()
        if key in self._running or key in self._used or key in self._given_up:
            raise Problem(409, "key_in_use", f"the key '{key}' was used or given up before")
        self._running[key] = run
        return run

    def end(self, run: Run) -> None:
        """Note that the command of *run* has ended, or was never started."""
        run.process = None  # with its pipes and what it was told to read
        run.ended.set()
        if run.key is not None:
            del self._running[run.key]
            self._remember(self._used, run.key)

    async def kill(self, key: str) -> None:
        """Kill the command of *key*; one that has not arrived yet will not start."""
        run = self._running.get(key)
        if run is not None:
            await run.kill()
            return
        self._forget_the_old()
        if key not in self._used and key not in self._given_up:
            self._remember(self._given_up, key)

    def _remember(self, keys: dict[str, float], key: str) -> None:
        keys[key] = monotonic() + _REMEMBER_SECONDS
        if len(self._used) + len(self._given_up) > _REMEMBER_KEYS:
            # The command of a key that was given up may still arrive; a used one has.
            oldest = self._used or self._given_up
            del oldest[next(iter(oldest))]

    def _forget_the_old(self) -> None:
        now = monotonic()
        for keys in (self._used, self._given_up):
            while keys and keys[oldest := next(iter(keys))] <= now:
                del keys[oldest]
