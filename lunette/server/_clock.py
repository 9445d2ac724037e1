"""The end of a command, by itself or by its timeout."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from lunette.server._run import seen
from lunette.server.engines.protocol import Exit, Process

__all__ = ["Clock"]


class Clock:
    """Kills a command that is still running after its timeout."""

    def __init__(self, process: Process, seconds: float) -> None:
        self._ran_out = False
        self._process = process
        self._killing: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def timed_out(self, exit_: Exit) -> bool:
        """Say whether the timeout was the end of the command."""
        # Who died by another hand at the last moment did not time out.
        return self._ran_out and exit_.signal == signal.SIGKILL

    async def finished(self) -> None:
        """Wait for the end of a kill that has begun, whatever that is."""
        if self._killing is not None:
            await asyncio.wait([self._killing])

    def stop(self) -> None:
        """Forget the timeout."""
        self._timer.cancel()
        if self._killing is not None:
            self._killing.cancel()

    def _ring(self) -> None:
        self._killing = asyncio.ensure_future(self._kill())
        self._killing.add_done_callback(seen)

    async def _kill(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await self._process.wait()
                return  # its output alone is not all taken yet
        self._ran_out = True
        await self._process.kill()
