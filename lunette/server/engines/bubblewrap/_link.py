"""The server's end of the socket to the fork server or to a worker."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from lunette.server.engines.bubblewrap.inside import wire
from lunette.server.engines.bubblewrap.inside.wire import Message

__all__ = ["DeadLinkError", "Link", "set_done"]

Answer = tuple[Message, list[int]]


class DeadLinkError(Exception):
    """The other side is gone or does not answer."""


def set_done(future: asyncio.Future[None]) -> None:
    """Wake who waits for *future*, once."""
    if not future.done():
        future.set_result(None)


class Link:
    """Sends messages and hands answers to those who wait; never blocks the loop.

    A message with an `id` is answered by one with the same. What comes without being waited for
    goes to `unasked`. An answer that does not come in time is told to `late`, whether somebody
    still waits or not: the other side hangs.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.unasked: Callable[[Message], None] = lambda _: None
        self.late: Callable[[], None] = self.close
        self._waiting: dict[int | None, asyncio.Future[Answer]] = {}
        self._next_id = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._receive)
        self.closed: asyncio.Future[None] = self._loop.create_future()

    async def ask(self, message: Message, fds: Sequence[int] = (), *, deadline: float) -> Answer:
        """Send *message* and return its answer and descriptors, which are the caller's to close.

        Raise DeadLinkError if the other side is gone or needs more than *deadline* seconds.
        """
        self._next_id += 1
        await self._send({**message, "id": self._next_id}, fds)
        return await self._answer(self._next_id, deadline)

    async def open(
        self, message: Message | None = None, fds: Sequence[int] = (), *, deadline: float
    ) -> Answer:
        """Send the first *message*, if there is one, and return the other side's first word."""
        if message is not None:
            await self._send(message, fds)
        return await self._answer(None, deadline)

    async def _send(self, message: Message, fds: Sequence[int]) -> None:
        while True:
            if self.closed.done():
                raise DeadLinkError("the other side is gone")
            try:
                wire.send(self._sock, message, fds)
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                raise DeadLinkError(str(error)) from error
            else:
                return

    async def _answer(self, message_id: int | None, deadline: float) -> Answer:
        if self.closed.done():
            raise DeadLinkError("the other side is gone")
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[message_id] = answer
        timer = self._loop.call_later(deadline, self._too_late, message_id)
        found = await answer
        timer.cancel()  # not if the caller is cancelled: the other side may hang all the same
        return found

    def _too_late(self, message_id: int | None) -> None:
        answer = self._waiting.pop(message_id, None)
        if answer is None:
            return
        self.late()
        if not answer.done():
            answer.set_exception(DeadLinkError("the other side does not answer"))

    async def _writable(self) -> None:
        """The buffer is full: wait for room. Rare, so that who waits may share one wake-up."""
        room = self._loop.create_future()
        self._loop.add_writer(self._sock, lambda: set_done(room))
        try:
            await room
        finally:
            self._loop.remove_writer(self._sock)

    def _receive(self) -> None:
        try:
            received = wire.receive(self._sock)
        except BlockingIOError:  # a spurious wake-up
            return
        except OSError:
            received = None
        if received is None:
            self.close()
            return
        message, fds = received
        answer = None if "exit" in message else self._waiting.pop(message.get("id"), None)
        if answer is not None and not answer.done():
            answer.set_result((message, fds))
            return
        for fd in fds:  # who asked does not wait any more
            os.close(fd)
        self.unasked(message)

    def close(self) -> None:
        """Hang up; whoever waits for an answer gets DeadLinkError."""
        if self.closed.done():
            return
        self._loop.remove_reader(self._sock)
        self._sock.close()
        self.closed.set_result(None)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(DeadLinkError("the other side is gone"))
