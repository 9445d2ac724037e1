"""The fields of tar headers: numbers, names, times, and the records of PAX."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

from lunette._archive._errors import InvalidHeaderError

__all__ = [
    "AS_REGULAR",
    "EXTENDED",
    "LONG_LINK",
    "LONG_NAME",
    "MAX_EXTENDED_BYTES",
    "PAX",
    "WITHOUT_DATA",
    "check_sum",
    "name_of",
    "nanoseconds",
    "number",
    "number_of",
    "pax_records",
    "text",
    "to_integer",
]

LONG_NAME, LONG_LINK, PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
EXTENDED = frozenset((LONG_NAME, LONG_LINK, PAX, _PAX_GLOBAL))
MAX_EXTENDED_BYTES = 1 << 20
WITHOUT_DATA = frozenset(b"%d" % digit for digit in range(1, 7))  # whatever their size says
AS_REGULAR = frozenset((b"\0", b"7"))  # of the time before ustar, and "contiguous"
_MAX_NANOSECONDS = (1 << 34) * 1_000_000_000  # the year 2514; ext4 has times until 2446
_DIGITS = frozenset(b"0123456789")
_MAX_DIGITS = 20  # of 2**64
_MOST_FLOAT = 40  # characters
_MTIME = re.compile(rb"30 mtime=([0-9]{10}\.[0-9]{9})\n")  # as of nearly each file
_ALREADY_SUMMED = sum(b" " * 8)


def check_sum(header: bytes) -> None:
    """Raise InvalidHeaderError unless *header* has the sum that it says."""
    wanted = number(header[148:156])
    found = _sum(header[:148]) + _sum(header[156:334]) + _sum(header[334:]) + _ALREADY_SUMMED
    if found == wanted:
        return
    signed = found - 256 * sum(byte > 127 for byte in header[:148] + header[156:])
    if signed != wanted:  # which old tars computed
        raise InvalidHeaderError("a wrong checksum")


def _sum(data: bytes) -> int:
    """Return the sum of at most 256 bytes, much faster than `sum` does."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def name_of(header: bytes) -> bytes:
    """Return the name in *header* itself."""
    name = text(header[:100])
    if header[257:263] == b"ustar\0" and (prefix := text(header[345:500])):
        return prefix + b"/" + name
    return name


def number_of(records: Mapping[bytes, bytes], key: bytes, field: bytes) -> int:
    """Return what the *records* say of *key*, or else the *field* of the header."""
    found = records.get(key)
    return number(field) if found is None else to_integer(found)


def nanoseconds(records: Mapping[bytes, bytes], field: bytes) -> int:
    """The time of last change; 1970 if a file system could not hold it, as with Docker."""
    found = records.get(b"mtime")
    if found is None:
        value = number(field, signed=True) * 1_000_000_000
    elif b"e-" in found:  # as Python's tarfile writes a moment after 1970
        value = _tiny(found)
    else:
        seconds, _, fraction = found.partition(b".")
        value = to_integer(seconds.removeprefix(b"-")) * 1_000_000_000
        value += to_integer(fraction[:9].ljust(9, b"0"))
        value = -value if found.startswith(b"-") else value
    return value if abs(value) <= _MAX_NANOSECONDS else 0


def text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _tiny(digits: bytes) -> int:
    try:
        return int(float(digits[:_MOST_FLOAT]) * 1_000_000_000)
    except (OverflowError, ValueError):
        raise InvalidHeaderError(f"the number {digits[:40]!r}") from None


def number(field: bytes, *, signed: bool = False) -> int:
    """Read an octal number, or one in base 256, which has the first bit set."""
    if field[0] & 0x80:
        # The second bit is the sign, in two's complement.
        value = int.from_bytes(field, "big") - (1 << 8 * len(field) - 1)
        if field[0] & 0x40:
            value -= 1 << 8 * len(field) - 1
    else:
        digits = field.strip(b" \0") or b"0"
        try:
            value = int(digits, 8)
        except ValueError:
            raise InvalidHeaderError(f"the number {field!r}") from None
    if value < 0 and not signed:
        raise InvalidHeaderError(f"the number {value}")
    return value


def to_integer(digits: bytes, *, signed: bool = False) -> int:
    """Read a decimal number."""
    plain = digits[1:] if signed and digits.startswith(b"-") else digits
    if not plain or len(plain) > _MAX_DIGITS or not _DIGITS.issuperset(plain):
        raise InvalidHeaderError(f"the number {digits[:40]!r}")
    return int(digits)


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """Read "LENGTH KEY=VALUE\\n" and so on; an empty value is as none.

    The oldest maps of sparse files repeat their keys: they come back as `GNU.sparse.map`.
    """
    if usual := _MTIME.fullmatch(data):
        return {b"mtime": usual[1]}
    found: dict[bytes, bytes] = {}
    sparse: list[bytes] = []
    start = 0
    while start < len(data):
        key, value, start = _pax_record(data, start)
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse.append(value)
        elif value:
            found[key] = value
        else:
            found.pop(key, None)
    if sparse:
        found[b"GNU.sparse.map"] = b",".join(sparse)
    return found


def _pax_record(data: bytes, start: int) -> tuple[bytes, bytes, int]:
    """Return the record at *start*, and where the next one begins."""
    space = data.find(b" ", start, start + _MAX_DIGITS)
    end = start + to_integer(data[start : max(start, space)])
    key, equals, value = data[space + 1 : end - 1].partition(b"=")
    if not equals or not space < end <= len(data) or data[end - 1] != ord("\n"):
        raise InvalidHeaderError("a damaged extended header")
    return key, value, end
