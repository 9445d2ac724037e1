"""Layers that want out, or more than their share; the stand itself looks after what is outside."""

from __future__ import annotations

import gzip
import itertools
import os
import select
import signal
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from lunette.server.images.errors import ImageError, InvalidImageError, NoSpaceError
from lunette.server.images.unpacking import Limits

from ...images.tar_layers import Entry, directory, file, hard_link, symlink, tar, whiteout
from .layers import device, fifo, header, layer
from .stand import PLENTY, Stand, unpacker
from .stand import stand as stand
from .stand import unpacking as unpacking

MIB = 1 << 20


def limited(*, bytes: int = MIB, files: int = 1000, free: int = 0) -> Limits:
    return Limits(bytes=bytes, files=files, free=free)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/../x", "..", "a/..", "d/../f", "./../x"])
@pytest.mark.parametrize(
    "make", [file, directory, whiteout, fifo, device], ids=lambda m: m.__name__
)
def test_names_with_dots(stand: Stand, make: object, name: str) -> None:
    assert callable(make)
    kind: Entry = Entry(name=name) if make is whiteout else make(name)
    with pytest.raises(InvalidImageError) as raised:
        stand.unpack(layer(file("f"), kind))
    shown = f"{name}/" if kind.kind == "directory" else name
    assert str(raised.value) == (
        f'layer 1 of 1: the entry {shown!r} has ".." in its name; have the image built again'
    )


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh...", "d/.wh.."])
def test_whiteouts_of_what_is_no_name(stand: Stand, name: str) -> None:
    with pytest.raises(InvalidImageError, match="names no file"):
        stand.unpack(layer(file("d/f")), layer(Entry(name=name)))


@pytest.mark.parametrize("target", ["../outside/secret", "d/../../outside/secret"])
def test_hard_links_with_dots(stand: Stand, target: str) -> None:
    with pytest.raises(InvalidImageError, match=r'has "\.\." in its name'):
        stand.unpack(layer(directory("d"), hard_link("h", target)))


def test_a_hard_link_to_what_is_outside(stand: Stand) -> None:
    secret = str(stand.outside / "secret")
    message = f"the entry 'h' is a hard link to '{secret}', which does not exist; have the image"
    with pytest.raises(InvalidImageError, match=message):
        stand.unpack(layer(hard_link("h", secret)))


def test_a_hard_link_through_a_link_to_what_is_outside(stand: Stand) -> None:
    entries = [symlink("away", str(stand.outside)), hard_link("h", "away/secret")]
    with pytest.raises(InvalidImageError, match="which does not exist"):
        stand.unpack(layer(*entries))


def test_a_hard_link_to_a_directory(stand: Stand) -> None:
    with pytest.raises(InvalidImageError, match="the entry 'h' cannot be made: Operation not"):
        stand.unpack(layer(directory("d"), hard_link("h", "d")))


@pytest.mark.parametrize("up", ["", "../../../../../../../.."])
def test_writing_through_a_link_stays_inside(stand: Stand, up: str) -> None:
    away = str(stand.outside)
    stand.unpack(
        layer(symlink("away", f"{up}{away}"), file("away/secret", "planted"), file("away/new")),
        layer(directory("away/directory", mode=0o777), symlink("away/link", "x")),
    )
    assert stand.read(f"{away[1:]}/secret") == b"planted"
    assert stand.names(away[1:]) == {"secret", "new", "directory", "link"}


def test_a_link_itself_is_never_written_through(stand: Stand) -> None:
    secret = str(stand.outside / "secret")
    names = ["file", "directory", "fifo", "hard"]
    links = [symlink(name, secret) for name in names]
    over = [file("file", "new"), directory("directory", mode=0o777), fifo("fifo")]
    stand.unpack(layer(file("f"), *links, *over, hard_link("hard", "f")))
    assert not [name for name in names if (stand.target / name).is_symlink()]


def test_removing_through_a_link_stays_inside(stand: Stand) -> None:
    away = str(stand.outside)
    stand.unpack(
        layer(symlink("away", away), symlink("top", "/"), file(f"{away}/secret"), file("d/f")),
        layer(whiteout("away/secret"), Entry(name="away/.wh..wh..opq"), whiteout("top/d/f")),
        layer(whiteout("away")),
    )
    assert stand.names(away[1:]) == stand.names("d") == set()
    assert stand.names() == {"top", "d", away.split("/")[1]} - {"tmp"}


def test_a_directory_becomes_a_link_while_files_go_into_it(stand: Stand) -> None:
    away = str(stand.outside)
    swaps = [(directory("d"), file("d/f", "1"), symlink("d", away), file("d/f", "2"))] * 20
    stand.unpack(layer(*itertools.chain(*swaps)), layer(*itertools.chain(*swaps)))
    assert stand.read(f"{away[1:]}/f") == b"2"


