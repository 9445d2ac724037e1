# pathlib knows no bytes, which names here are.
# ruff: noqa: PTH108, PTH115

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from lunette._archive import Trail, pack, remove

from .trees import cut, described, extract, opened, packed

Expected = dict[bytes, tuple[object, ...]]


def run(*command: str | Path, **options: object) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, **options).stdout  # type: ignore[call-overload]


@pytest.mark.parametrize("seed", range(3))
def test_what_goes_in_comes_out(tree: Path, tmp_path: Path, seed: int) -> None:
    archive = packed(tree)
    assert extract(cut(archive, random.Random(seed)), tmp_path / "out") == []
    assert described(tmp_path / "out") == described(tree)


def test_an_archive_is_the_same_each_time(tree: Path) -> None:
    assert packed(tree) == packed(tree)


def test_blocks_are_large(tree: Path) -> None:
    with opened(tree) as root:
        sizes = [len(block) for block in pack(root)]
    assert all(64 << 10 <= size <= 2 << 20 for size in sizes[:-1])


def test_gnu_tar_reads_it(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run("tar", "-C", tmp_path / "out", "-xpf", "-", input=packed(tree))
    assert described(tmp_path / "out") == described(tree)


def test_pythons_tarfile_reads_it(tree: Path, tmp_path: Path) -> None:
    with tarfile.open(fileobj=BytesIO(packed(tree)), errors="surrogateescape") as archive:
        members = {os.fsencode(member.name): member for member in archive}
        content = {
            name: found.read()
            for name, member in members.items()
            if (found := archive.extractfile(member) if member.isreg() else None)
        }
    expected = described(tree)
    assert members.keys() == expected.keys()
    for name, (kind, mode, _, data) in expected.items():
        member = members[name]
        assert content.get(name, os.fsencode(member.linkname)) == data
        assert (member.isdir(), member.mode) == (kind == stat.S_IFDIR, mode or member.mode)


@pytest.mark.parametrize("form", ["gnu", "posix", "ustar", "v7", "oldgnu"])
def test_what_gnu_tar_writes_is_read(tree: Path, tmp_path: Path, form: str) -> None:
    if form in ("ustar", "v7"):  # which have no room for these
        (tree / "long link").unlink()
        for name in [b"n" * 255, ("\u00e9" * 127 + "e").encode()]:
            shutil.rmtree(os.fsencode(tree) + b"/in a directory/" + name)
            os.unlink(os.fsencode(tree) + b"/" + name)
        for link in tree.glob("to-*"):
            if len(os.readlink(os.fsencode(link))) > 99:
                link.unlink()
    if form in ("ustar", "v7"):
        os.utime(tree / "exact", ns=(0, 0))
    archive = run("tar", "-C", tree, f"--format={form}", "-cf", "-", ".")
    extract(archive, tmp_path / "out", hard_links=True)
    assert (tmp_path / "out" / "hard").samefile(tmp_path / "out" / "exact")
    exact = form == "posix"
    assert _rounded(described(tmp_path / "out"), exact) == _rounded(described(tree), exact)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_pythons_tarfile_writes_is_read(tree: Path, tmp_path: Path, form: int) -> None:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, errors="surrogateescape") as archive:
        archive.add(tree, ".")
    extract(file.getvalue(), tmp_path / "out", hard_links=True)
    assert _rounded(described(tmp_path / "out"), False) == _rounded(described(tree), False)


def _rounded(found: Expected, exact: bool) -> Expected:
    if exact:
        return found
    return {
        path: (kind, mode, _seconds(mtime), content)
        for path, (kind, mode, mtime, content) in found.items()
    }


def _seconds(mtime: object) -> int:
    assert isinstance(mtime, int)
    # A tar rounds towards nothing or down.
    return mtime // 1_000_000_000 if mtime > 0 else 0


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A tree of 1,000 levels, whose names make a path that no system call takes."""
    root = tmp_path / "deep"
    root.mkdir()
    with opened(root) as fd, Trail(fd) as trail:
        for number in range(1000):
            os.mkdir(b"level-%d" % number, dir_fd=trail.fd)
            trail.down(b"level-%d" % number)
        with os.fdopen(os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=trail.fd), "w") as file:
            file.write("at the end")
    return root


def test_a_thousand_levels(deep: Path, tmp_path: Path) -> None:
    archive = packed(deep)
    extract(archive, tmp_path / "out")
    again = packed(tmp_path / "out")
    assert again == archive
    with opened(tmp_path) as parent:
        remove(parent, "out")
        remove(parent, "deep")
    assert not list(tmp_path.iterdir())


def test_a_file_of_more_than_8_gib(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    size = (8 << 30) + 5
    with (tmp_path / "in" / "sparse").open("wb") as file:
        file.truncate(size)
    with opened(tmp_path / "in") as root:
        blocks = pack(root)
        first = next(blocks)
        blocks.close()
    with tarfile.open(fileobj=BytesIO(first)) as archive:
        archive.next()
        member = archive.next()
    assert member is not None
    assert (member.name, member.size) == ("sparse", size)


def test_times_that_no_header_has_room_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, mtime in (("early", -(1 << 40) * 10**6 - 1), ("late", (1 << 34) * 10**9 - 10**9)):
        (tmp_path / "in" / name).touch()
        try:
            os.utime(tmp_path / "in" / name, ns=(0, mtime))
        except OSError:
            pytest.skip("the file system has no such times")
    extract(packed(tmp_path / "in"), tmp_path / "out")
    assert described(tmp_path / "out") == described(tmp_path / "in")


def test_rules_prune(tree: Path, tmp_path: Path) -> None:
    names = [name for name in _names(packed(tree, [(r"(?s:in a directory/)\Z", True)]))]
    assert b"exact" in names
    assert not [name for name in names if name.startswith(b"in a directory")]


def _names(archive: bytes) -> list[bytes]:
    with tarfile.open(fileobj=BytesIO(archive), errors="surrogateescape") as opened:
        return [os.fsencode(name) for name in opened.getnames()]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: os.mkfifo(path),
        lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
    ],
)
def test_other_kinds_are_left_out(tmp_path: Path, make: Callable[[Path], None]) -> None:
    try:
        make(tmp_path / "other")
    except PermissionError:
        pytest.skip("only root makes devices")
    skipped: list[str] = []
    with opened(tmp_path) as root:
        archive = b"".join(pack(root, path="S", skipped=skipped.append))
    assert (skipped, _names(archive)) == (["S/other"], [b"."])
