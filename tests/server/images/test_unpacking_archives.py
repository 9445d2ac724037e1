"""What an archive can be packed with, and every format that it can have."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard

from lunette.server.images.errors import ImageError, InvalidImageError
from lunette.server.images.unpacking import Limits

from ...images import tricky
from ...images.tar_layers import Entry, directory, file, hard_link, symlink, tar
from .layers import archive_as, header, layer
from .stand import PLENTY, Stand
from .stand import stand as stand
from .stand import unpacking as unpacking

END = bytes(1024)
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"
PLAIN = tar([file("f", "data"), file("g", bytes(3 << 20))])


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKED = {
    "gzip": gzip.compress(PLAIN),
    "gzip in members": gzip.compress(PLAIN[:700]) + gzip.compress(b"") + gzip.compress(PLAIN[700:]),
    "gzip and garbage": gzip.compress(PLAIN) + b"garbage",
    "gzip and one byte": gzip.compress(PLAIN) + b"\x1f",
    "gzip and zeros": gzip.compress(PLAIN) + bytes(5000),
    "zstd": zstd(PLAIN),
    "zstd in frames": zstd(PLAIN[:700]) + SKIPPABLE + zstd(PLAIN[700:]) + SKIPPABLE,
    "zstd with a frame to skip": SKIPPABLE + zstd(PLAIN),
    "tar": PLAIN,
    "tar without its end": PLAIN[: 512 + 512 + 512 + (3 << 20)],
    "tar with one block of an end": PLAIN[: 512 + 512 + 512 + (3 << 20) + 512],
    "tar and garbage": PLAIN + b"garbage" * 1000,
}


@pytest.mark.parametrize("packed", PACKED)
def test_packings(stand: Stand, packed: str) -> None:
    stand.unpack(PACKED[packed], media_type="application/vnd.oci.image.layer.v1.tar")
    assert stand.names() == {"f", "g"}
    assert stand.read("f") == b"data"
    assert stand.read("g") == bytes(3 << 20)


@pytest.mark.parametrize("empty", [b"", END, gzip.compress(b""), gzip.compress(END), zstd(b"")])
def test_empty_layers(stand: Stand, empty: bytes) -> None:
    assert stand.unpack(empty, layer(file("f"))).files == 1


BROKEN = {
    "cut": (PACKED["gzip"][:-3000], "layer 2 of 3: it is cut off; pull the image again"),
    "cut tar": (PLAIN[:900], "layer 2 of 3: it is cut off; pull the image again"),
    "cut header": (PLAIN[:300], "layer 2 of 3: it is cut off"),
    "cut zstd": (zstd(os.urandom(50_000))[:-9000], "layer 2 of 3: "),
    "damaged gzip": (PACKED["gzip"][:50] + b"?" * 50, "layer 2 of 3: it cannot be unpacked"),
    "damaged zstd": (zstd(PLAIN)[:12] + b"?" * 50, "layer 2 of 3: it cannot be unpacked"),
    "bzip2": (b"BZh91AY&SY", "it is packed with bzip2; layers can be tar"),
    "xz": (b"\xfd7zXZ\x00\x00", "it is packed with xz"),
    "json": (b'{"not": "a layer"}' * 90, r"it is no archive that is known \(application/x-other\)"),
    "gzip of json": (gzip.compress(b'{"not": "a layer"}' * 90), "its archive has the number"),
    "large window": (
        zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters(window_log=28)
        )
        .compressobj()
        .compress(b"")
        + b"\x28\xb5\x2f\xfd\x00\x98"
        + bytes(600),
        "Frame requires too much memory",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_packings(stand: Stand, broken: str) -> None:
    data, message = BROKEN[broken]
    with pytest.raises(InvalidImageError, match=message):
        stand.unpack(layer(), data, layer(), media_type="application/x-other")


def test_a_window_of_128_mib_is_taken(stand: Stand) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    stand.unpack(packer.compress(PLAIN) + packer.flush())
    assert stand.names() == {"f", "g"}


LONG = "directory/" * 20 + "n" * 150
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(stand: Stand, name: str) -> None:
    place = "d/" * 70 + "f" * 99  # in two fields of ustar
    entries = [file(place, "1"), file("f", "2"), symlink("s", "t" * 100), directory("empty")]
    if name != "ustar":
        entries += [file(LONG, "3"), symlink("long", LONG), hard_link("h", LONG)]
    stand.unpack(gzip.compress(archive_as(FORMATS[name], entries)))
    assert stand.read(place) == b"1"
    assert stand.read("f") == b"2"
    assert (stand.target / "s").readlink() == Path("t" * 100)
    if name != "ustar":
        assert stand.read(LONG) == stand.read("long") == stand.read("h") == b"3"
    assert stand.names("empty") == set()


def test_all_that_is_tricky_in_gnus_format(stand: Stand) -> None:
    archives = [archive_as(tarfile.GNU_FORMAT, entries) for entries in tricky.LAYERS]
    stand.unpack(*archives)
    present = {name for name in tricky.EXPECTED if os.path.lexists(stand.target / name)}
    assert present == set(tricky.EXPECTED)


def test_old_archives(stand: Stand) -> None:
    blocks = [header(b"\0", b"directory/"), header(b"\0", b"file", size=b"00000000003"), b"abc"]
    contiguous = [bytes(509), header(b"7", b"contiguous"), END]
    stand.unpack(b"".join(blocks + contiguous))
    assert stand.names() == {"directory", "file", "contiguous"}
    assert stand.read("file") == b"abc"
    assert (stand.target / "directory").is_dir()


@pytest.mark.parametrize("kind", [b"1", b"2", b"5", b"6"])
def test_only_files_have_data_whatever_others_say(stand: Stand, kind: bytes) -> None:
    made = bytearray(header(kind, b"odd", size=b"00000010000"))
    made[157:158] = b"f"
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    stand.unpack(header(name=b"f") + bytes(made) + header(name=b"g") + END)
    assert stand.names() == {"f", "odd", "g"}


def test_numbers_in_base_256(stand: Stand) -> None:
    size = b"\x80" + (3).to_bytes(11, "big")
    stand.unpack(header(size=size) + b"abc" + bytes(509) + END)
    assert stand.read("x") == b"abc"


def test_pax_overrides_what_the_header_says(stand: Stand) -> None:
    records = {"uid": "7", "gid": "8", "path": "renamed", "SCHILY.xattr.user.x": "ignored"}
    stand.unpack(layer(Entry(name="f", owner=(1, 2), pax=records), file("next")))
    assert stand.names() == {"renamed", "next"}
    owner = (stand.target / "renamed").stat().st_uid - stand.unpacker.user
    assert owner == (7 if stand.unpacker.is_range else 0)


def test_global_headers_are_ignored(stand: Stand) -> None:
    said = b"17 path=elsewhere"
    said = b"%d path=elsewhere\n" % (len(said) + 1)
    block = header(b"g", size=b"%011o" % len(said)) + said.ljust(512, b"\0")
    stand.unpack(block + header(name=b"f") + END)
    assert stand.names() == {"f"}


SPARSE = {
    "gnu": ["--format=gnu"],
    "pax 0.0": ["--format=pax", "--sparse-version=0.0"],
    "pax 0.1": ["--format=pax", "--sparse-version=0.1"],
    "pax 1.0": ["--format=pax", "--sparse-version=1.0"],
}


@pytest.mark.parametrize("pieces", [1, 60])
@pytest.mark.parametrize("format", SPARSE)
def test_sparse_files(stand: Stand, tmp_path: Path, format: str, pieces: int) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_text("before")
    after.write_text("after")
    with (tmp_path / "sparse").open("wb") as made:
        for number in range(pieces):
            made.seek((number + 1) << 16)
            made.write(b"%d" % number * 100)
        made.truncate(64 << 20)
    command = ["tar", "-C", str(tmp_path), "-cS", *SPARSE[format], "before", "sparse", "after"]
    unpacked = stand.unpack(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert stand.names() == {"before", "sparse", "after"}
    assert stand.read("sparse") == (tmp_path / "sparse").read_bytes()
    assert stand.read("after") == b"after"
    assert (stand.target / "sparse").stat().st_blocks * 512 < 2 << 20
    assert unpacked.size == (64 << 20) + 11


def pax(records: bytes, *, size: int | None = None) -> bytes:
    length = len(records) if size is None else size
    return header(b"x", size=b"%011o" % length) + records.ljust(
        -(-len(records) // 512) * 512, b"\0"
    )


def sparse(records: dict[str, str], data: bytes = b"") -> bytes:
    return tar([Entry(name="f", content=data, pax=records)])


REALSIZE = {"GNU.sparse.realsize": "100"}
VERSION_1 = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", **REALSIZE}
MALFORMED = {
    "checksum": (header(checksum=b"0000017\0"), "a wrong checksum"),
    "number": (header(size=b"nonsense"), "the number b'nonsense"),
    "negative": (header(size=b"\xff" * 12), "the number -1"),
    "cut data": (header(size=b"00000010000") + b"abc", "it is cut off"),
    "kind": (header(b"V"), r"the entry 'x' is of the kind 'V', which no layer can have"),
    "pax length": (pax(b"99 path=x\n") + header(), "a damaged extended header"),
    "pax zero": (pax(b"0 path=x\n") + header(), "a damaged extended header"),
    "pax text": (pax(b"nonsense\n") + header(), "the number"),
    "pax without a key": (pax(b"6 xxx\n") + header(), "a damaged extended header"),
    "pax size": (pax(b"12 size=1_0\n") + header(), "the number b'1_0'"),
    "pax large": (pax(b"", size=(1 << 20) + 1), "an extended header of 1,048,577 bytes"),
    "pax huge": (pax(b"", size=(1 << 33) - 1), "an extended header of 8,589,934,591 bytes"),
    "name large": (header(b"L", size=b"77777777777"), "an extended header of 8,589,934,591 bytes"),
    "sparse odd": (sparse({"GNU.sparse.map": "0", **REALSIZE}), "a damaged map"),
    "sparse overlap": (
        sparse({"GNU.sparse.map": "0,5,3,5", **REALSIZE}, bytes(10)),
        "overlapping pieces",
    ),
    "sparse beyond": (
        sparse({"GNU.sparse.map": "99,5", **REALSIZE}, bytes(5)),
        "whose pieces do not fit",
    ),
    "sparse lack": (sparse({"GNU.sparse.map": "0,5", **REALSIZE}, b""), "whose pieces do not fit"),
    "sparse map": (sparse(VERSION_1, b"x" * 512), "a damaged map"),
    "sparse no map": (sparse(VERSION_1), "a damaged map"),
    "sparse pieces": (sparse(VERSION_1, b"99999\n".ljust(512)), "in more than 65,536 pieces"),
    "sparse no size": (sparse({"GNU.sparse.map": "0,0"}), "the number b''"),
}


@pytest.mark.parametrize("malformed", MALFORMED)
def test_malformed_archives(stand: Stand, malformed: str) -> None:
    data, message = MALFORMED[malformed]
    with pytest.raises(InvalidImageError, match=f"layer 1 of 1: .*{message}"):
        stand.unpack(data, limits=Limits(bytes=1 << 20, files=10, free=0))


def test_whatever_is_damaged_is_an_error_of_the_image(stand: Stand) -> None:
    """Of seeds, as a failing one can be tried again."""
    archive = b"".join(
        (
            sparse({"GNU.sparse.map": "0,5", **REALSIZE}, b"12345")[:-10240],
            archive_as(tarfile.GNU_FORMAT, tricky.LAYERS[0])[:-9000],
            tar(tricky.LAYERS[1]),
        )
    )
    for seed in range(60):
        chance = random.Random(seed)
        damaged = bytearray(archive)
        for _ in range(chance.choice((1, 3, 30))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 32, 48, 55, 255))
        try:
            stand.unpack(bytes(damaged), limits=PLENTY)
        except ImageError as error:
            assert error.kind == "invalid_image", (seed, error)
