"""Trees of files, their archives, and what both have in common."""

# pathlib knows no bytes, which names here are.
# ruff: noqa: PTH118, PTH123

from __future__ import annotations

import os
import random
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lunette._archive import Extractor, pack

__all__ = ["DIRECTORY", "cut", "described", "extract", "opened", "packed"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


@contextmanager
def opened(path: Path) -> Generator[int]:
    fd = os.open(path, DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def packed(root: Path, rules: Sequence[tuple[str, bool]] = ()) -> bytes:
    with opened(root) as fd:
        return b"".join(pack(fd, rules, path=str(root)))


def extract(
    archive: bytes | Iterable[bytes],
    root: Path,
    *,
    safe_links: bool = False,
    hard_links: bool = False,
) -> list[str]:
    """Unpack into *root*, which is made, and return the names of the links that were left out."""
    root.mkdir(parents=True)
    with (
        opened(root) as fd,
        Extractor(fd, safe_links=safe_links, hard_links=hard_links, path="T") as extractor,
    ):
        for piece in [archive] if isinstance(archive, bytes) else archive:
            extractor.feed(piece)
        extractor.finish()
        return extractor.names_left_out


def cut(archive: bytes, sizes: random.Random) -> Iterator[bytes]:
    """Yield *archive* in pieces of all kinds of sizes."""
    at = 0
    while at < len(archive):
        size = sizes.choice((1, 2, 100, 511, 512, 513, 1024, 5000, 70_000))
        yield archive[at : at + size]
        at += size


def described(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Return what is below *root*, itself included, whatever the names and depths."""
    found: dict[bytes, tuple[object, ...]] = {}
    for directory, names, files, fd in os.fwalk(os.fsencode(root)):
        _note(found, os.path.relpath(directory, os.fsencode(root)), os.fstat(fd), b"")
        for name in [*names, *files]:
            about = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(about.st_mode):
                continue
            content = b""
            if stat.S_ISLNK(about.st_mode):
                content = os.readlink(name, dir_fd=fd)
            elif stat.S_ISREG(about.st_mode):
                with open(os.open(name, os.O_RDONLY, dir_fd=fd), "rb") as file:
                    content = file.read()
            path = os.path.relpath(os.path.join(directory, name), os.fsencode(root))
            _note(found, path, about, content)
    return found


def _note(
    found: dict[bytes, tuple[object, ...]], path: bytes, about: os.stat_result, content: bytes
) -> None:
    kind = stat.S_IFMT(about.st_mode)
    mode = 0 if stat.S_ISLNK(about.st_mode) else about.st_mode & 0o777
    found[path] = (kind, mode, about.st_mtime_ns, content)
