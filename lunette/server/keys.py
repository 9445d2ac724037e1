"""The keys under which clients started commands, so that they can be killed and never run twice."""

from __future__ import annotations

import asyncio

from attrs import Factory, define

from lunette.server._problems import Problem
from lunette.server.engines.protocol import Process

__all__ = ["Keys", "Run"]

_REMEMBER_KEYS = 10_000


@define(eq=False)
class Run:
    """A command from its request to its end."""

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
        self._runs: dict[str, Run] = {}

    def claim(self, key: str | None) -> Run:
        """Return the run of a new command; a key that was used or given up is taken."""
        run = Run()
        if key is None:
            return run
        if key in self._runs:
            raise Problem(409, "key_in_use", f"the key '{key}' was used or given up before")
        self._remember(key, run)
        return run

    async def kill(self, key: str) -> None:
        """Kill the command of *key*; one that has not arrived yet will not start."""
        run = self._runs.get(key)
        if run is not None:
            await run.kill()
            return
        mark = Run(given_up=True)
        mark.ended.set()
        self._remember(key, mark)

    def _remember(self, key: str, run: Run) -> None:
        self._runs[key] = run
        if len(self._runs) <= _REMEMBER_KEYS:
            return
        oldest = next((k for k, r in self._runs.items() if r.ended.is_set()), None)
        if oldest is not None:
            del self._runs[oldest]
