"""Layers described in Python: entries, and the tar archive of them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, TypeAlias

from attrs import Factory, frozen

Kind: TypeAlias = Literal[
    "file", "directory", "symlink", "hard link", "character device", "block device", "fifo"
]

ROOT = (0, 0)

_TYPES: dict[Kind, bytes] = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


@frozen(kw_only=True)
class Entry:
    """One entry of a layer, written as it is: *name* and *link* may be as hostile as you like.

    *owner* is (uid, gid), *device* (major, minor), *mtime* in seconds; *pax* are further headers.
    """

    name: str
    kind: Kind = "file"
    content: bytes = b""
    link: str = ""
    mode: int = 0o644
    owner: tuple[int, int] = ROOT
    mtime: int = 1_700_000_000
    device: tuple[int, int] = (0, 0)
    pax: Mapping[str, str] = Factory(dict)


def file(
    name: str,
    content: bytes | str = b"",
    *,
    mode: int = 0o644,
    owner: tuple[int, int] = ROOT,
) -> Entry:
    """Describe a file; a text is written as UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    return Entry(name=name, content=data, mode=mode, owner=owner)


def directory(name: str, *, mode: int = 0o755, owner: tuple[int, int] = ROOT) -> Entry:
    """Describe a directory."""
    return Entry(name=name, kind="directory", mode=mode, owner=owner)


def symlink(name: str, to: str) -> Entry:
    """Describe a symbolic link."""
    return Entry(name=name, kind="symlink", link=to, mode=0o777)


def hard_link(name: str, to: str) -> Entry:
    """Describe another name of *to*, which is a path from the root."""
    return Entry(name=name, kind="hard link", link=to)


def whiteout(name: str) -> Entry:
    """Describe that what lower layers have at *name* is gone."""
    path = PurePosixPath(name)
    return Entry(name=str(path.with_name(f".wh.{path.name}")), mode=0)


def opaque(name: str) -> Entry:
    """Describe that what lower layers have in the directory *name* is gone."""
    return Entry(name=f"{name}/.wh..wh..opq", mode=0)


def write_tar(entries: Iterable[Entry], to: BinaryIO) -> None:
    """Write the archive of *entries*, in their order; the same entries give the same bytes."""
    with tarfile.open(fileobj=to, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            archive.addfile(_header(entry), io.BytesIO(entry.content))


def tar(entries: Iterable[Entry]) -> bytes:
    """Return the archive of *entries*."""
    buffer = io.BytesIO()
    write_tar(entries, buffer)
    return buffer.getvalue()


def trust(archive: tarfile.TarFile) -> None:
    """Have *archive* extracted as it is: Debian's Python 3.11.2 knows no filters."""
    archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)


def _header(entry: Entry) -> tarfile.TarInfo:
    header = tarfile.TarInfo(entry.name)
    header.type, header.linkname = _TYPES[entry.kind], entry.link
    header.mode, header.mtime = entry.mode, entry.mtime
    header.uid, header.gid = entry.owner
    header.size = len(entry.content)
    header.devmajor, header.devminor = entry.device
    header.pax_headers = dict(entry.pax)
    return header
