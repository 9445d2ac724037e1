"""Trees that somebody changes while they are packed, unpacked and merged."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lunette._archive import ArchiveError, Extractor, pack, place

from .trees import described, opened, packed

ROUNDS = 3000


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"secret")
    return outside


@contextmanager
def flipping(directory: Path, link: Path) -> Generator[None]:
    """Exchange a directory and a link, all the time."""
    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(directory), os.fsencode(link)
    ended = threading.Event()

    def flip() -> None:
        while not ended.is_set():
            libc.renameat2(-100, paths[0], -100, paths[1], 2)  # RENAME_EXCHANGE

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("name", ["d", "f"])
def test_packing_reads_nothing_outside(tmp_path: Path, outside: Path, name: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    if name == "d":
        (tree / "d").mkdir()
        (tree / "d" / "f").write_bytes(b"inside")
        (tmp_path / "link").symlink_to(outside)
    else:
        (tree / "f").write_bytes(b"inside")
        (tmp_path / "link").symlink_to(outside / "f")
    seen = {True: 0, False: 0}
    with flipping(tree / name, tmp_path / "link"):
        for _ in range(ROUNDS):
            archive = packed(tree)
            assert b"secret" not in archive
            seen[b"inside" in archive] += 1
    assert all(seen.values())


def test_unpacking_writes_nothing_outside(tmp_path: Path, outside: Path) -> None:
    source = tmp_path / "source"
    (source / "d" / "e").mkdir(parents=True)
    (source / "d" / "e" / "new").write_bytes(b"new")
    (source / "d" / "f").write_bytes(b"written")
    (source / "d").chmod(0o500)
    archive, before = packed(source), described(outside)
    link = tmp_path / "link"
    link.symlink_to(outside)
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    outcomes = set[bool]()
    with flipping(root / "d", link), opened(root) as fd:
        for _ in range(ROUNDS):
            with Extractor(fd, safe_links=False) as extractor:
                try:
                    extractor.feed(archive)
                    extractor.finish()
                    outcomes.add(True)
                except (ArchiveError, OSError):
                    outcomes.add(False)
    assert described(outside) == before
    assert outcomes


def test_merging_writes_nothing_outside(tmp_path: Path, outside: Path) -> None:
    before = described(outside)
    link = tmp_path / "link"
    link.symlink_to(outside)
    target = tmp_path / "target"
    (target / "d" / "e").mkdir(parents=True)
    outcomes = set[bool]()
    with flipping(target / "d", link), opened(tmp_path) as parent:
        for _ in range(ROUNDS // 3):
            (tmp_path / "staged" / "d" / "e").mkdir(parents=True, exist_ok=True)
            (tmp_path / "staged" / "d" / "f").write_bytes(b"written")
            (tmp_path / "staged" / "d" / "e" / "f").write_bytes(b"written")
            try:
                place(parent, "staged", "target")
                outcomes.add(True)
            except NotADirectoryError:
                outcomes.add(False)
    assert described(outside) == before
    assert outcomes == {True, False}


def packing(tree: Path, change: Callable[[], object]) -> bytes:
    """Pack *tree*, of which more than a block is there, and *change* it after the first."""
    with opened(tree) as root:
        blocks = pack(root, path="S")
        first = next(blocks)
        change()
        return first + b"".join(blocks)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "b").mkdir(parents=True)
    (tree / "a").write_bytes(b"a" * 5_000_000)
    (tree / "b" / "c").write_bytes(b"c")
    return tree


def test_what_vanishes_is_left_out(tree: Path) -> None:
    assert b"b/c" not in packing(tree, (tree / "b" / "c").unlink)
    (tree / "z").touch()
    assert b"z" not in packing(tree, (tree / "z").unlink)


def test_what_grows_is_cut(tree: Path) -> None:
    def grow() -> None:
        with (tree / "a").open("ab") as file:
            file.write(b"more")

    assert b"more" not in packing(tree, grow)


def test_what_shrinks_is_an_error(tree: Path) -> None:
    with pytest.raises(OSError, match="changed while it was read: 'S/a'") as caught:
        packing(tree, lambda: os.truncate(tree / "a", 3_000_000))
    assert caught.value.errno == errno.ESTALE


def test_a_fifo_that_takes_the_place_of_a_file_holds_nothing_up(tree: Path) -> None:
    def replace() -> None:
        (tree / "b" / "c").unlink()
        os.mkfifo(tree / "b" / "c")

    assert b"b/c" not in packing(tree, replace)
