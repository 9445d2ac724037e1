"""Reading an archive as it comes, as ustar, GNU tar or PAX writes it."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple, Protocol

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

__all__ = ["BLOCK", "Entry", "Parser", "Taker"]

BLOCK = 512
_ZEROS = bytes(BLOCK)
_MOST_BYTES = (1 << 63) - 1
_SPARSE = (b"GNU.sparse.major", b"GNU.sparse.map")


class Entry(NamedTuple):
    """One entry: *kind* is the type flag, *link* where a link points, *mtime* in nanoseconds."""

    name: bytes
    kind: bytes
    link: bytes
    mode: int
    mtime: int
    size: int


class Taker(Protocol):
    """Whom a parser hands what it finds: each entry is begun, has data or none, and ends."""

    def begin(self, entry: Entry) -> None: ...

    def write(self, data: memoryview) -> None: ...

    def end(self) -> None: ...


class Parser:
    """Hands *taker* what is in the bytes that it is fed, cut up as they may be."""

    def __init__(self, taker: Taker) -> None:
        self.complete = False
        self._taker = taker
        self._steps = self._run()
        self._wanted = next(self._steps)  # so many bytes, or if negative some of so many
        self._rest = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; what follows the end of the archive is ignored."""
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._wanted:
                return
            data = bytes(rest)
            rest.clear()
        with memoryview(data) as view:
            at = self._take(view)
            if not self.complete:
                rest += view[at:]

    def _take(self, view: memoryview) -> int:
        """Do all steps that *view* is enough for, and return how much of it they took."""
        at, end, wanted = 0, len(view), self._wanted
        send = self._steps.send
        try:
            while True:
                if wanted > 0:
                    if (stop := at + wanted) > end:
                        break
                    wanted = send(view[at:stop])
                elif at < end:
                    stop = min(at - wanted, end)
                    wanted = send(view[at:stop])
                else:
                    break
                at = stop
        except StopIteration:  # also when it is fed after an error
            return end
        self._wanted = wanted
        return at

    def _run(self) -> Generator[int, memoryview, None]:
        taker = self._taker
        name = link = None
        records: dict[bytes, bytes] = {}
        checked = b""  # extended headers are mostly the same
        while (header := bytes((yield BLOCK))) != _ZEROS:
            if header != checked:
                check_sum(header)
            kind = header[156:157]
            if kind in EXTENDED:
                checked = header
                # Global ones are heeded by nobody.
                data = yield from self._extended(header)
                if kind == LONG_NAME:
                    name = text(data)
                elif kind == LONG_LINK:
                    link = text(data)
                elif kind == PAX:
                    records = pax_records(data)
                continue
            entry = _entry(header, kind, records, name, link)
            name = link = None
            if records:
                records = {}
            taker.begin(entry)
            left = entry.size
            while left:
                piece = yield -left
                left -= len(piece)
                taker.write(piece)
            taker.end()
            if padding := -entry.size % BLOCK:
                yield padding
        self.complete = True

    def _extended(self, header: bytes) -> Generator[int, memoryview, bytes]:
        size = number(header[124:136])
        if size > MAX_EXTENDED_BYTES:
            raise InvalidHeaderError(f"an extended header of {size:,} bytes")
        if not size:
            return b""
        return bytes((yield size + -size % BLOCK)[:size])


def _entry(
    header: bytes,
    kind: bytes,
    records: dict[bytes, bytes],
    name: bytes | None,
    link: bytes | None,
) -> Entry:
    name = records.get(b"path") or name or name_of(header)
    if kind in AS_REGULAR:
        kind = b"5" if kind == b"\0" and name.endswith(b"/") else b"0"
    size = 0 if kind in WITHOUT_DATA else number_of(records, b"size", header[124:136])
    if size > _MOST_BYTES:
        raise InvalidHeaderError(f"the number {size}")
    if kind == b"S" or not records.keys().isdisjoint(_SPARSE):
        raise InvalidHeaderError("a sparse file, which is not supported: make it without --sparse")
    return Entry(
        name,
        kind,
        link or records.get(b"linkpath") or text(header[157:257]),
        number(header[100:108]),
        nanoseconds(records, header[136:148]),
        size,
    )