def test_modes_and_times_of_directories_do_not_go_through_links(stand: Stand) -> None:
    made = [directory("d", mode=0o777), directory("d/directory", mode=0o777)]
    away = str(stand.outside)
    stand.unpack(layer(*made), layer(whiteout("d"), symlink("d", away)), layer(symlink("e", away)))
    assert (stand.target / "d").is_symlink()


@pytest.mark.parametrize("link", ["loop", "./loop", "other"])
def test_links_in_a_circle(stand: Stand, link: str) -> None:
    entries = [symlink("loop", link), symlink("other", "loop"), file("loop/f")]
    with pytest.raises(InvalidImageError, match="the entry 'loop/f' cannot be made: Too many"):
        stand.unpack(layer(*entries))
    with pytest.raises(InvalidImageError, match="the entry 'loop/f' cannot be made: Too many"):
        stand.unpack(layer(), layer(*entries))


def test_a_chain_of_links_that_nobody_follows(stand: Stand) -> None:
    links = [symlink(f"l{n}", f"l{n + 1}") for n in range(1500)]
    with pytest.raises(InvalidImageError, match="the entry 'l0/f' cannot be made: Too many"):
        stand.unpack(layer(), layer(*links, file("l0/f")), limits=PLENTY)


def test_a_file_as_a_parent(stand: Stand) -> None:
    with pytest.raises(InvalidImageError, match="the entry 'f/x' cannot be made: Not a directory"):
        stand.unpack(layer(file("f"), file("f/x")))


