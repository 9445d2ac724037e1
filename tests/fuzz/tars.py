"""Directories as tar archives: good ones, and some that no server may take."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable

__all__ = ["tar"]

_DIRECTORY, _LINK, _HARD_LINK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
_Build = Callable[[tarfile.TarFile], None]
_ROOT_MODE = 0o755


def tar(choice: random.Random) -> bytes:
    """Choose an archive, a good one mostly, which now and then is cut off or damaged."""
    builds = _GOOD if choice.random() < 0.8 else _BAD
    whole = _built(choice.choice(builds))
    if choice.random() < 0.1:
        return whole[: choice.randrange(len(whole))]
    if choice.random() < 0.1:
        place = choice.randrange(len(whole))
        return whole[:place] + bytes([choice.randrange(256)]) + whole[place + 1 :]
    return whole


def _built(build: _Build) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        build(archive)
    return file.getvalue()


def _entry(
    archive: tarfile.TarFile,
    name: str,
    kind: bytes = tarfile.REGTYPE,
    *,
    content: bytes = b"",
    link: str = "",
    mode: int = 0o644,
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(content), mode
    info.mtime = 1767225600.5  # which takes a pax header
    archive.addfile(info, io.BytesIO(content))


def _tree(archive: tarfile.TarFile) -> None:
    _entry(archive, "./", _DIRECTORY, mode=_ROOT_MODE)
    _entry(archive, "a.txt", content=b"of a tar\n")
    _entry(archive, "deep/er", _DIRECTORY, mode=_ROOT_MODE)
    _entry(archive, "deep/er/run", content=b"#!/bin/sh\n", mode=0o6755)
    _entry(archive, "deep/link", _LINK, link="../a.txt")
    _entry(archive, "deep/out", _LINK, link="/etc/passwd")
    _entry(archive, "deep/same", _HARD_LINK, link="a.txt")


def _names(archive: tarfile.TarFile) -> None:
    for name in ("\u00fc \u00f1", "no\udcffutf8", "a\nb", "-rf", "n" * 200, "p/" * 100 + "end"):
        _entry(archive, name, content=name.encode(errors="surrogateescape"))


def _modes(archive: tarfile.TarFile) -> None:
    for mode in (0, 0o111, 0o555, 0o7777):
        _entry(archive, f"d{mode:o}", _DIRECTORY, mode=mode)
        _entry(archive, f"d{mode:o}/f", content=b"x", mode=mode)


def _twice(archive: tarfile.TarFile) -> None:
    _entry(archive, "a.txt", content=b"first")
    _entry(archive, "a.txt", content=b"then")
    _entry(archive, "l", _LINK, link="a.txt")
    _entry(archive, "l", content=b"no link")


def _large(archive: tarfile.TarFile) -> None:
    _entry(archive, "large", content=bytes(range(256)) * 4096)


def _up(archive: tarfile.TarFile) -> None:
    _entry(archive, "d/../../up", content=b"x")


def _absolute(archive: tarfile.TarFile) -> None:
    _entry(archive, "/workspace/absolute", content=b"x")


def _through(archive: tarfile.TarFile) -> None:
    _entry(archive, "out", _LINK, link="/tmp")
    _entry(archive, "out/x", content=b"x")


def _device(archive: tarfile.TarFile) -> None:
    _entry(archive, "null", tarfile.CHRTYPE)


def _pipe(archive: tarfile.TarFile) -> None:
    _entry(archive, "pipe", tarfile.FIFOTYPE)


def _hard(archive: tarfile.TarFile) -> None:
    _entry(archive, "passwd", _HARD_LINK, link="/etc/passwd")


def _over(archive: tarfile.TarFile) -> None:
    _entry(archive, "d", _DIRECTORY, mode=_ROOT_MODE)
    _entry(archive, "d", content=b"x")


def _nothing(_archive: tarfile.TarFile) -> None:
    pass


_GOOD: tuple[_Build, ...] = (_tree, _tree, _names, _modes, _twice, _large, _nothing)
_BAD: tuple[_Build, ...] = (_up, _absolute, _through, _device, _pipe, _hard, _over)
