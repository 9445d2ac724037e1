"""An open file of a sandbox, as Python's own.

What the wire needs is at the bottom, as the raw file under Python's buffers and text: a `Window`
of what was read, or a `Sink` of what is to be written. The rest is Python's, and so are its rules.
"""

from __future__ import annotations

import errno
import io
import os
import threading
import warnings
from abc import abstractmethod
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._operations import _opening
from ._operations._opening import LARGEST, PART
from .errors import LunetteError

if TYPE_CHECKING:
    from ._connector import Link
    from ._file_modes import Opening
    from ._operations._opening import Readable, Writing

__all__ = ["RemoteSink", "RemoteWindow", "Window", "abort_in_a_thread", "open_file", "stacked"]

# Python's buffer is on top of the window, and should not be as large.
_BUFFER = 64 * 1024


class Window(io.RawIOBase):
    """The part of a file that was read last, around the place where it is read."""

    def __init__(self, file: Readable, mode: str) -> None:
        self.name = file.path
        self.mode = mode
        self.file = file
        self.at = 0
        self._block = file.first
        self._begin = 0

    @property
    def end(self) -> int:
        """Where what was read ends; the place itself, if that is not in it."""
        end = self._begin + len(self._block)
        return end if self._begin <= self.at <= end else self.at

    def show(self, block: bytes) -> None:
        """Take what was read from `end` on."""
        kept = self._block[self.at - self._begin :] if self.end > self.at else b""
        self._begin, self._block = self.at, kept + block

    @abstractmethod
    def load(self, count: int) -> None:
        """Read *count* bytes from `end` on."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        if self.at >= self.file.size or not len(view):
            return 0
        if self.end <= self.at:
            self.load(min(max(PART, len(view)), LARGEST))
        start = self.at - self._begin
        part = memoryview(self._block)[start : start + len(view)]
        view[: len(part)] = part
        self.at += len(part)
        return len(part)

    def readall(self) -> bytes:
        self._check_open()
        parts: list[bytes] = []
        while self.at < self.file.size:
            if self.end <= self.at:
                self.load(LARGEST)
            parts.append(self._block[self.at - self._begin :])
            self.at += len(parts[-1])
        return b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_open()
        begins = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.file.size}
        if whence not in begins:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if begins[whence] + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self.name)
        self.at = begins[whence] + offset
        return self.at

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")


class RemoteWindow(Window):
    """A window that reads by blocking."""

    def __init__(self, link: Link, file: Readable, mode: str) -> None:
        super().__init__(file, mode)
        self._link = link

    def load(self, count: int) -> None:
        link = self._link
        at = self.end
        self.show(link.run(_opening.read_part, link.sandbox_id, self.file, at, count))


class RemoteSink(io.RawIOBase):
    """A file on its way into the sandbox, all of it or nothing: `close` gives it its name."""

    def __init__(self, link: Link, writing: Writing, opening: Opening) -> None:
        self.name = opening.path
        self.mode = opening.mode
        self._link = link
        self._writing = writing
        self._error: BaseException | None = None
        self.is_new = False
        self._dropped = False
        self._forgotten = False
        self._size: int | None = None if opening.action == "a" else 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.is_new and self._size is not None

    def write(self, data: Any, /) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        view = memoryview(data).cast("B")[:LARGEST]
        if self._dropped:
            return len(view)
        if self._error is not None:
            raise self._error
        try:
            self._link.run(self._writing.write, bytes(view))
        except BaseException as error:
            self._error = error
            raise
        if self._size is not None:
            self._size += len(view)
        return len(view)

    def tell(self) -> int:
        if self._size is None:
            raise io.UnsupportedOperation("where a file ends that is appended to is not known")
        return self._size

    def drop(self) -> None:
        """Take nothing more, and leave nothing of it."""
        self._dropped = True

    def forget(self) -> None:
        """Drop what nobody has closed."""
        self._dropped = self._forgotten = True

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if not self._dropped and self._error is None:
            self._commit()
        elif self._forgotten:
            abort_in_a_thread(self._link, self._writing)
        else:
            self._abort()

    def _commit(self) -> None:
        try:
            self._link.run(self._writing.commit)
        except BaseException:
            self._abort()
            raise

    def _abort(self) -> None:
        with suppress(LunetteError):  # such as that the sandbox is gone, and the file with it
            self._link.run(self._writing.abort)


def abort_in_a_thread(link: Link, writing: Writing) -> None:
    """Abort what nobody has closed; its collection can come at any time, in the midst of a call."""

    def abort() -> None:
        with suppress(LunetteError):
            link.run(writing.abort)

    with suppress(RuntimeError):  # at the end of the program; the server gives it up by itself
        threading.Thread(target=abort, name="lunette-abort", daemon=True).start()


class _AllOrNothing:
    """Leaves nothing of a file after an error in its `with`, or when nobody has closed it."""

    _sink: RemoteSink | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and self._sink is not None:
            self._sink.drop()
        self.close()  # type: ignore[attr-defined]

    def __del__(self) -> None:
        sink = self._sink
        if sink is None or sink.closed:
            return
        sink.forget()
        with suppress(ValueError):  # it was detached from what is under it
            self.close()  # type: ignore[attr-defined]
        message = f"{sink.name!r} in the sandbox was not closed, and so not written"
        warnings.warn(message, ResourceWarning, source=self, stacklevel=2)


class RemoteWriter(_AllOrNothing, io.BufferedWriter):
    """A binary file that is written."""


class RemoteTextWriter(_AllOrNothing, io.TextIOWrapper):
    """A text file that is written."""


def stacked(raw: Any, opening: Opening) -> Any:
    """Put on a *raw* file what Python's own `open` puts there."""
    sink = raw if isinstance(raw, RemoteSink) else None
    if raw.readable():
        buffered: Any = io.BufferedReader(raw, _BUFFER)
    elif sink is None:
        buffered = io.BufferedWriter(raw, _BUFFER)
    else:
        buffered = RemoteWriter(raw, PART)
        buffered._sink = sink
    if opening.is_binary:
        return buffered
    kind = io.TextIOWrapper if sink is None else RemoteTextWriter
    with _as_seekable(raw):
        text: Any = kind(buffered, opening.encoding, opening.errors, opening.newline)
    text.mode = opening.mode
    if sink is not None:
        text._sink = sink
    return text


@contextmanager
def _as_seekable(raw: Any) -> Generator[None]:
    """Let Python ask where a file begins that is written: only there UTF-16 has its mark."""
    raw.is_new = True
    yield
    raw.is_new = False


def open_file(link: Link, opening: Opening) -> Any:
    """Open a file of a sandbox, and block where it waits."""
    if opening.action == "r":
        file = link.run(_opening.open_to_read, link.sandbox_id, opening.path)
        return stacked(RemoteWindow(link, file, opening.mode), opening)
    writing = link.run(_opening.open_to_write, link.sandbox_id, opening.path, opening.if_exists)
    return stacked(RemoteSink(link, writing, opening), opening)
