"""Reading a tar archive as ustar, GNU tar or PAX writes it, one entry after the other.

Python's tarfile takes extended headers of any size into memory, knows names only as text, and costs
more for an entry than the entry's system calls do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lunette._archive._errors import InvalidHeaderError
from lunette._archive._fields import (
    AS_REGULAR,
    EXTENDED,
    LONG_LINK,
    LONG_NAME,
    MAX_EXTENDED_BYTES,
    PAX,
    WITHOUT_DATA,
    check_sum,
    name_of,
    nanoseconds,
    number,
    number_of,
    pax_records,
    text,
)
from lunette.server.images import _sparse
from lunette.server.images._sparse import Segment
from lunette.server.images._stream import BLOCK, Stream

__all__ = ["Archive", "Entry"]

_REGULAR, _SPARSE = b"0", b"S"


class Entry(NamedTuple):
    """One entry: *kind* is the type flag, *link* where a link points, *mtime* in nanoseconds.

    A file of *size* bytes is in the archive as *segments*, (offset, size) each, with holes between
    them; None if it has no holes.
    """

    name: bytes
    kind: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    segments: list[Segment] | None


class Archive:
    """Iterates over the entries in *stream*; *claim* is told the sizes of extended headers."""

    def __init__(self, stream: Stream, claim: Callable[[int], None]) -> None:
        self._stream = stream
        self._claim = claim
        self._left = 0  # of the data of the current entry
        self._padding = 0
        self._name: bytes | None = None  # what extended headers say about the next entry
        self._link: bytes | None = None
        self._records: dict[bytes, bytes] = {}
        self._sparse_map: list[Segment] = []

    def __iter__(self) -> Iterator[Entry]:
        while (header := self._next_header()) is not None:
            kind = header[156:157]
            if kind in EXTENDED:
                self._extend(kind, self._data_of(header))
                continue
            entry = self._entry(header, kind)
            self._name, self._link, self._records = None, None, {}
            yield entry

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next *size* bytes of the current entry's data."""
        self._left -= size
        return self._stream.pieces(size)

    def _next_header(self) -> bytes | None:
        self._stream.skip(self._left + self._padding)
        header = self._stream.block()
        if not header or not any(header):
            return None
        check_sum(header)
        return header

    def _begin_data(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def _extend(self, kind: bytes, data: bytes) -> None:
        """Heed an extended header, unless it is a global one, as Docker does."""
        if kind == LONG_NAME:
            self._name = text(data)
        elif kind == LONG_LINK:
            self._link = text(data)
        elif kind == PAX:
            self._records = pax_records(data)

    def _data_of(self, header: bytes) -> bytes:
        size = number(header[124:136])
        if size > MAX_EXTENDED_BYTES:
            raise InvalidHeaderError(f"an extended header of {size:,} bytes")
        self._claim(BLOCK + size)
        self._begin_data(size)
        return b"".join(self.pieces(size))

    def _entry(self, header: bytes, kind: bytes) -> Entry:
        records = self._records
        name = records.get(b"path") or self._name or name_of(header)
        if kind in AS_REGULAR:
            kind = b"5" if kind == b"\0" and name.endswith(b"/") else _REGULAR
        stored = number_of(records, b"size", header[124:136]) if kind not in WITHOUT_DATA else 0
        self._begin_data(stored)
        size, segments = stored, None
        if kind == _SPARSE or (kind == _REGULAR and _sparse.is_pax(records)):
            size, segments = self._sparse(header, kind)
            name = records.get(b"GNU.sparse.name", name)
        return Entry(
            name,
            _REGULAR if kind == _SPARSE else kind,
            self._link or records.get(b"linkpath") or text(header[157:257]),
            number(header[100:108]),
            number_of(records, b"uid", header[108:116]),
            number_of(records, b"gid", header[116:124]),
            max(0, nanoseconds(records, header[136:148])),  # as Docker
            size,
            segments,
        )

    def _sparse(self, header: bytes, kind: bytes) -> tuple[int, list[Segment]]:
        if kind == _SPARSE:
            size, segments = _sparse.of_gnu(header, self._more_header)
        else:
            size, segments = _sparse.of_pax(self._records, self._data_block)
        _sparse.check(segments, size=size, stored=self._left)
        return size, segments

    def _more_header(self) -> bytes:
        self._claim(BLOCK)
        return self._stream.read(BLOCK)

    def _data_block(self) -> bytes:
        self._claim(BLOCK)
        if self._left < BLOCK:
            raise InvalidHeaderError("a damaged map of a sparse file")
        self._left -= BLOCK
        return self._stream.read(BLOCK)
