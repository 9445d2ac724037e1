"""A form that is sent while it is made: a few fields, and then a file of unknown length.

The generated client's forms have one boundary for all, which can occur in a tar, and are in memory.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator, Mapping

from ._io import Body

__all__ = ["Form"]


class Form(Body):
    """A body of `multipart/form-data`: the *fields*, and then what *file* yields, as *name*."""

    def __init__(
        self, fields: Mapping[str, str], name: str, file: Callable[[], Generator[bytes]]
    ) -> None:
        # Not of `Body`, which has a file and its size.
        boundary = secrets.token_hex(24)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._parts = _parts(fields, name, boundary)
        self._open = file
        self._rest = bytearray()
        self._chunks = self._made()
        # Who is cancelled closes it while a thread may still be reading.
        self._reading = threading.Lock()
        self._closed = False

    def rewind(self) -> None:
        """Begin again, for another attempt."""
        with self._reading:
            self._chunks.close()
            self._rest.clear()
            self._chunks = self._made()

    def read(self, limit: int) -> bytes:
        """Read the next chunk; nothing at the end."""
        with self._reading:
            while len(self._rest) < limit and (chunk := next(self._chunks, b"")):
                self._rest += chunk
            chunk = bytes(self._rest[:limit])
            del self._rest[:limit]
        if self._closed:
            self.close()
        return chunk

    def close(self) -> None:
        """Close what is open of the file; while it is read, that does it."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            try:
                self._chunks.close()
            finally:
                self._reading.release()

    def _made(self) -> Generator[bytes]:
        before, after = self._parts
        yield before
        file = self._open()
        try:
            yield from file
        finally:
            file.close()
        yield after


def _parts(fields: Mapping[str, str], name: str, boundary: str) -> tuple[bytes, bytes]:
    """Return what stands before the file and after it."""
    lines: list[str] = []
    for field, value in fields.items():
        lines += [f"--{boundary}", f'Content-Disposition: form-data; name="{field}"', "", value]
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="{name}"'
    lines += [f"--{boundary}", disposition, "Content-Type: application/x-tar", "", ""]
    return "\r\n".join(lines).encode(), f"\r\n--{boundary}--\r\n".encode()
