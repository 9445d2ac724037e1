"""The server's end of a command's terminal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable

from lunette.server.engines.bubblewrap._pipes import Input, Output, broken_pipe
from lunette.server.engines.protocol import TerminalSize

__all__ = ["Terminal"]

_CHUNK = 64 * 1024
_GRACE_SECONDS = 0.05
# More than the kernel holds of what is written to a terminal: tty_buffer.c, n_tty.c.
_MOST_HELD = 128 * 1024
_QUIET_SECONDS = 0.05
_END_OF_FILE = b"\x04"
_CONTROL = 6  # the index of the control characters in what termios gives


class Terminal:
    """A terminal whose master is *fd*: one thing to read, write and resize."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.output = _Screen(fd)
        self.input = _Keyboard(fd)

    def resize(self, size: TerminalSize) -> None:
        if not self.output.closed:
            packed = struct.pack("4H", size.rows, size.columns, 0, 0)
            fcntl.ioctl(self._fd, termios.TIOCSWINSZ, packed)

    def close(self) -> None:
        self.input.close()
        self.output.close()


class _Screen(Output):
    """What a command and all that it started write to its terminal.

    That nobody has it open is no end, until the command has ended: it can be opened again.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._deadline: float | None = None
        self._left = _MOST_HELD
        self._deserted = False
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> bytes:
        if self.ended:
            return b""
        try:
            chunk = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            self._deserted = False
            self.ended = self._deadline is not None and self._loop.time() >= self._deadline
            return b""
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._deserted = True
            self.ended = self._deadline is not None
            return b""
        if self._deadline is not None:
            self._left -= len(chunk)
            self.ended = self._left <= 0
        return chunk

    def finish(self) -> None:
        if self._deadline is None:
            self._deadline = self._loop.time() + _GRACE_SECONDS

    def watch(self, wake: Callable[[], None]) -> None:
        if self.ended:
            return
        if self._deserted:  # then it is always readable
            self._timer = self._loop.call_later(_QUIET_SECONDS, wake)
            return
        super().watch(wake)
        if self._deadline is not None:
            self._timer = self._loop.call_at(self._deadline, wake)

    def unwatch(self) -> None:
        super().unwatch()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        self.unwatch()
        super().close()

    def discard(self) -> None:
        """A terminal goes with its command."""
        if self._deadline is not None:
            self.close()
        else:
            super().discard()

    def _discard(self) -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has it open now
            os.read(self._fd, _CHUNK)
        self._loop.remove_reader(self._fd)
        self._loop.call_later(_QUIET_SECONDS, self.discard)


class _Keyboard(Input):
    """What is typed."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._in_line = False
        self._ended = False

    async def write(self, data: bytes) -> int:
        count = await super().write(data)
        if count:
            self._ended = False
        return count

    def _write(self, data: bytes | memoryview) -> int:
        try:
            count = os.write(self._fd, data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise broken_pipe() from error
        if count:
            self._in_line = data[count - 1] != ord("\n")
        elif data:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return count

    async def end(self) -> None:
        """Type the key for it; what is written afterwards is read by who reads on."""
        if self._ended or self._fd < 0:
            return
        self._ended = True
        try:
            await super().write(b"")  # behind what is typed first
            typed = self._end_of_file()
            while typed:
                typed = typed[await super().write(typed) :]
        except BrokenPipeError:
            pass
        except BaseException:
            self._ended = False
            raise

    def _end_of_file(self) -> bytes:
        """Return what ends the input of who reads lines: behind half a line, only the second."""
        attributes = termios.tcgetattr(self._fd)
        if not attributes[3] & termios.ICANON:
            return _END_OF_FILE
        key: bytes = attributes[_CONTROL][termios.VEOF]
        return key * 2 if self._in_line else key

    def close(self) -> None:
        """The descriptor is the screen's, too, and closed there."""
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            self._fd = -1
            self._rest = memoryview(b"")
            self._has_room()
