"""An open file of a sandbox whose methods are awaited.

Python's own buffers and text are on top of it, as of a file that blocks. They must never ask for
what is not there yet: so first as much is read as one step can take, and then the step is made.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, AnyStr, Generic, Self

from ._operations import _opening
from ._operations._opening import LARGEST, PART
from ._remote_file import Window, abort_in_a_thread, stacked
from .errors import LunetteError

if TYPE_CHECKING:
    from ._connector import Link
    from ._file_modes import Opening
    from ._operations._opening import Readable, Writing

__all__ = ["AsyncFile", "aopen_file"]

# As many characters or bytes as one step takes, and as many bytes as it can need for them: none of
# the encodings below takes more than eight for a character, and the buffers read ahead.
_STEP = 16 * 1024
_AHEAD = 256 * 1024
_ENCODINGS = frozenset({"ascii", "cp1252", "iso8859-1", "utf-8", "utf-8-sig"}) | {
    f"utf-{bits}{order}" for bits in (16, 32) for order in ("", "-le", "-be")
}
# Those that give a character for whatever they read.
_ERRORS = frozenset(
    {None, "backslashreplace", "replace", "strict", "surrogateescape", "surrogatepass"}
)


class _MissingError(Exception):
    """A step asked for what was not read yet."""


class _Window(Window):
    def load(self, count: int) -> None:
        raise _MissingError


class _Sink(io.RawIOBase):
    """What was written, until it is sent."""

    def __init__(self, opening: Opening) -> None:
        self.name = opening.path
        self.mode = opening.mode
        self.is_new = False
        self.held = bytearray()
        self._taken: int | None = None if opening.action == "a" else 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.is_new and self._taken is not None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        self.held += view
        return len(view)

    def tell(self) -> int:
        if self._taken is None:
            raise io.UnsupportedOperation("where a file ends that is appended to is not known")
        return self._taken + len(self.held)

    def take(self) -> bytes:
        """Hand out what is held."""
        data = bytes(self.held)
        self.held.clear()
        if self._taken is not None:
            self._taken += len(data)
        return data


class AsyncFile(Generic[AnyStr]):
    """An open file of a sandbox, made by `files.aopen`, for one task at a time.

    Its methods are those of Python's files, awaited; `async for line in file` gives its lines, and
    `async with` closes it. One that is written is there when it is closed, and not at all after an
    error in its `async with`; what is appended is there as it is flushed.
    """

    def __init__(
        self,
        link: Link,
        opening: Opening,
        *,
        reads: Readable | None = None,
        writes: Writing | None = None,
    ) -> None:
        import anyio  # not to be paid for by who blocks

        self.name = opening.path
        self.mode = opening.mode
        self._link = link
        self._window = None if reads is None else _Window(reads, opening.mode)
        self._sink = _Sink(opening) if reads is None else None
        self._file: Any = stacked(self._window or self._sink, opening)
        self._empty: Any = b"" if opening.is_binary else ""
        self._ends: Any = (b"\n",) if opening.is_binary else _line_ends(opening.newline)
        self._splits_ends = opening.newline in ("", "\r\n")
        self._ahead = _AHEAD if opening.is_binary or _is_known(opening) else None
        self._writing = writes
        self._error: Exception | None = None
        self._turn = anyio.Lock()

    def __repr__(self) -> str:
        return f"AsyncFile(name={self.name!r}, mode={self.mode!r}, closed={self.closed})"

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return bool(self._file.closed)

    async def read(self, size: int | None = -1) -> AnyStr:
        """Read so many characters or bytes, fewer at its end alone; by default all."""
        if size is None or size < 0:
            await self._fill(None)
            rest: AnyStr = self._file.read()
            return rest
        parts: list[AnyStr] = []
        while size > 0:
            await self._fill(self._ahead)
            part: AnyStr = self._file.read(min(size, _STEP))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        whole: AnyStr = self._empty.join(parts)
        return whole

    async def readline(self, size: int | None = -1) -> AnyStr:
        """Read a line with its end, or so much of it."""
        limit = -1 if size is None else size
        await self._fill(self._ahead)
        if 0 <= limit <= _STEP:
            short: AnyStr = self._file.readline(limit)
            return short
        line: AnyStr = self._file.readline(_STEP)
        return line if len(line) < _STEP else await self._long_line(line, limit)

    async def readlines(self, hint: int | None = -1) -> list[AnyStr]:
        """Read lines until they have more than *hint* characters or bytes; by default all."""
        lines: list[AnyStr] = []
        size = 0
        while line := await self.readline():
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint < size:
                break
        return lines

    async def write(self, data: AnyStr) -> int:
        """Write text or bytes, and return how many characters or bytes they are."""
        size = 0
        for part in _slices(data):
            size += self._file.write(part)
            if self._sink is not None and len(self._sink.held) >= PART:
                await self._send()
        return size

    async def writelines(self, lines: Iterable[AnyStr]) -> None:
        """Write one after the other; their ends are theirs to have."""
        for line in lines:
            await self.write(line)

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place of a file that is read; in a text only to one that `tell` has named."""
        while True:
            try:
                place: int = self._file.seek(offset, whence)
            except _MissingError:
                await self._fill(1)
            else:
                return place

    async def tell(self) -> int:
        """Return the place in the file."""
        place: int = self._file.tell()
        return place

    async def flush(self) -> None:
        """Send what was written; it is to be seen before the file is closed only if appended."""
        self._file.flush()
        await self._send()

    async def close(self) -> None:
        """Close it; one that was written is there then. Once more is no error."""
        if self.closed:
            return
        if self._writing is None:
            self._file.close()
            return
        try:
            await self.flush()
            await self._link.arun(self._writing.commit)
        except BaseException:
            await self._abort(self._writing)
            raise
        self._file.close()

    def __aiter__(self) -> AsyncIterator[AnyStr]:
        return self

    async def __anext__(self) -> AnyStr:
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None or self._writing is None or self.closed:
            await self.close()
        else:
            await self._abort(self._writing)

    def __del__(self) -> None:
        writing = getattr(self, "_writing", None)
        if writing is None or self.closed:
            return
        self._file.close()
        abort_in_a_thread(self._link, writing)
        message = f"{self.name!r} in the sandbox was not closed, and so not written"
        warnings.warn(message, ResourceWarning, source=self, stacklevel=2)

    async def _long_line(self, line: AnyStr, limit: int) -> AnyStr:
        """Go on with a *line* of which one step has not read the end, or not for sure."""
        parts, size = [line], len(line)
        while size != limit and line and not await self._is_ended(line, parts):
            await self._fill(self._ahead)
            line = self._file.readline(_STEP if limit < 0 else min(_STEP, limit - size))
            parts.append(line)
            size += len(line)
        whole: AnyStr = self._empty.join(parts)
        return whole

    async def _is_ended(self, part: AnyStr, parts: list[AnyStr]) -> bool:
        """Whether a line ends with *part*; what else belongs to it is added to *parts*."""
        if not self._splits_ends or part[-1:] != "\r":
            return part.endswith(self._ends)
        # The step may have ended within a line's end.
        await self._fill(self._ahead)
        place = self._file.tell()
        following: AnyStr = self._file.read(1)
        if following == "\n":
            parts.append(following)
            return True
        await self.seek(place)
        return "\r" in self._ends

    async def _fill(self, count: int | None) -> None:
        """Have *count* bytes read ahead, or all that there are."""
        window = self._window
        if window is None or self.closed:
            return
        size = window.file.size
        while window.end < (target := size if count is None else min(size, window.at + count)):
            async with self._turn:
                at, end = window.at, window.end
                block = await self._read(window.file, end, target)
                if (window.at, window.end) == (at, end):
                    window.show(block)

    async def _read(self, file: Readable, start: int, stop: int) -> bytes:
        parts: list[bytes] = []
        while start < stop:
            count = min(max(PART, stop - start), LARGEST)
            part = await self._link.arun(
                _opening.read_part, self._link.sandbox_id, file, start, count
            )
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    async def _send(self) -> None:
        if self._sink is None or self._writing is None:
            return
        async with self._turn:
            if self._error is not None:
                raise self._error
            if data := self._sink.take():
                await self._write(self._writing, data)

    async def _write(self, writing: Writing, data: bytes) -> None:
        try:
            await self._link.arun(writing.write, data)
        except Exception as error:
            self._error = error
            raise
        except BaseException:
            self._error = OSError(errno.EIO, "a write was interrupted (in the sandbox)", self.name)
            raise

    async def _abort(self, writing: Writing) -> None:
        self._file.close()
        with suppress(LunetteError):  # such as that the sandbox is gone, and the file with it
            await self._link.arun(writing.abort)


def _line_ends(newline: str | None) -> tuple[str, ...]:
    return ("\n", "\r") if newline == "" else (newline or "\n",)


def _is_known(opening: Opening) -> bool:
    """Whether it is known how many bytes a character can take."""
    if opening.errors not in _ERRORS or opening.encoding in {None, "locale"}:
        return False
    return codecs.lookup(str(opening.encoding)).name in _ENCODINGS


def _slices(data: Any) -> Iterator[Any]:
    """Cut what is to be written, so that it is not held twice."""
    if not isinstance(data, str):
        try:
            data = memoryview(data).cast("B")
        except TypeError:  # Python's own file says what it is
            yield data
            return
    for start in range(0, len(data) or 1, PART):
        yield data[start : start + PART]


async def aopen_file(link: Link, opening: Opening) -> AsyncFile[Any]:
    """Open a file of a sandbox, and await where it waits."""
    if opening.action == "r":
        reads = await link.arun(_opening.open_to_read, link.sandbox_id, opening.path)
        return AsyncFile(link, opening, reads=reads)
    writes = await link.arun(
        _opening.open_to_write, link.sandbox_id, opening.path, opening.if_exists
    )
    return AsyncFile(link, opening, writes=writes)