def test_the_root_is_no_file(stand: Stand) -> None:
    with pytest.raises(InvalidImageError, match="its root is no directory"):
        stand.unpack(layer(symlink("./", str(stand.outside))))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"", "it has an entry without a name"),
        (b"n" * 99 + b"/" + b"m" * 256, "File name too long"),
        (b"d/" * 257, "is longer than 4095 bytes or 256 levels"),
        (b"ab/" * 90 + b"/" * 5000 + b"n" * 255 + (b"/" + b"n" * 250) * 16, "is longer than"),
    ],
)
def test_names_beyond_all_bounds(stand: Stand, name: bytes, message: str) -> None:
    long = header(b"L", size=b"%011o" % len(name)) + name.ljust(-(-len(name) // 512) * 512, b"\0")
    with pytest.raises(InvalidImageError, match=message):
        stand.unpack((long if name else b"") + header(name=b"") + bytes(1024))


def test_a_zero_byte_in_a_name(stand: Stand) -> None:
    with pytest.raises(InvalidImageError, match=r"the entry 'a\\x00b' has a zero byte"):
        stand.unpack(layer(Entry(name="f", pax={"path": "a\0b"})))


def test_a_message_is_one_line_and_short(stand: Stand) -> None:
    with pytest.raises(InvalidImageError) as raised:
        stand.unpack(layer(file("../\n\x1b[31m\udcff" + "long/" * 200)))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 300


def test_a_hundred_levels(stand: Stand) -> None:
    deep = "/".join("d" * 100)
    stand.unpack(layer(file(f"{deep}/f", "1"), file("f")), layer(whiteout("d"), file("g")))
    assert stand.names() == {"f", "g"}


def test_longer_paths_than_the_kernel_takes(stand: Stand) -> None:
    """By a link in the middle: they are made, and a whiteout of them is refused in good order."""
    deep = "/".join(["n" * 250] * 14)
    made = layer(directory(deep), symlink("s", deep), file(f"s/{deep}/f"))
    with pytest.raises(InvalidImageError, match="File name too long"):
        stand.unpack(made, layer(whiteout("n" * 250)))


def packed(pack: str, pieces: Iterable[bytes]) -> bytes:
    zstd = zstandard.ZstdCompressor(level=1).compressobj()
    packer = zstd if pack == "zstd" else zlib.compressobj(1, wbits=31)
    return b"".join(packer.compress(piece) for piece in pieces) + packer.flush()


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_a_bomb(stand: Stand, pack: str) -> None:
    zeros = (bytes(MIB) for _ in range(128))
    bomb = packed(pack, [header(size=b"%011o" % (128 * MIB)), *zeros])
    with pytest.raises(InvalidImageError, match="unpacks to more than 1,048,576 bytes"):
        stand.unpack(bomb, limits=limited())
    assert stand.names() == set()  # it did not even begin


def test_many_files_are_a_bomb_too(stand: Stand) -> None:
    entries = (file(f"f{n}", bytes(100_000)) for n in range(50))
    with pytest.raises(InvalidImageError, match="more than 1,048,576 bytes"):
        stand.unpack(layer(*entries), limits=limited())
    assert len(stand.names()) == 10


def test_what_is_replaced_counts(stand: Stand) -> None:
    entries = [file("f", bytes(400_000))] * 3
    with pytest.raises(InvalidImageError, match="more than 1,048,576 bytes"):
        stand.unpack(layer(*entries), limits=limited())


def test_holes_count(stand: Stand) -> None:
    records = {"GNU.sparse.map": "0,1", "GNU.sparse.realsize": str(1 << 50)}
    with pytest.raises(InvalidImageError, match="more than 1,048,576 bytes"):
        stand.unpack(layer(Entry(name="f", content=b"1", pax=records)), limits=limited())


@pytest.mark.parametrize(
    "entry",
    [
        file("f"),
        directory("d"),
        symlink("s", "t"),
        device("n"),
        whiteout("w"),
        Entry(name=".wh..wh.x"),
    ],
)
def test_a_million_entries(stand: Stand, entry: Entry) -> None:
    block = tar([entry])[:512]
    data = packed("zstd", (block * 10_000 for _ in range(100)))
    with pytest.raises(InvalidImageError, match="the image has more than 1,000 entries"):
        stand.unpack(data, limits=limited())


def test_directories_without_an_entry_count(stand: Stand) -> None:
    entries = (file("/".join([str(n), *"d" * 200])) for n in range(10))
    with pytest.raises(InvalidImageError, match="more than 1,000 entries"):
        stand.unpack(layer(*entries), limits=limited())


@pytest.mark.parametrize("kind", [b"x", b"g", b"L"])
def test_extended_headers_without_end(stand: Stand, kind: bytes) -> None:
    record = b"%d comment=%s\n"
    body = record % (500_000, b"c" * (500_000 - 16))
    block = header(kind, size=b"%011o" % len(body)) + body.ljust(500_224, b"\0")
    with pytest.raises(InvalidImageError, match="more than 1,048,576 bytes"):
        stand.unpack(gzip.compress(block * 40), limits=limited())


def endless(stand: Stand) -> None:
    """Begin with a file of 2 GiB, which is not packed and costs no room itself."""
    path = stand.place / "layer-0"
    path.write_bytes(header(size=b"%011o" % (2048 * MIB)))
    os.truncate(path, 2048 * MIB)


@pytest.mark.parametrize("at", ["start", "later"])
def test_the_disk_keeps_room(stand: Stand, at: str) -> None:
    endless(stand)
    found = os.statvfs(stand.place)
    free = found.f_bavail * found.f_frsize + (4096 * MIB if at == "start" else -64 * MIB)
    stand.ask(limited(bytes=4096 * MIB, free=free))
    with pytest.raises(NoSpaceError, match=r"and [0-9,]+ must stay free; remove images"):
        stand.end()


@contextmanager
def stopped(stand: Stand) -> Iterator[int]:
    """Have an unpacking in its middle, stopped, and yield the process that does it."""
    endless(stand)
    stand.ask(limited(bytes=4096 * MIB))
    assert "done" in stand.unpacker.hear()
    child = stand.unpacker.child()
    os.kill(child, signal.SIGSTOP)
    yield child


def test_a_killed_process_is_an_error(stand: Stand) -> None:
    with stopped(stand) as child:
        os.kill(child, signal.SIGKILL)
    message = "unpacking was killed by SIGKILL; if nobody did so, the machine is short of memory"
    with pytest.raises(ImageError, match=message) as raised:
        stand.end()
    assert raised.value.kind == "image"


def test_what_the_process_can_reach(stand: Stand) -> None:
    with stopped(stand) as child:
        try:
            _check_confinement(stand, child)
        finally:
            os.kill(child, signal.SIGKILL)
    with pytest.raises(ImageError):
        stand.end()


def _check_confinement(stand: Stand, child: int) -> None:
    process = Path(f"/proc/{child}")
    said = (process / "status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in said)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0b11011
    assert int(status["CapBnd"], 16) == 0b11011
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["Uid"].split() == [str(stand.unpacker.user)] * 4
    assert status["Gid"].split() == [str(stand.unpacker.group)] * 4
    assert status["Groups"].strip() == "" or not stand.unpacker.is_range
    root, ours = (process / "root").readlink(), (process / "cwd").readlink()
    assert root == ours == stand.target
    for name in ("user", "mnt", "net", "ipc", "uts"):
        ours = Path(f"/proc/self/ns/{name}").readlink()
        assert (process / "ns" / name).readlink() != ours
    opened = {str(fd.readlink()) for fd in (process / "fd").iterdir()}
    pipes = {name for name in opened if name.startswith("pipe:")}
    assert len(pipes) == 1
    written = str(stand.target / "x")
    assert opened - pipes <= {"/dev/null", str(stand.place / "layer-0"), written}


def test_the_process_ends_with_its_caller(stand: Stand) -> None:
    with unpacker(stand.unpacker.mode) as own, stopped(Stand(own, stand.place / "own")) as child:
        watch = os.pidfd_open(child)
        own.process.kill()
        own.process.wait()
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        assert poll.poll(10_000)
        os.close(watch)
