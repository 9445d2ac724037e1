"""Pipes to and from a command, read and written on the loop without transports."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from lunette.server.engines.protocol import NoCapacityError

__all__ = ["Input", "InputPipe", "Output", "OutputPipe", "Pipes", "broken_pipe"]

_CHUNK = 256 * 1024
_PIPE, _LARGE_PIPE = 64 * 1024, 1024 * 1024
# A user's pipes may hold 64 MiB together (pipe(7)); beyond that every new one, of whatever program,
# is tiny.
_MOST_LARGE = 16
_DISCARD_SECONDS = 0.05

_large: set[OutputPipe] = set()


class Output(ABC):
    """The end of what a command writes to.

    Nothing is read ahead of who takes it, so that a full one holds the command up.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self.ended = False

    @abstractmethod
    def take(self) -> bytes:
        """Return what is there, which may be nothing; `ended` says whether more can come."""

    @abstractmethod
    def finish(self) -> None:
        """The command has ended: give what it wrote, and not all that its children still write."""

    def watch(self, wake: Callable[[], None]) -> None:
        if not self.ended:
            self._loop.add_reader(self._fd, wake)

    def unwatch(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def discard(self) -> None:
        """Throw away what still comes, so that a child that lives on neither blocks nor dies of
        SIGPIPE; unhurriedly, so that a loud one takes nobody's time.
        """
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._discard)

    def _discard(self) -> None:
        try:
            chunk = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self.close()
            return
        self._loop.remove_reader(self._fd)
        self._loop.call_later(_DISCARD_SECONDS, self.discard)

    def close(self) -> None:
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        self.ended = True


class OutputPipe(Output):
    """The reading end of a command's standard output or error."""

    def __init__(self, *, owner: int | None) -> None:
        reading, self.write_end = os.pipe2(os.O_CLOEXEC)
        super().__init__(reading)
        if owner is not None:
            os.fchown(
                self.write_end, owner, owner
            )  # else `> /dev/stderr` is not allowed to reopen it
        self._left: int | None = None

    def take(self) -> bytes:
        if self.ended:
            return b""
        try:
            chunk = os.read(self._fd, _CHUNK if self._left is None else min(_CHUNK, self._left))
        except BlockingIOError:
            # After the end nothing more is owed, even if a child took back what `finish` counted.
            self.ended = self._left is not None
            return b""
        if self._left is not None:
            self._left -= len(chunk)
        elif len(chunk) == _PIPE:  # it was full: this one is loud
            self._enlarge()
        self.ended = not chunk or self._left == 0
        return chunk

    def finish(self) -> None:
        if not self.ended and self._left is None:
            self._left = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4))[0]
            self.ended = self._left == 0

    def _enlarge(self) -> None:
        if self in _large or len(_large) >= _MOST_LARGE:
            return
        with contextlib.suppress(OSError):  # this user has enough, or the machine
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _LARGE_PIPE)
            _large.add(self)

    def close(self) -> None:
        _large.discard(self)
        super().close()


class Input(ABC):
    """The end of what a command reads from, which is *fd*."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._rest = memoryview(b"")
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def begin(self, content: bytes) -> None:
        """Write *content* as the command takes it; one that stops reading loses the rest."""
        self._rest = memoryview(content)
        self._advance()

    async def write(self, data: bytes) -> int:
        """See `Process.write` in the engine protocol."""
        while True:
            if self._fd < 0:
                raise broken_pipe()
            if not self._rest:
                with contextlib.suppress(BlockingIOError):
                    return self._write(data)
            await self._wait_for_room()

    def _write(self, data: bytes | memoryview) -> int:
        return os.write(self._fd, data)

    async def drained(self) -> None:
        """See `Process.drained` in the engine protocol."""
        if self._rest:
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        if self._room is None:
            self._room = self._loop.create_future()
            self._loop.add_writer(self._fd, self._advance)
        await asyncio.wait([self._room])  # which leaves it alone when this is cancelled

    def _advance(self) -> None:
        """Write what waits, then let others."""
        try:
            while self._rest:
                self._rest = self._rest[self._write(self._rest) :]
            self._rest = memoryview(b"")  # an empty end still holds the whole
        except BlockingIOError:
            self._loop.add_writer(self._fd, self._advance)
            return
        except BrokenPipeError:
            self.close()
            return
        self._has_room()

    def _has_room(self) -> None:
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
        room, self._room = self._room, None
        if room is not None:
            room.set_result(None)

    @abstractmethod
    async def end(self) -> None:
        """Let the command see the end of it, behind what was written."""

    @abstractmethod
    def close(self) -> None:
        """Whoever writes, or is about to, gets BrokenPipeError."""


class InputPipe(Input):
    """The writing end of a command's standard input."""

    def __init__(self, *, owner: int | None) -> None:
        self.read_end, writing = os.pipe2(os.O_CLOEXEC)
        super().__init__(writing)
        self._ending = False
        if owner is not None:
            os.fchown(self.read_end, owner, owner)

    async def write(self, data: bytes) -> int:
        if self._ending:
            raise broken_pipe()
        return await super().write(data)

    def _has_room(self) -> None:
        super()._has_room()
        if self._ending:
            self.close()

    async def end(self) -> None:
        self.end_behind()

    def end_behind(self) -> None:
        """Close it when what `begin` was given is written."""
        self._ending = True
        if not self._rest:
            self.close()

    def close(self) -> None:
        if self._fd < 0:
            return
        self._loop.remove_writer(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._rest = memoryview(b"")
        super()._has_room()


class Pipes:
    """What connects one command to the server."""

    def __init__(self, owner: int | None, *, wants_input: bool) -> None:
        try:
            with contextlib.ExitStack() as undo:
                self.stdout = OutputPipe(owner=owner)
                undo.callback(_abandon, self.stdout, self.stdout.write_end)
                self.stderr = OutputPipe(owner=owner)
                undo.callback(_abandon, self.stderr, self.stderr.write_end)
                self.stdin = InputPipe(owner=owner) if wants_input else None
                undo.pop_all()
        except OSError as error:
            raise NoCapacityError(f"no pipes for another command: {error.strerror}") from error
        read_ends = [self.stdin.read_end] if self.stdin else []
        self.given = [*read_ends, self.stdout.write_end, self.stderr.write_end]

    @property
    def outputs(self) -> tuple[tuple[Literal[1, 2], Output], ...]:
        return ((1, self.stdout), (2, self.stderr))

    def close_given(self) -> None:
        """Close the command's ends."""
        for fd in self.given:
            os.close(fd)

    def close(self) -> None:
        """Close the server's ends."""
        self.stdout.close()
        self.stderr.close()
        if self.stdin is not None:
            self.stdin.close()


def broken_pipe() -> BrokenPipeError:
    """Make the error of a standard input that nobody reads."""
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _abandon(pipe: OutputPipe, other_end: int) -> None:
    pipe.close()
    os.close(other_end)
