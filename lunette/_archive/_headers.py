"""Writing the headers of an archive: ustar, and a PAX header for what does not fit in."""

from __future__ import annotations

from functools import cache

__all__ = ["BLOCK", "DIRECTORY", "END", "FILE", "SYMLINK", "header", "padding"]

BLOCK = 512
END = b"\0" * (2 * BLOCK)
FILE, SYMLINK, DIRECTORY = b"0", b"2", b"5"
_NAME_BYTES = 100
_MOST_OCTAL = 8**11 - 1
_NANO = 1_000_000_000
_PADDING = [b"\0" * size for size in range(BLOCK)]
_TEN_DIGITS = 10**9  # seconds, in 2001
_NO_OWNER = b"0000000\0" * 2
_MAGIC = b"ustar\x0000" + b"\0" * 64 + b"0000000\0" * 2 + b"\0" * 167  # no names of owners
_REST_SUM = sum(_NO_OWNER) + sum(b" " * 8) + sum(_MAGIC)
_PAX_NAME = b"././@PaxHeader"


def padding(size: int) -> bytes:
    """Return what fills up the last block of *size* bytes."""
    return _PADDING[-size % BLOCK]


def header(
    path: bytes, kind: bytes, *, mode: int, mtime: int, size: int = 0, link: bytes = b""
) -> bytes:
    """Return the header of an entry, or two; *mtime* is in nanoseconds."""
    seconds, fraction = divmod(mtime, _NANO)
    fits = size <= _MOST_OCTAL and _fits(path) and _fits(link)
    if fits and not fraction and 0 <= seconds <= _MOST_OCTAL:
        return _block(path, kind, mode, seconds, size, link)
    if fits and _TEN_DIGITS <= seconds <= _MOST_OCTAL:  # nearly each file of today
        block = _block(path, kind, mode, seconds, size, link)
        return b"%b30 mtime=%d.%09d\n%b%b" % (_pax(30), seconds, fraction, padding(30), block)
    if not 0 <= seconds <= _MOST_OCTAL:
        seconds = 0
    records = _records(path, link, size, mtime)
    block = _block(
        path[:_NAME_BYTES],
        kind,
        mode,
        seconds,
        size if size <= _MOST_OCTAL else 0,
        link[:_NAME_BYTES],
    )
    return b"".join((_pax(len(records)), records, padding(len(records)), block))


def _fits(name: bytes) -> bool:
    return len(name) <= _NAME_BYTES and name.isascii()


@cache
def _pax(size: int) -> bytes:
    return _block(_PAX_NAME, b"x", 0o644, 0, size, b"")


def _block(path: bytes, kind: bytes, mode: int, seconds: int, size: int, link: bytes) -> bytes:
    numbers = b"%011o\0%011o\0" % (size, seconds)
    permissions = b"%07o\0" % mode
    total = _REST_SUM + sum(path) + sum(permissions) + sum(numbers) + kind[0] + sum(link)
    return b"%b%b%b%b%06o\0 %b%b%b" % (
        path.ljust(_NAME_BYTES, b"\0"),
        permissions,
        _NO_OWNER,
        numbers,
        total,
        kind,
        link.ljust(_NAME_BYTES, b"\0"),
        _MAGIC,
    )


def _records(path: bytes, link: bytes, size: int, mtime: int) -> bytes:
    found: list[bytes] = []
    if not (_is_utf8(path) and _is_utf8(link)):
        found.append(_record(b"hdrcharset", b"BINARY"))
    if not _fits(path):
        found.append(_record(b"path", path))
    if not _fits(link):
        found.append(_record(b"linkpath", link))
    if size > _MOST_OCTAL:
        found.append(_record(b"size", b"%d" % size))
    whole, fraction = divmod(abs(mtime), _NANO)
    if fraction or not 0 <= mtime <= _MOST_OCTAL * _NANO:
        found.append(
            _record(b"mtime", b"%b%d.%09d" % (b"-" if mtime < 0 else b"", whole, fraction))
        )
    return b"".join(found)


def _is_utf8(name: bytes) -> bool:
    if name.isascii():
        return True
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _record(key: bytes, value: bytes) -> bytes:
    """Return "LENGTH KEY=VALUE\\n", whose length counts itself."""
    bare = len(key) + len(value) + 3
    length = bare + len(b"%d" % bare)
    length = bare + len(b"%d" % length)
    return b"%d %b=%b\n" % (length, key, value)
