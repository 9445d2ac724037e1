"""Pipes to and from a command, read and written on the loop without transports."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Callable

from lunette.server.engines.protocol import NoCapacityError

__all__ = ["InputPipe", "OutputPipe", "Pipes"]

_CHUNK = 256 * 1024
_DISCARD_SECONDS = 0.05


class OutputPipe:
    """The reading end of a command's standard output or error.

    Nothing is read ahead of who takes it, so that a full pipe holds the command up.
    """

    def __init__(self, *, owner: int | None) -> None:
        self._fd, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        if owner is not None:
            os.fchown(
                self.write_end, owner, owner
            )  # else `> /dev/stderr` is not allowed to reopen it
        self._loop = asyncio.get_running_loop()
        self._left: int | None = None
        self.ended = False

    def take(self) -> bytes:
        """Return what is there, which may be nothing; `ended` says whether more can come."""
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
        self.ended = not chunk or self._left == 0
        return chunk

    def finish(self) -> None:
        """The command has ended: give what is in the pipe now, and nothing that its children still
        write.
        """
        if not self.ended and self._left is None:
            self._left = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4))[0]
            self.ended = self._left == 0

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


class InputPipe:
    """The writing end of a command's standard input."""

    def __init__(self, *, owner: int | None) -> None:
        self.read_end, self._fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        if owner is not None:
            os.fchown(self.read_end, owner, owner)
        self._loop = asyncio.get_running_loop()
        self._rest = memoryview(b"")

    def write_and_close(self, content: bytes) -> None:
        """Write *content* as the command takes it; one that stops reading loses the rest."""
        self._rest = memoryview(content)
        self._loop.add_writer(self._fd, self._write)
        self._write()

    def _write(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1


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


def _abandon(pipe: OutputPipe, other_end: int) -> None:
    pipe.close()
    os.close(other_end)
