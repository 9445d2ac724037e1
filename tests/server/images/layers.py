"""Layers as they are pushed, in every format, and with headers that no tool writes."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence

from attrs import evolve

from ...images.tar_layers import Entry, tar

__all__ = ["TIME", "archive_as", "device", "fifo", "header", "layer", "with_data"]

TIME = 1_700_000_000


def layer(*entries: Entry) -> bytes:
    """Return *entries* as a layer is pushed most often."""
    return gzip.compress(tar(entries), compresslevel=1)


def fifo(name: str) -> Entry:
    return Entry(name=name, kind="fifo", mode=0o640)


def device(name: str) -> Entry:
    """Describe /dev/mem, for everybody."""
    return Entry(name=name, kind="character device", mode=0o666, device=(1, 1))


def archive_as(format: int, entries: Sequence[Entry]) -> bytes:
    """Return the archive of *entries* in a *format* of tarfile's."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(tar(entries))) as known,
        tarfile.open(fileobj=made, mode="w", format=format) as archive,
    ):
        for info in known:
            info.pax_headers = {}
            archive.addfile(info, known.extractfile(info) if info.isreg() else None)
    return made.getvalue()


def with_data(entry: Entry, data: bytes) -> Entry:
    """Return *entry*, whatever its kind, with a size and *data* to it."""
    return evolve(entry, content=data)


def header(
    kind: bytes = b"0", name: bytes = b"x", *, size: bytes = b"0", checksum: bytes | None = None
) -> bytes:
    """Return one header with fields as they are given."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:107], block[108:115], block[116:123] = b"0000644", b"0000000", b"0000000"
    block[124 : 124 + len(size)] = size
    block[136:147] = b"%011o" % TIME
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = checksum or b"%06o\0 " % sum(block)
    return bytes(block)
