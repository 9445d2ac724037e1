"""Reading a tar archive as ustar, GNU tar or PAX writes it, one entry after the other.

Python's tarfile takes extended headers of any size into memory, knows names only as text, and costs
more for an entry than the entry's system calls do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lunette.server.images import _sparse
from lunette.server.images._sparse import Segment
from lunette.server.images._stream import BLOCK, Stream
from lunette.server.images._tar_fields import (
    InvalidHeaderError,
    number,
    pax_records,
    text,
    to_integer,
)

__all__ = ["Archive", "Entry"]

_MAX_EXTENDED_BYTES = 1 << 20
_MAX_NANOSECONDS = (1 << 63) - 1
_REGULAR, _SPARSE = b"0", b"S"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_EXTENDED = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL))
_WITHOUT_DATA = frozenset(b"%d" % digit for digit in range(1, 7))  # whatever their size says
_AS_REGULAR = frozenset((b"\0", b"7"))  # of the time before ustar, and "contiguous"
_ALREADY_SUMMED = sum(b" " * 8)


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
            if kind in _EXTENDED:
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
        _check_sum(header)
        return header

    def _begin_data(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def _extend(self, kind: bytes, data: bytes) -> None:
        """Heed an extended header, unless it is a global one, as Docker does."""
        if kind == _LONG_NAME:
            self._name = text(data)
        elif kind == _LONG_LINK:
            self._link = text(data)
        elif kind == _PAX:
            self._records = pax_records(data)

    def _data_of(self, header: bytes) -> bytes:
        size = number(header[124:136])
        if size > _MAX_EXTENDED_BYTES:
            raise InvalidHeaderError(f"an extended header of {size:,} bytes")
        self._claim(BLOCK + size)
        self._begin_data(size)
        return b"".join(self.pieces(size))

    def _entry(self, header: bytes, kind: bytes) -> Entry:
        records = self._records
        name = self._name_of(header)
        if kind in _AS_REGULAR:
            kind = b"5" if kind == b"\0" and name.endswith(b"/") else _REGULAR
        stored = _field(records, b"size", header[124:136]) if kind not in _WITHOUT_DATA else 0
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
            _field(records, b"uid", header[108:116]),
            _field(records, b"gid", header[116:124]),
            _nanoseconds(records, header[136:148]),
            size,
            segments,
        )

    def _name_of(self, header: bytes) -> bytes:
        found = self._records.get(b"path") or self._name
        if found is not None:
            return found
        name = text(header[:100])
        if header[257:263] == b"ustar\0" and (prefix := text(header[345:500])):
            return prefix + b"/" + name
        return name

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


def _check_sum(header: bytes) -> None:
    wanted = number(header[148:156])
    found = sum(header) - sum(header[148:156]) + _ALREADY_SUMMED
    if found == wanted:
        return
    signed = found - 256 * sum(byte > 127 for byte in header[:148] + header[156:])
    if signed != wanted:  # which old tars computed
        raise InvalidHeaderError("a wrong checksum")


def _field(records: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    found = records.get(key)
    return number(field) if found is None else to_integer(found)


def _nanoseconds(records: dict[bytes, bytes], field: bytes) -> int:
    """The time of last change; 1970 if a file system could not hold it, as with Docker."""
    found = records.get(b"mtime")
    seconds, _, fraction = (found or b"").partition(b".")
    whole = number(field, signed=True) if not seconds else to_integer(seconds, signed=True)
    nanoseconds = whole * 1_000_000_000 + to_integer(fraction[:9].ljust(9, b"0"))
    return nanoseconds if 0 <= nanoseconds <= _MAX_NANOSECONDS else 0
