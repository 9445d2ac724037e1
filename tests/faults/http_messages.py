"""Where an HTTP/1.1 message ends, and its parts."""

from __future__ import annotations

import re


class Message:
    """One HTTP/1.1 message: how far it has come and where it ends."""

    def __init__(self, head: bytes, request: bytes | None = None) -> None:
        """Begin with a *head*, which is that of the answer to *request* if there is one."""
        self.head = head
        self.passed = len(head)
        self._size = _size(head, request)
        self._chunked = self._size is None and _field(head, b"transfer-encoding") == b"chunked"
        self._left, self._line, self._trailer = self._size or 0, b"", False
        self.done = self._size == 0

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Part what belongs to the message from what comes after it."""
        end = self._chunks(data) if self._chunked else self._bytes(data)
        self.passed += end
        return data[:end], data[end:]

    def extent(self, part: str) -> tuple[int, int | None]:
        """Say where a part begins and, once it is known, how long it is."""
        head = len(self.head)
        if part == "head":
            return 0, head
        size = self.passed - head if self.done else self._size
        return (head, size) if part == "body" else (0, None if size is None else head + size)

    def _bytes(self, data: bytes) -> int:
        if self._size is None:
            return len(data)
        end = min(self._left, len(data))
        self._left -= end
        self.done = not self._left
        return end

    def _chunks(self, data: bytes) -> int:
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if self._line.endswith(b"\n"):
                self._end_line()
        return at

    def _end_line(self) -> None:
        line, self._line = self._line.strip(), b""
        if self._trailer:
            self.done = not line
        elif size := int(line.partition(b";")[0], 16):
            self._left = size + len(b"\r\n")
        else:
            self._trailer = True


def _size(head: bytes, request: bytes | None) -> int | None:
    """Say how long a body is; None is not known, or until the connection ends."""
    if request is not None and (request.startswith(b"HEAD ") or _status(head) in {204, 304}):
        return 0
    if _field(head, b"transfer-encoding"):
        return None
    length = _field(head, b"content-length")
    return int(length) if length else 0 if request is None else None


def _field(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"\r\n" + name + rb":[ \t]*([^\r\n]*)", head, re.IGNORECASE)
    return found[1].strip().lower() if found else b""


def _status(head: bytes) -> int:
    return int(head.split(None, 2)[1])


def is_interim(head: bytes) -> bool:
    return 100 <= _status(head) < 200
