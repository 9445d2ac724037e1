"""The server's end of the socket to the fork server or to a worker."""

from __future__ import annotations

import asyncio
import contextlib
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

    A message with an `id` is answered by one with the same. What comes without being asked for goes
    to `unasked`.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.unasked: Callable[[Message], None] = lambda _: None
        self._waiting: dict[int | None, asyncio.Future[Answer]] = {}
        self._next_id = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._receive)
        self.closed: asyncio.Future[None] = self._loop.create_future()

    async def ask(self, message: Message, fds: Sequence[int] = (), *, deadline: float) -> Answer:
        """Send *message* and return its answer and descriptors, which are the caller's to close.

        The fork server has had its own process stopped between vfork and exec when no answer comes
        within *deadline* seconds, or worse: then DeadLinkError.
        """
        self._next_id += 1
        async with asyncio.timeout(deadline):
            return await self._ask(self._next_id, message, fds)

    async def open(
        self, message: Message | None = None, fds: Sequence[int] = (), *, deadline: float
    ) -> Answer:
        """Send the first *message*, if there is one, and return the other side's first word."""
        async with asyncio.timeout(deadline):
            if message is None:
                return await self._answer_to(None)
            return await self._ask(None, message, fds)

    async def _ask(self, message_id: int | None, message: Message, fds: Sequence[int]) -> Answer:
        while True:
            if self.closed.done():
                raise DeadLinkError("the other side is gone")
            try:
                wire.send(self._sock, {**message, "id": message_id}, fds)
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                raise DeadLinkError(str(error)) from error
            else:
                return await self._answer_to(message_id)

    async def _answer_to(self, message_id: int | None) -> Answer:
        if self.closed.done():
            raise DeadLinkError("the other side is gone")
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[message_id] = answer
        try:
            return await answer
        finally:
            self._waiting.pop(message_id, None)

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
        answer = self._waiting.get(message.get("id"))
        if answer is not None and not answer.done() and "exit" not in message:
            answer.set_result((message, fds))
            return
        for fd in fds:  # nobody waits any more
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

    async def wait_closed(self, *, deadline: float) -> None:
        """Wait until the other side hung up, but no longer than *deadline* seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await asyncio.shield(self.closed)
