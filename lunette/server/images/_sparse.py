"""The maps of sparse files: GNU's own format, and the three that GNU tar has put into PAX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from lunette._archive._errors import InvalidHeaderError
from lunette._archive._fields import number, to_integer

__all__ = ["Segment", "check", "is_pax", "of_gnu", "of_pax"]

Segment = tuple[int, int]  # offset, size

_MAX_SEGMENTS = 65_536
_MAX_LINE_BYTES = 32
_IN_HEADER, _IN_EXTENSION = (386, 4), (0, 21)  # where the pairs begin, and how many there are
_PAIR_BYTES, _FIELD_BYTES = 24, 12


def of_gnu(header: bytes, more: Callable[[], bytes]) -> tuple[int, list[Segment]]:
    """Return the size and the segments of the file of an "S" header, which *more* continues."""
    segments = _pairs(header, *_IN_HEADER)
    extended = header[482]
    while extended:
        block = more()
        segments += _pairs(block, *_IN_EXTENSION)
        extended = block[504]
        _check_count(len(segments))
    return number(header[483:495]), segments


def _pairs(block: bytes, start: int, count: int) -> list[Segment]:
    places = range(start, start + count * _PAIR_BYTES, _PAIR_BYTES)
    fields = [block[place : place + _PAIR_BYTES] for place in places]
    return [
        (number(field[:_FIELD_BYTES]), number(field[_FIELD_BYTES:])) for field in fields if field[0]
    ]


def is_pax(records: Mapping[bytes, bytes]) -> bool:
    return b"GNU.sparse.major" in records or b"GNU.sparse.map" in records


def of_pax(
    records: Mapping[bytes, bytes], data_block: Callable[[], bytes]
) -> tuple[int, list[Segment]]:
    """Return the size and the segments of a file of PAX *records*; since version 1.0 the map is in
    the first blocks of its data.
    """
    size = to_integer(records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size", b""))
    if b"GNU.sparse.map" in records:
        numbers = [to_integer(n) for n in records[b"GNU.sparse.map"].split(b",")]
        return size, _paired(numbers)
    lines = _lines(data_block)
    count = next(lines)
    _check_count(count)
    return size, _paired([next(lines) for _ in range(2 * count)])


def _paired(numbers: Sequence[int]) -> list[Segment]:
    if len(numbers) % 2:
        raise InvalidHeaderError("a damaged map of a sparse file")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _lines(data_block: Callable[[], bytes]) -> Iterator[int]:
    rest = b""
    while True:
        *lines, rest = (rest + data_block()).split(b"\n")
        yield from map(to_integer, lines)
        if len(rest) > _MAX_LINE_BYTES:  # which is padding if nobody wants more
            raise InvalidHeaderError("a damaged map of a sparse file")


def _check_count(count: int) -> None:
    if count > _MAX_SEGMENTS:
        raise InvalidHeaderError(f"a sparse file in more than {_MAX_SEGMENTS:,} pieces")


def check(segments: Sequence[Segment], *, size: int, stored: int) -> None:
    """Raise InvalidHeaderError unless *segments* are in order within *size*, and *stored* bytes."""
    end = 0
    for offset, length in segments:
        if offset < end:
            raise InvalidHeaderError("overlapping pieces of a sparse file")
        end = offset + length
    if end > size or sum(length for _, length in segments) != stored:
        raise InvalidHeaderError("a sparse file whose pieces do not fit")
