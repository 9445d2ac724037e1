"""Directories that outlive no owner, and the removal of trees that somebody hostile shaped."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lunette import _scratch
from lunette._scratch import Scratch, remove_tree, sweep


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path


def test_it_is_its_owners_alone() -> None:
    scratch = Scratch.create()
    assert scratch.path.stat().st_mode & 0o777 == 0o700
    scratch.remove()
    assert not scratch.path.exists()


def test_a_sweep_leaves_what_is_owned() -> None:
    scratch = Scratch.create()
    sweep()
    assert scratch.path.exists()
    scratch.remove()


def test_a_sweep_takes_what_nobody_owns() -> None:
    scratch = Scratch.create()
    (scratch.path / "full").mkdir()
    scratch.close()
    sweep()
    assert not scratch.path.exists()


def test_a_sweep_leaves_what_only_has_the_name(temporary: Path) -> None:
    mine = temporary / "lunette-checkout"
    mine.mkdir()
    sweep()
    assert mine.exists()


def test_a_lock_lives_as_long_as_any_copy_of_it() -> None:
    scratch = Scratch.create()
    heir = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[scratch.fd]
    )
    scratch.close()
    sweep()
    assert scratch.path.exists()
    heir.communicate(b"\n")
    sweep()
    assert not scratch.path.exists()


def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "deep"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d" * 20, dir_fd=here)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(top)
    assert not top.exists()


def test_closed_directories_are_removed_by_their_user(tmp_path: Path) -> None:
    script = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(sys.modules["lunette"].__file__ or "").parent.parent)!r})
from lunette._scratch import remove_tree
if os.geteuid() == 0:
    os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)
top = Path(sys.argv[1], "top")
(top / "closed" / "inner").mkdir(parents=True)
(top / "closed" / "inner" / "file").touch()
(top / "closed" / "inner").chmod(0)
(top / "closed").chmod(0)
remove_tree(top)
assert not top.exists()
"""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o777)
        subprocess.run([sys.executable, "-c", script, directory], check=True)


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    top = tmp_path / "top"
    top.mkdir()
    (top / "link").symlink_to(outside)
    (top / ".lunette-0").write_text("a name that removal itself uses")
    (top / "a" / "b").mkdir(parents=True)
    remove_tree(top)
    assert (outside / "kept").exists()
    assert not top.exists()


def test_what_is_not_there_is_removed() -> None:
    remove_tree(Path(tempfile.gettempdir(), "nowhere"))


def test_a_link_that_is_swapped_in_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who is still at work inside changes what was listed before it is removed."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "file").touch()
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    listed = _scratch._some_entries

    def swap(fd: int) -> list[tuple[str, bool]]:
        entries = listed(fd)
        if not (top / "d").is_symlink():
            (top / "d").rename(tmp_path / "away")
            (top / "d").symlink_to(outside)
        return entries

    monkeypatch.setattr(_scratch, "_some_entries", swap)
    with pytest.raises(OSError):
        remove_tree(top)
    assert outside.stat().st_mode & 0o777 == 0o755
    assert (outside / "file").exists()


def test_what_is_large_goes_to_a_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_scratch, "_ON_DISK", tmp_path)
    monkeypatch.setattr(_scratch.tempfile, "gettempdir", lambda: "/dev/shm")
    assert _scratch.directory_on_disk() == tmp_path
    monkeypatch.setenv("TMPDIR", "/dev/shm")  # somebody chose it
    assert _scratch.directory_on_disk() == Path("/dev/shm")


def test_a_temporary_directory_on_a_disk_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(_scratch, "_in_memory", lambda path: False)
    assert _scratch.directory_on_disk() == Path(_scratch.tempfile.gettempdir())


def test_a_directory_with_the_name_of_the_mark_goes_too(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for above in ("", "inner/", "inner/deeper/"):
        (tree / above / _scratch._MARK / "below").mkdir(parents=True)
    remove_tree(tree)
    assert not tree.exists()
