from __future__ import annotations

import contextlib
import io
import os
import random
import stat
import tarfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from lunette._archive import ArchiveError, Extractor, remove

from .trees import cut, described, extract, opened, packed

Member = tuple[str, bytes, str | bytes]  # name, kind, and content or target


def made(*members: Member, form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o644 if kind == tarfile.REGTYPE else 0o755
            if isinstance(content, str):
                info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


FILE, DIR, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that nothing may be read from or written to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (outside / "secret").chmod(0o640)
    return outside


@pytest.mark.parametrize(
    "members",
    [
        [("../outside/new", FILE, b"x")],
        [("a/../../outside/new", FILE, b"x")],
        [("/tmp/absolute", FILE, b"x")],
        [("..", DIR, b"")],
        [("link", LINK, "../outside"), ("link/new", FILE, b"x")],
        [("link", LINK, "../outside"), ("link/new", DIR, b"")],
        [("link", LINK, "../outside"), ("link/secret/new", FILE, b"x")],
        [("a", DIR, b""), ("a", LINK, "../outside")],
        [("a/b", FILE, b""), ("a", FILE, b"")],
        [("a", FILE, b""), ("a/b", FILE, b"")],
        [("hard", HARD, "../outside/secret")],
        [("hard", HARD, "/etc/passwd")],
        [("hard", HARD, "missing")],
        [("d", DIR, b""), ("hard", HARD, "d")],
        [("d", DIR, b""), ("hard", HARD, ".")],
        [("link", LINK, "../outside"), ("hard", HARD, "link/secret")],
        [("", FILE, b"x")],
        [(".", FILE, b"x")],
        [("./", LINK, "x")],
        [("x", LINK, "")],
        [("fifo", tarfile.FIFOTYPE, b"")],
        [("null", tarfile.CHRTYPE, b"")],
        [("disk", tarfile.BLKTYPE, b"")],
        [("volume", b"V", b"")],
        [("sparse", tarfile.GNUTYPE_SPARSE, b"")],
        [("nobody knows", b"?", b"x")],
    ],
)
def test_what_is_refused(tmp_path: Path, outside: Path, members: Sequence[Member]) -> None:
    before = described(outside)
    with pytest.raises(ArchiveError):
        extract(made(*members), tmp_path / "T", hard_links=True)
    assert described(outside) == before
    assert not Path("/tmp/absolute").exists()


def test_hard_links_are_refused_unless_allowed(tmp_path: Path) -> None:
    archive = made(("f", FILE, b"x"), ("hard", HARD, "f"))
    with pytest.raises(ArchiveError, match="'hard' of the archive is a hard link"):
        extract(archive, tmp_path / "T")


def test_a_hard_link_of_a_link_is_to_the_link(tmp_path: Path, outside: Path) -> None:
    members = ("link", LINK, "../outside/secret"), ("hard", HARD, "link"), ("hard", FILE, b"new")
    extract(made(*members), tmp_path / "T", hard_links=True)
    assert (outside / "secret").read_bytes() == b"secret"
    assert (tmp_path / "T" / "hard").read_bytes() == b"new"


def test_the_last_of_a_name_counts(tmp_path: Path, outside: Path) -> None:
    before = described(outside)
    archive = made(
        ("a", LINK, "../outside/secret"),
        ("a", FILE, b"first"),
        ("a", FILE, b"last"),
        ("b", LINK, "../outside"),
        ("b", DIR, b""),
        ("b/secret", FILE, b"mine"),
        ("c", FILE, b""),
        ("c", LINK, "a"),
        ("d/e", FILE, b"1"),
        ("d", DIR, b""),
        ("hard", HARD, "a"),
        ("a", FILE, b"other"),
        ("hard", HARD, "hard"),
    )
    extract(archive, tmp_path / "T", hard_links=True)
    found = {path: content for path, (*_, content) in described(tmp_path / "T").items()}
    wanted = {b"a": b"other", b"b/secret": b"mine", b"c": b"a", b"d/e": b"1", b"hard": b"last"}
    assert found == {b".": b"", b"b": b"", b"d": b""} | wanted
    assert described(outside) == before


@pytest.mark.parametrize(
    ("name", "target", "is_safe"),
    [
        ("l", "x", True),
        ("l", "a/b/../c", False),
        ("l", "./a//b/", True),
        ("l", "..", False),
        ("l", "/etc/passwd", False),
        ("a/l", "../x", True),
        ("a/l", "..", True),
        ("a/l", "../../x", False),
        ("a/b/l", "../../x/y", True),
        ("a/b/l", ".././../..", False),
        ("a/l", "b/../../../x", False),
        ("l", "...", True),
    ],
)
def test_links_that_lead_out_are_left_out(
    tmp_path: Path, name: str, target: str, is_safe: bool
) -> None:
    archive = made((name, LINK, target), ("f", FILE, b"after"))
    left_out = extract(archive, tmp_path / "T", safe_links=True)
    assert left_out == ([] if is_safe else [f"T/{name}"])
    assert (tmp_path / "T" / name).is_symlink() is is_safe
    assert (tmp_path / "T" / "f").read_bytes() == b"after"


def test_links_in_a_chain_stay_inside(tmp_path: Path) -> None:
    """Whatever links that are safe lead through others, the tree is not left."""
    random_ = random.Random(1)
    parts = ["a", "b", "l0", "l1", "l2", "l3", ".."]
    for round_ in range(300):
        members: list[Member] = [("a/b/a", DIR, b""), ("b/a/b", DIR, b"")]
        for number in range(4):
            place = random_.choice(["", "a/", "a/b/", "b/a/b/"])
            target = "/".join(random_.choice(parts) for _ in range(random_.randint(1, 4)))
            members.append((f"{place}l{number}", LINK, target))
        root = tmp_path / str(round_)
        extract(made(*members), root, safe_links=True)
        for path in root.rglob("*"):
            if path.is_symlink():
                try:
                    real = path.resolve(strict=True)
                except (OSError, RuntimeError):
                    continue
                assert real.is_relative_to(root)


def test_nothing_is_setuid(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind in (("f", FILE), ("d", DIR)):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid = kind, 0o7755, 12345
            archive.addfile(info)
    extract(file.getvalue(), tmp_path / "T")
    for path in (tmp_path / "T").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        assert path.stat().st_uid == os.getuid()


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / ("n" * 150)).write_bytes(b"x" * 1000)
    (tmp_path / "in" / "f").write_bytes(b"y" * 600)
    archive = packed(tmp_path / "in")
    end = len(archive) - 1024
    random_ = random.Random(2)
    places = {*range(0, end + 1, 512), *(random_.randrange(end) for _ in range(100))}
    for place in sorted(places):
        with pytest.raises(ArchiveError, match="cut off"):
            extract(archive[:place], tmp_path / f"T{place}")


def test_what_follows_the_end_is_ignored(tmp_path: Path) -> None:
    archive = made(("f", FILE, b"x")) + made(("g", FILE, b"x")) + b"rest"
    extract(cut(archive, random.Random(3)), tmp_path / "T")
    assert [path.name for path in (tmp_path / "T").iterdir()] == ["f"]


def edited(field: slice, value: bytes, *, sum_: bool = True) -> bytes:
    header = bytearray(made(("name", FILE, b"x" * 600), form=tarfile.USTAR_FORMAT))
    header[field] = value
    if sum_:
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


@pytest.mark.parametrize(
    "archive",
    [
        edited(slice(0, 1), b"m", sum_=False),
        edited(slice(124, 136), b"\xff" * 12),  # -1
        edited(slice(124, 136), b"-0000000001\0"),
        edited(slice(124, 136), b"\x80" + b"\xff" * 11),  # 2**88 - 1
        edited(slice(124, 136), b"9999999999\0\0"),
        edited(slice(100, 108), b"eight  \0"),
        edited(slice(156, 157), b"x"),  # a PAX header of 600 letters
        edited(slice(0, 512), b"\xff" * 512),
        b"\0" * 511 + b"\1",
        b"#!/bin/sh\n" * 100,
    ],
)
def test_damaged_headers(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(ArchiveError):
        extract(archive, tmp_path / "T")


@pytest.mark.parametrize(
    "records",
    [
        b"99 path=short\n",
        b"12 path=short",
        b"x path=y\n",
        b"-5 path=y\n",
        b"5 a=b\n",
        b"18 size=123456789a\n",
        b"20 path=ab\0cdefghij\n",
        b"13 size=-512\n",
        b"29 size=99999999999999999999\n",
        b"22 GNU.sparse.major=1\n",
    ],
)
def test_damaged_records(tmp_path: Path, records: bytes) -> None:
    header = bytearray(edited(slice(156, 157), b"x")[:512])
    header[124:136] = b"%011o\0" % len(records)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    archive = bytes(header) + records.ljust(512, b"\0") + made(("f", FILE, b"x" * 10))
    with pytest.raises(ArchiveError):
        extract(archive, tmp_path / "T")


def test_an_extended_header_has_a_bound(tmp_path: Path) -> None:
    header = edited(slice(124, 136), b"%011o\0" % ((1 << 20) + 1))
    for kind in b"xgLK":
        large = bytearray(header[:512])
        large[156] = kind
        large[148:156] = b" " * 8
        large[148:156] = b"%06o\0 " % sum(large)
        with pytest.raises(ArchiveError, match="extended header"):
            extract(bytes(large), tmp_path / f"T{kind}")


def test_a_long_name_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        extract(made(("n" * 256, FILE, b"")), tmp_path / "T")
    with pytest.raises(OSError, match="4096 levels"):
        extract(made(("d/" * 5000 + "f", FILE, b"")), tmp_path / "U")
    # What pytest removes later may not be this deep.
    with opened(tmp_path) as parent:
        remove(parent, "U")


def test_an_archive_that_failed_stays_so(tmp_path: Path) -> None:
    tmp_path.joinpath("T").mkdir()
    with opened(tmp_path / "T") as root, Extractor(root, safe_links=True) as extractor:
        with pytest.raises(ArchiveError):
            extractor.feed(made(("..", FILE, b"")))
        extractor.feed(made(("f", FILE, b"")))
        with pytest.raises(ArchiveError, match="cut off"):
            extractor.finish()
    assert not list((tmp_path / "T").iterdir())


def test_noise_makes_no_other_error(tmp_path: Path) -> None:
    """Bytes that change at random are an archive still, or an ArchiveError, or an OSError."""
    good = made(("a/b", FILE, b"x" * 600), ("l", LINK, "a"), ("n" * 200, FILE, b"1"))
    random_ = random.Random(4)
    for round_ in range(500):
        archive = bytearray(good)
        for _ in range(random_.randint(1, 3)):
            at = random_.randrange(0, len(archive), 512) + random_.randrange(345)
            block = at // 512 * 512
            archive[at % len(archive)] = random_.choice(
                (0, 32, 47, 46, 49, 255, random_.randrange(256))
            )
            archive[block + 148 : block + 156] = b" " * 8
            total = b"%06o\0 " % sum(archive[block : block + 512])
            archive[block + 148 : block + 156] = total
        with contextlib.suppress(ArchiveError, OSError):
            extract(cut(bytes(archive), random_), tmp_path / "T" / str(round_), safe_links=True)
    assert {path.name for path in tmp_path.iterdir()} == {"T"}


def test_memory_does_not_grow_with_the_entries(tmp_path: Path) -> None:
    header = made(("f", FILE, b""), form=tarfile.USTAR_FORMAT)[:512]

    def directory(number: int) -> bytes:
        return made((f"d{number}", DIR, b""), form=tarfile.USTAR_FORMAT)[:512]

    (tmp_path / "T").mkdir()
    with opened(tmp_path / "T") as root, Extractor(root, safe_links=True) as extractor:
        extractor.feed(header * 10)
        tracemalloc.start()
        try:
            for n in range(300):
                extractor.feed(header * 10 + directory(n))
            assert tracemalloc.get_traced_memory()[0] < 50_000
        finally:
            tracemalloc.stop()
