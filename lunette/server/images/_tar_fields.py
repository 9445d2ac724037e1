"""The fields of tar headers: numbers, names, and the records of PAX."""

from __future__ import annotations

from lunette.server.images.errors import InvalidImageError

__all__ = ["InvalidHeaderError", "number", "pax_records", "text", "to_integer"]

_DIGITS = frozenset(b"0123456789")
_MAX_DIGITS = 20  # of 2**64


class InvalidHeaderError(InvalidImageError):
    """A header that no archive has."""

    def __init__(self, what: str) -> None:
        super().__init__(f"its archive has {what}; have the image built again")


def text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


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
