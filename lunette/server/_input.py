"""The standard input of a process: each byte of it once, however often it is sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

from lunette.server._problems import Problem
from lunette.server.engines.protocol import Process

__all__ = ["Input", "closed"]


class Input:
    """What was taken is counted from *offset* on, the bytes that the process began with."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self._process: Process | None = None
        self._ended_at: int | None = None
        self._turn = asyncio.Lock()

    def open(self, process: Process) -> None:
        """Begin to write to *process*."""
        self._process = process

    def close(self) -> None:
        """The process is over: nobody reads any more."""
        self._process = None

    async def write(self, offset: int, data: bytes, *, end: bool, wait: float) -> int:
        """Write what of *data*, which begins at *offset*, has not been written; with *end* close it
        then. Return how much was ever taken, after *wait* seconds at most.
        """
        with contextlib.suppress(TimeoutError):  # the rest is the client's to send again
            async with asyncio.timeout(wait), self._turn:
                await self._write(offset, data, end=end)
        return self.offset

    async def _write(self, offset: int, data: bytes, *, end: bool) -> None:
        stop = offset + len(data)
        while self.offset < stop:
            process = self._open_process()
            self._check(offset)
            with _closed():
                self.offset += await process.write(data[self.offset - offset :])
        self._check(offset)
        if end and self._ended_at != stop == self.offset:
            await self._end(stop)

    async def _end(self, stop: int) -> None:
        if self._process is not None:
            await self._process.close_input()
        self._ended_at = stop

    def _open_process(self) -> Process:
        if self._process is None:
            raise closed("the process has ended")
        return self._process

    def _check(self, offset: int) -> None:
        if offset > self.offset:
            detail = f"the body begins at {offset}, and only {self.offset} bytes have come"
            raise Problem(409, "input_gap", detail, key="offset", offset=self.offset)


def closed(why: str) -> Problem:
    """Return the problem of a standard input that nobody reads."""
    return Problem(409, "input_closed", f"nobody reads what is written: {why}")


@contextlib.contextmanager
def _closed() -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        raise closed("the standard input of the process is closed") from None
