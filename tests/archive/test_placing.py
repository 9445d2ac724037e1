# pathlib knows no bytes, which names here are.
# ruff: noqa: PTH211

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lunette._archive import place, remove

from .trees import described, opened, packed


def staged(tmp_path: Path, **content: str | None) -> Path:
    root = tmp_path / "staged"
    root.mkdir()
    for name, text in content.items():
        path = root / name.replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_text(text)
    return root


def placed(tmp_path: Path) -> None:
    with opened(tmp_path) as parent:
        place(parent, "staged", "target", path="P")


def content(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def test_a_new_one_is_renamed(tmp_path: Path) -> None:
    inode = staged(tmp_path, a="1").stat().st_ino
    placed(tmp_path)
    assert (tmp_path / "target").stat().st_ino == inode
    assert not (tmp_path / "staged").exists()


def test_what_is_there_is_merged_with(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for name in ("both", "old"):
        (target / "d" / name).mkdir(parents=True)
    (target / "d" / "both" / "kept").write_text("kept")
    (target / "file").write_text("before")
    (target / "d").chmod(0o711)
    staged(tmp_path, d_both_new="new", d_new_f="f", file="after", link="x", empty=None)
    (tmp_path / "staged" / "d" / "new").chmod(0o555)
    placed(tmp_path)
    assert content(target) == {
        "d/both/kept": "kept",
        "d/both/new": "new",
        "d/new/f": "f",
        "file": "after",
        "link": "x",
    }
    assert (target / "d").stat().st_mode & 0o777 == 0o711
    assert (target / "d" / "new").stat().st_mode & 0o777 == 0o555
    assert (target / "empty").is_dir()


def test_into_itself(tmp_path: Path) -> None:
    """What is staged may be in the target, where no other place is on its file system."""
    staged(tmp_path, a="1", d_b="2")
    with opened(tmp_path) as parent:
        place(parent, "staged", ".", path="P")
        remove(parent, "staged")
    assert content(tmp_path) == {"a": "1", "d/b": "2"}


@pytest.mark.parametrize("file_here", [False, True])
def test_one_in_the_place_of_the_other(tmp_path: Path, file_here: bool) -> None:
    target = tmp_path / "target"
    staged(tmp_path, a="moved?", **({"d_x": "file"} if file_here else {"d_x_y": ""}))
    if file_here:
        (target / "d" / "x").mkdir(parents=True)
    else:
        (target / "d").mkdir(parents=True)
        (target / "d" / "x").write_text("file")
    kind = IsADirectoryError if file_here else NotADirectoryError
    with pytest.raises(kind, match="'P/d/x'"):
        placed(tmp_path)
    assert not (target / "a").exists()


@pytest.mark.parametrize("name", ["target", "target/d"])
def test_a_link_is_no_directory(tmp_path: Path, name: str) -> None:
    staged(tmp_path, d_x="new")
    (tmp_path / "outside").mkdir()
    if name != "target":
        (tmp_path / "target").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "outside")
    with pytest.raises(NotADirectoryError):
        placed(tmp_path)
    assert not list((tmp_path / "outside").iterdir())


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    staged(tmp_path, f="new")
    (tmp_path / "outside").write_text("outside")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "f").symlink_to(tmp_path / "outside")
    placed(tmp_path)
    assert (tmp_path / "outside").read_text() == "outside"
    assert not (tmp_path / "target" / "f").is_symlink()


def test_to_another_file_system(tmp_path: Path) -> None:
    """A directory of the target is the root of another file system, as in a sandbox."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other file system")
    if os.getuid() or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("nothing can be mounted")
    root = staged(tmp_path, m_f="file", m_d_g="deep", m_d_e=None)
    os.symlink("f", root / "m" / "l")
    os.utime(root / "m" / "f", ns=(0, 123_456_789_012_345_678))
    (root / "m" / "f").chmod(0o640)
    (root / "m" / "d").chmod(0o550)
    (tmp_path / "target" / "m").mkdir(parents=True)
    expected = {
        path: found for path, found in described(root).items() if path not in (b".", b"m", b"m/d")
    }
    script = (
        "import sys, os; from pathlib import Path; from tests.archive.trees import *;"
        "from lunette._archive import place; root = Path(sys.argv[1]);"
        "fd = os.open(root, DIRECTORY); place(fd, 'staged', 'target');"
        "print(described(root / 'target'))"
    )
    mount = f'mount -t tmpfs none "{tmp_path}/target/m" && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "-", sys.executable, "-c", script, tmp_path],
        check=True,
        capture_output=True,
        text=True,
    )
    found = eval(done.stdout)
    assert found[b"m/d"][1] == 0o550
    assert {path: found[path] for path in expected} == expected


def test_one_who_may_not_write_to_what_is_moved(tmp_path: Path) -> None:
    """Also for who is not root: directories may come with any mode, and be merged and removed."""
    source = tmp_path / "source"
    for number, mode in enumerate((0o000, 0o555, 0o300, 0o711)):
        (source / f"d{number}" / "e").mkdir(parents=True)
        (source / f"d{number}" / "e" / "f").write_text("x")
        (source / f"d{number}" / "e").chmod(mode)
        (source / f"d{number}").chmod(mode)
    source.chmod(0o555)
    (tmp_path / "archive").write_bytes(packed(source))
    script = """
import os, sys
from lunette._archive import *
archive = open("archive", "rb").read()
if not os.getuid():
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
parent = os.open(".", os.O_RDONLY)
for number in range(3):
    os.mkdir("staged")
    root = os.open("staged", os.O_RDONLY)
    with Extractor(root, safe_links=True) as extractor:
        os.fchmod(root, 0o700)
        extractor.feed(archive)
        extractor.finish()
    if number == 1:
        for d in range(4):
            os.chmod(f"target/d{d}", 0o700)
            print(oct(os.stat(f"target/d{d}/e").st_mode & 0o777))
            os.chmod(f"target/d{d}/e", 0o700)
        os.chmod("target", 0o700)
    if number < 2:
        place(parent, "staged", "target")
    remove(parent, "staged")
"""
    tmp_path.chmod(0o777)
    for above in tmp_path.parents:
        if above.stat().st_mode & 0o055 != 0o055:
            above.chmod(above.stat().st_mode | 0o055)
        if above.name.startswith("pytest-of"):
            break
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert done.stderr == b""
    assert done.stdout.split() == [b"0o0", b"0o555", b"0o300", b"0o711"]
    assert not (tmp_path / "staged").exists()


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    with opened(tmp_path) as parent:
        for name in ("d", "link", "missing"):
            remove(parent, name)
    assert [path.name for path in tmp_path.rglob("*")] == ["outside", "kept"]
