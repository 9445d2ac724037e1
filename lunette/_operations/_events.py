"""Server-sent events (WHATWG HTML, section 9.2), cut out of a stream as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Event", "Events"]

# Far more than an event of a server of ours, which has at most 256 KiB in base64.
_LONGEST = 16 * 1024 * 1024


class Event(NamedTuple):
    """One event; *id* is the last that was said."""

    kind: str
    data: bytes | memoryview
    id: str


class Events:
    """Reads one stream; what an event lacks when the stream is cut is forgotten with it."""

    def __init__(self) -> None:
        self._line: list[bytes] = []  # the beginning of a line, in pieces
        self._length = 0
        self._kind = ""
        self._data: list[memoryview] = []
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that end in *chunk*; raise ValueError where one grows without end."""
        start = 0
        # A line may end by CR LF too; by CR alone no server of this contract ends one.
        while (end := chunk.find(b"\n", start)) >= 0:
            line = chunk[start:end]
            if self._line:
                line = b"".join([*self._line, line])
                self._line.clear()
            start = end + 1
            event = self._take(line.removesuffix(b"\r"))
            if event is not None:
                yield event
        if start < len(chunk):
            self._line.append(chunk[start:])
            self._grow(len(chunk) - start)

    def _take(self, line: bytes) -> Event | None:
        if not line:
            return self._end()
        # A comment is a field without a name.
        colon = line.find(b":")
        name = line if colon < 0 else line[:colon]
        start = len(name) + 1
        if line[start : start + 1] == b" ":
            start += 1
        value = memoryview(line)[start:]  # not copied: most of an event is what a process wrote
        if name == b"data":
            self._data.append(value)
            self._grow(len(value))
        elif name == b"event":
            self._kind = str(value, errors="replace")
        elif name == b"id":
            self._id = str(value, errors="replace")
        return None

    def _end(self) -> Event | None:
        kind, data = self._kind, self._data
        self._kind, self._data, self._length = "", [], 0
        if not data:
            return None
        return Event(kind or "message", data[0] if len(data) == 1 else b"\n".join(data), self._id)

    def _grow(self, size: int) -> None:
        self._length += size
        if self._length > _LONGEST:
            raise ValueError(f"an event of more than {_LONGEST} bytes")
