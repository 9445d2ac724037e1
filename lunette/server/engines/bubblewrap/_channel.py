"""The server's end of the socket to the fork server or to a worker."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Sequence

from lunette.server.engines.bubblewrap.inside import wire
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import NoCapacityError

__all__ = ["Channel", "DeadChannelError", "set_done"]

Answer = tuple[Message, list[int]]

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS}


class DeadChannelError(Exception):
    """The other side is gone or does not answer."""


def set_done(future: asyncio.Future[None]) -> None:
    """Wake who waits for *future*, once."""
    if not future.done():
        future.set_result(None)


class Channel:
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
        self._held: dict[int, int] = {}  # descriptors, by the messages whose answers bring one
        self._next_id = 0
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._receive)
        self.closed: asyncio.Future[None] = self._loop.create_future()

    async def ask(
        self, message: Message, fds: Sequence[int] = (), *, deadline: float, room: bool = False
    ) -> Answer:
        """Send *message* and return its answer and descriptors, which are the caller's to close.

        Raise DeadChannelError if the other side is gone or needs more than *deadline* seconds, and
        NoCapacityError if nothing was sent for want of memory or descriptors. With *room*, one that
        the answer will bring has its place before anything is sent.
        """
        self._next_id += 1
        message_id = self._next_id
        if room:
            self._hold(message_id)
        try:
            await self._send({**message, "id": message_id}, fds, deadline)
            return await self._answer(message_id, deadline)
        finally:
            self._let_go(message_id)

    def _hold(self, message_id: int) -> None:
        try:
            self._held[message_id] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NoCapacityError(f"nothing was sent: {error.strerror}") from error

    def _let_go(self, message_id: int) -> None:
        if (fd := self._held.pop(message_id, None)) is not None:
            os.close(fd)

    async def open(
        self, message: Message | None = None, fds: Sequence[int] = (), *, deadline: float
    ) -> Answer:
        """Send the first *message*, if there is one, and return the other side's first word."""
        if message is not None:
            await self._send(message, fds, deadline)
        return await self._answer(None, deadline)

    def tell(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send *message*, one of few, to who may have ended: what it said last is still received.

        Answers go to `unasked`. Raise as `ask`.
        """
        self._check()
        try:
            wire.send(self._sock, message, fds)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise NoCapacityError(f"nothing was sent: {error.strerror}") from error
            raise DeadChannelError("the other side is gone") from error

    async def _send(self, message: Message, fds: Sequence[int], deadline: float) -> None:
        while True:
            self._check()
            try:
                wire.send(self._sock, message, fds)
            except BlockingIOError:
                await self._wait_for_room(deadline)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise NoCapacityError(f"nothing was sent: {error.strerror}") from error
                self.close()
            else:
                return

    def _check(self) -> None:
        if self.closed.done():
            raise DeadChannelError("the other side is gone")

    async def _wait_for_room(self, deadline: float) -> None:
        """The socket's buffer is full: wait with all who also have something to send."""
        if self._room is None:
            self._room = self._loop.create_future()
            self._loop.add_writer(self._sock, self._has_room)
        try:
            async with asyncio.timeout(deadline):
                await asyncio.shield(self._room)
        except TimeoutError:
            self.late()
            raise DeadChannelError("the other side does not read") from None

    def _has_room(self) -> None:
        self._loop.remove_writer(self._sock)
        room, self._room = self._room, None
        if room is not None:
            set_done(room)

    async def _answer(self, message_id: int | None, deadline: float) -> Answer:
        self._check()
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[message_id] = answer
        timer = self._loop.call_later(deadline, self._too_late, message_id)
        try:
            found = await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self._unwanted(*answer.result())  # it came just before
            raise
        timer.cancel()  # not if the caller is cancelled: the other side may hang all the same
        return found

    def _too_late(self, message_id: int | None) -> None:
        answer = self._waiting.pop(message_id, None)
        if answer is None:
            return
        self.late()
        if not answer.done():
            answer.set_exception(DeadChannelError("the other side does not answer"))

    def _receive(self) -> None:
        for message_id in list(self._held)[:1]:
            self._receive_with_room(message_id)
            return
        self._receive_one()

    def _receive_with_room(self, message_id: int) -> None:
        """What comes may not be the answer that this place is held for, so it is taken again."""
        self._let_go(message_id)
        self._receive_one()
        if message_id in self._waiting:
            with contextlib.suppress(NoCapacityError):
                self._hold(message_id)

    def _receive_one(self) -> None:
        try:
            received = wire.receive(self._sock)
        except BlockingIOError:  # a spurious wake-up
            return
        except OSError:
            received = None
        if received is None or not _is_told(received[0]):
            self._give_up(received)
            return
        message, fds = received
        answer = None if "exit" in message else self._waiting.pop(message.get("id"), None)
        if answer is not None and not answer.done():
            answer.set_result((message, fds))
            return
        self._unwanted(message, fds)

    def _give_up(self, received: Answer | None) -> None:
        """The other side is gone, or whoever sends there is not it."""
        for fd in received[1] if received else ():
            os.close(fd)
        self.close()

    def _unwanted(self, message: Message, fds: list[int]) -> None:
        """Who asked does not wait any more."""
        for fd in fds:
            os.close(fd)
        self.unasked(message)

    def close(self) -> None:
        """Hang up; whoever waits for an answer gets DeadChannelError."""
        if self.closed.done():
            return
        self._loop.remove_reader(self._sock)
        self._has_room()
        self._sock.close()
        self.closed.set_result(None)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(DeadChannelError("the other side is gone"))
        self._waiting.clear()


def _is_told(message: Message) -> bool:
    """Whether *message* is an answer, a first word or the end of a command."""
    ended = isinstance(message["exit"], int) if "exit" in message else True
    return ended and isinstance(message.get("id"), int if "exit" in message else int | None)
