"""The user's terminal and standard streams, none of which may hold up the event loop.

They are read and written in threads: a terminal that is stopped, a pipe that is full and a file
look the same from there, and the flags of what other programs share stay as they are. The threads
are daemons, since what one waits for may never come.
"""

from __future__ import annotations

import asyncio
import os
import queue
import re
import select
import signal
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, suppress

__all__ = ["Inlet", "Outlet", "Terminal", "write_all"]

_CHUNK = 64 * 1024
_CHUNKS_AHEAD = 32
_USUAL_SIZE = (24, 80)
_ALTERNATE = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")
_LONGEST_SEQUENCE = 8
# The second screen is left by 1049 alone, and only where one is in it: it moves the cursor too.
_LEAVE = b"\x1b[?1049l"
# Of xterm: keypad and cursor keys, all kinds of mouse reports, pasting, colours, the cursor.
_SANE = b"\x1b>\x1b[?1l\x1b[?1000;1002;1003;1004;1006;2004l\x1b[0m\x1b[?25h\r\n"


class Terminal:
    """The terminal that a descriptor is."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._last = b""
        self._is_alternate = False

    def note(self, data: bytes) -> None:
        """Take note of what is shown, for `remedy`."""
        self._last += data
        for found in _ALTERNATE.finditer(self._last):
            self._is_alternate = found[1] == b"h"
        self._last = self._last[-_LONGEST_SEQUENCE:]

    def remedy(self) -> bytes:
        """Return what undoes what a program did that could not end by itself."""
        return _LEAVE + _SANE if self._is_alternate else _SANE

    def size(self) -> tuple[int, int]:
        """Return rows and columns, the usual ones where the terminal does not know."""
        with suppress(OSError):  # it was closed
            columns, rows = os.get_terminal_size(self._descriptor)
            if rows and columns:
                return rows, columns
        return _USUAL_SIZE

    async def resizes(self, known: tuple[int, int]) -> AsyncGenerator[tuple[int, int]]:
        """Yield the size each time that it is another than the *known* one, and later the last."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        changed.set()
        loop.add_signal_handler(signal.SIGWINCH, changed.set)
        try:
            while True:
                await changed.wait()
                changed.clear()
                if self.size() != known:
                    known = self.size()
                    yield known
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)

    @contextmanager
    def raw(self) -> Generator[None]:
        """Let every key come through as it is typed, ^C too; however the block ends, no longer."""
        import termios

        loop = asyncio.get_running_loop()
        before = termios.tcgetattr(self._descriptor)
        try:
            self._make_raw()
            loop.add_signal_handler(signal.SIGCONT, self._come_back)
            yield
        finally:
            loop.remove_signal_handler(signal.SIGCONT)
            with suppress(termios.error):  # it was closed
                # What was typed for a sandbox is no command for this machine.
                termios.tcflush(self._descriptor, termios.TCIFLUSH)
                # At once: what is still to be shown may be stopped for ever.
                termios.tcsetattr(self._descriptor, termios.TCSANOW, before)

    def _make_raw(self) -> None:
        import termios
        import tty

        tty.setraw(self._descriptor, termios.TCSANOW)

    def _come_back(self) -> None:
        """Be raw again after a stop, in which the shell and the window did as they liked."""
        import termios

        with suppress(termios.error):
            self._make_raw()
        signal.raise_signal(signal.SIGWINCH)


class Inlet:
    """Reads a descriptor ahead, until it is closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = threading.Semaphore(_CHUNKS_AHEAD)
        self._ended = False
        self._closing, self._closed = os.pipe()
        threading.Thread(target=self._pump, name="lunette input", daemon=True).start()

    async def read(self) -> bytes:
        """Wait for something to come and return all that has; nothing at the end."""
        found = bytearray()
        while not self._ended and not (found and self._chunks.empty()):
            chunk = await self._chunks.get()
            self._room.release()
            self._ended = not chunk
            found += chunk
        return bytes(found)

    def close(self) -> None:
        """Leave what comes from now on to others."""
        os.close(self._closed)
        self._room.release()

    def _pump(self) -> None:
        with suppress(RuntimeError):  # the loop was closed
            while chunk := self._next():
                self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
            self._loop.call_soon_threadsafe(self._chunks.put_nowait, b"")
        os.close(self._closing)

    def _next(self) -> bytes:
        self._room.acquire()
        while True:
            try:
                ready, _, _ = select.select([self._closing, self._descriptor], [], [])
                return b"" if self._closing in ready else os.read(self._descriptor, _CHUNK)
            except BlockingIOError:  # somebody else was faster
                continue
            except OSError:  # a terminal that was closed
                return b""


class Outlet:
    """Writes to descriptors, in the order of the calls."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[int, bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._pump, name="lunette output", daemon=True).start()

    async def write(self, descriptor: int, data: bytes) -> None:
        """Write all of *data*."""
        written: asyncio.Future[None] = self._loop.create_future()
        self._work.put((descriptor, data, written))
        await written

    def _pump(self) -> None:
        with suppress(RuntimeError):  # the loop was closed
            while True:
                descriptor, data, written = self._work.get()
                try:
                    write_all(descriptor, data)
                except OSError as error:
                    self._loop.call_soon_threadsafe(_settle, written, error)
                else:
                    self._loop.call_soon_threadsafe(_settle, written, None)


def _settle(written: asyncio.Future[None], error: OSError | None) -> None:
    if written.done():  # nobody waits for it any more
        return
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of *data*, however long it takes."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # somebody else made it so
            select.select([], [descriptor], [])
