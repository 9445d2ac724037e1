"""The body of one request that sends to an upload, until it ends or another takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeVar

from starlette.types import Message

from lunette.server._intake import Body, Intake

__all__ = ["Sending"]

T = TypeVar("T")

# Who takes the place of a request waits for what is on its way, even if TCP has to send it again:
# for so long after the last byte, and altogether.
_SILENCE_SECONDS = 0.25
_LAST_SECONDS = 1.0
# A client that has vanished is not waited for any longer than one that does not come back.
_HANGING_SECONDS = 600.0


class Sending:
    """After `chunks`: *is_cut* if the client went away, *is_ended* if nobody waits for the rest.

    The connection may be broken without anybody's knowing, so that nothing may ever come.
    """

    def __init__(self, body: Body) -> None:
        self.is_cut = False
        self.is_ended = False
        self._body = body
        self._last: float | None = None
        self._waiting: asyncio.Timeout | None = None

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield what comes."""
        more = True
        while more:
            message: Message | None = await self._in_time(self._body.receive())
            if message is None:
                self.is_ended = True
                return
            if message["type"] == "http.disconnect":
                self.is_cut = True
                return
            more = message.get("more_body", False)
            if body := message.pop("body", b""):
                yield body
            del body  # the next may be long in coming

    def end(self, *, at_once: bool = False) -> None:
        """Take no more than what has been sent by now; *at_once*, not even that."""
        now = asyncio.get_running_loop().time()
        if at_once:
            self._last = now
        elif self._last is None:
            self._last = now + _LAST_SECONDS
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(self._deadline())

    async def intake(self) -> AsyncGenerator[Intake]:
        """Yield what can be read by a thread, behind all `chunks`, again and again."""
        intake = self._body.intake
        while intake is not None and intake.left:
            if not await self._in_time(_ready(intake)):
                self.is_ended = True
                return
            if intake.is_cut:
                self.is_cut = True
                return
            yield intake

    async def _in_time(self, waiting: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout_at(self._deadline()) as self._waiting:
                return await waiting
        except TimeoutError:
            return None
        finally:
            self._waiting = None

    def _deadline(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._last is None:
            return now + _HANGING_SECONDS
        return min(self._last, now + _SILENCE_SECONDS)


async def _ready(intake: Intake) -> bool:
    await intake.ready()
    return True
