"""Large bodies, taken from the socket into large blocks.

What uvicorn does for each 64 KiB costs as much as all that is done with them afterwards.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import ClassVar, cast

from starlette.requests import Request
from starlette.types import Message

__all__ = ["BLOCK", "EXTENSION", "Body", "Intake"]

BLOCK = 1 << 20
EXTENSION = "lunette.intake"
"""In the extensions of a scope: what takes so many bytes over from the protocol of HTTP."""

# Below that, uvicorn's own way is as fast.
_LEAST = 256 * 1024
# One is filled while one is looked at and one is written.
_BLOCKS = 3
# That have blocks of their own: what comes beside them is slower.
_MOST = 16
_SCRATCH = 64 * 1024


class Intake(asyncio.BufferedProtocol):
    """Reads the *left* bytes of a body in the place of the protocol *http*, which then goes on.

    What `receive` gives is good until it has been called twice more.
    """

    begun: ClassVar[int] = 0

    def __init__(
        self,
        http: asyncio.Protocol,
        transport: asyncio.Transport,
        left: int,
        ended: Callable[[], None],
    ) -> None:
        self._http = http
        self._transport = transport
        self._left = left
        self._ended = ended
        self._free = [memoryview(bytearray(BLOCK)) for _ in range(_BLOCKS)]
        self._block = self._free.pop()
        self._filled = 0
        self._ready: deque[memoryview] = deque()
        self._given: deque[memoryview] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._is_cut = self._is_hurried = self._is_discarding = self._is_paused = False
        Intake.begun += 1
        transport.set_protocol(self)

    @classmethod
    def is_possible(cls) -> bool:
        """Whether there is memory for another."""
        return cls.begun < _MOST

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._block[self._filled : self._filled + self._left]

    def buffer_updated(self, nbytes: int) -> None:
        self._left -= nbytes
        if not self._is_discarding:
            self._filled += nbytes
            if self._filled == len(self._block) or self._is_hurried or not self._left:
                self._pass_on()
        if not self._left:
            self._hand_back()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_cut = True
        if self._filled:
            self._pass_on()
        self._http.connection_lost(exc)
        self._wake()

    def eof_received(self) -> bool | None:
        return self._http.eof_received()

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    async def receive(self) -> Message:
        """Return the next block as ASGI's `receive` does."""
        if len(self._given) == _BLOCKS - 1:
            self._take_back(self._given.popleft())
        while not self._ready:
            if self._is_cut:
                return {"type": "http.disconnect"}
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        block = self._ready.popleft()
        self._given.append(block)
        more = bool(self._left or self._ready)
        return {"type": "http.request", "body": block, "more_body": more}

    def hurry(self) -> None:
        """Give what comes at once, however little it is."""
        self._is_hurried = True
        if self._filled:
            self._pass_on()

    def discard(self) -> None:
        """Read no more of it than HTTP needs to go on behind it."""
        Intake.begun -= 1
        self._is_discarding = True
        self._free.clear()
        self._block, self._filled = memoryview(bytearray(_SCRATCH if self._left else 0)), 0
        self._resume()

    def _pass_on(self) -> None:
        self._ready.append(self._block[: self._filled])
        self._filled = 0
        if self._free:
            self._block = self._free.pop()
        elif self._left and not self._is_cut:
            self._transport.pause_reading()
            self._is_paused = True
        self._wake()

    def _take_back(self, block: memoryview) -> None:
        whole = memoryview(cast(bytearray, block.obj))
        if self._is_paused:
            self._block = whole
            self._resume()
        else:
            self._free.append(whole)

    def _resume(self) -> None:
        if self._is_paused and not self._is_cut:
            self._is_paused = False
            self._transport.resume_reading()

    def _hand_back(self) -> None:
        self._transport.set_protocol(self._http)
        self._ended()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Body:
    """The body of a *request*, in blocks where it is large: enter it to `receive` from it.

    A block is good until `receive` has been called twice more.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._left = int(request.headers.get("content-length", 0))
        self._intake: Intake | None = None

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        if self._intake is not None:
            self._intake.discard()

    async def receive(self) -> Message:
        """Return the next message of ASGI."""
        if self._intake is not None:
            return await self._intake.receive()
        message = await self._request.receive()  # the client may wait for a word before it sends
        self._left -= len(message.get("body", b""))
        if message.get("more_body", False) and self._left >= _LEAST and Intake.is_possible():
            take_over = self._request.scope.get("extensions", {}).get(EXTENSION)
            self._intake = take_over and take_over(self._left)
        return message

    def hurry(self) -> None:
        """Give what comes at once."""
        if self._intake is not None:
            self._intake.hurry()
