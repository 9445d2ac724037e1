"""Large bodies, taken from the socket by the thread that writes them.

What uvicorn does for each 64 KiB, and the ways between the loop and a thread, cost more than all
that is done with them.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from time import monotonic

from starlette.requests import Request
from starlette.types import Message

from lunette.server._digests import Digest

__all__ = ["EXTENSION", "Body", "Intake", "Taker"]

EXTENSION = "lunette.intake"
"""In the extensions of a scope: an `Intake` of the rest of its body, so many bytes."""

# Below that, uvicorn's own way is as fast.
_LEAST = 256 * 1024
_BLOCK = 512 * 1024
# What a thread takes before others have their turn.
_SHARE = 16 * 1024 * 1024
# As long as a thread waits for what is on its way, in all that it takes.
_PATIENCE = 0.003
# Of a client that is slow there is not much: more of it gathers before a thread comes again.
_MUCH, _PAUSE = 64 * 1024, 0.005


class Intake:
    """The *left* bytes of a body that are still to be read from *sock*, which ends with them.

    *ended* is told when there are no more, or whoever reads them has enough.
    """

    def __init__(self, sock: socket.socket, left: int, ended: Callable[[Intake], object]) -> None:
        self.left = left
        self.is_cut = self.is_slow = False
        self._sock = sock
        self._ended = ended
        self._waiting: asyncio.Future[None] | None = None

    async def ready(self) -> None:
        """Wait until something can be read, be it that the connection was cut."""
        loop = asyncio.get_running_loop()
        if self.is_slow and not self.is_cut:
            await asyncio.sleep(_PAUSE)
        if self.is_cut:
            return
        self._waiting = loop.create_future()
        loop.add_reader(self._sock, self._wake)
        try:
            await self._waiting
        finally:
            loop.remove_reader(self._sock)
            self._waiting = None

    def cut(self) -> None:
        """Know that the connection is gone."""
        self.is_cut = True
        self._wake()

    def close(self) -> None:
        """Leave the rest to HTTP."""
        self._sock.close()
        self._ended(self)

    def take(self, digest: Digest | None) -> Taker:
        """Return what a thread may call for one block after the other."""
        return Taker(self, self._sock, digest)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Taker:
    """Gives what comes, a block a call, until nothing comes for a moment; *digest* sees each.

    A block is good until the next call.
    """

    def __init__(
        self,
        intake: Intake,
        sock: socket.socket,
        digest: Digest | None,
    ) -> None:
        self.taken = 0
        self._intake = intake
        self._sock = sock
        self._digest = digest
        self._block = memoryview(bytearray(min(_BLOCK, intake.left)))
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._patience = _PATIENCE
        self._is_over = False

    def __call__(self) -> memoryview:
        wanted = min(len(self._block), self._intake.left)
        if self._is_over or self.taken >= _SHARE:
            wanted = 0
        block = self._block[: self._fill(wanted)]
        self.taken += len(block)
        self._intake.left -= len(block)
        self._intake.is_slow = self.taken < _MUCH
        if self._digest is not None:
            self._digest.see(block)
        return block

    def _fill(self, wanted: int) -> int:
        filled = 0
        while filled < wanted and not self._is_over:
            filled += self._read(self._block[filled:wanted])
        return filled

    def _read(self, into: memoryview) -> int:
        try:
            count = self._sock.recv_into(into)
        except BlockingIOError:
            begun = monotonic()
            self._poll.poll(self._patience * 1000)
            self._patience -= monotonic() - begun
            self._is_over = self._patience <= 0
            return 0
        except OSError:
            count = 0
        self._is_over = self._intake.is_cut = not count
        return count


class Body:
    """The body of a *request*: enter it, `receive` its messages, and then what is its `intake`.

    Its first *unwanted* bytes are left out.
    """

    def __init__(self, request: Request) -> None:
        self.intake: Intake | None = None
        self.unwanted = 0
        self._request = request
        self._left = int(request.headers.get("content-length", 0))

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        if self.intake is not None:
            self.intake.close()

    async def receive(self) -> Message:
        """Return the next message of ASGI; what is large ends early, and is left to the intake."""
        message = await self._request.receive()  # the client may wait for a word before it sends
        self._left -= len(message.get("body", b""))
        if self.unwanted:
            self._leave_out(message)
        elif message.get("more_body", False) and self._left >= _LEAST:
            self._begin_intake()
        if self.intake is not None:
            message["more_body"] = False
        return message

    def _leave_out(self, message: Message) -> None:
        body = message.get("body", b"")
        message["body"] = body[self.unwanted :]
        self.unwanted -= len(body) - len(message["body"])

    def _begin_intake(self) -> None:
        begin = self._request.scope.get("extensions", {}).get(EXTENSION)
        if begin is not None:
            self.intake = begin(self._left)
