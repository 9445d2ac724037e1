"""The verbs of `sandbox.files` do what Python does with a file of its own, and fail as it does."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from lunette import LunetteClient, Sandbox
from lunette.files import Files

TREE = """
umask 022; mkdir tree; cd tree; mkdir d empty full full/sub
echo hi > f; echo x > full/a; echo y > full/sub/b; chmod 640 f
ln -s f link; ln -s full dlink; ln -s gone broken
"""
PATHS = ["f", "d", "full", "link", "dlink", "broken", "new", "f/x", "new/x", "dlink/a", "broken/x"]
KINDS = [
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "symlink"),
]

Python = Callable[..., Any]


@pytest.fixture(scope="module")
def sandbox() -> Generator[Sandbox]:
    with LunetteClient() as client, client.create_sandbox({"image": "host"}) as sandbox:
        sandbox.exec(["sh", "-ec", TREE], check=True)
        yield sandbox


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("like-python")
    subprocess.run(["sh", "-ec", TREE], cwd=folder, check=True)
    return folder / "tree"


def kind(mode: int) -> str:
    return next((name for test, name in KINDS if test(mode)), "other")


def state(folder: Path) -> dict[str, Any]:
    """What is in a folder of this machine, with all that a listing says of it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        what = kind(info.st_mode)
        content = path.read_text() if what == "file" else None
        target = path.readlink().as_posix() if what == "symlink" else None
        permissions = None if what == "symlink" else stat.S_IMODE(info.st_mode)
        found[str(path.relative_to(folder))] = (what, permissions, content, target)
    return found


def state_inside(files: Files, folder: str) -> dict[str, Any]:
    found = {}
    for info in files.list(folder, depth=None):
        content = files.read_text(info.path) if info.is_file() else None
        permissions = None if info.is_symlink() else info.mode
        name = info.path.removeprefix(f"/workspace/{folder}/")
        found[name] = (info.type, permissions, content, info.target)
    return dict(sorted(found.items()))


def outcome(function: Callable[[], Any]) -> Any:
    """What a call answers, or the class of Python's and the errno of what it raises."""
    try:
        return function()
    except OSError as error:
        python = next(c for c in type(error).__mro__ if c.__module__ == "builtins")
        return python, error.errno


class Twin:
    """The same tree here and in a sandbox."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder, self.name = sandbox, folder, "twin"

    def compare(self, ours: Python, theirs: Python, *paths: str) -> None:
        """Do the same in both, and compare what comes of it."""
        inside = outcome(lambda: ours(*[f"{self.name}/{path}" for path in paths]))
        here = outcome(lambda: theirs(*[self.folder / path for path in paths]))
        assert inside == here, paths
        assert state_inside(self.sandbox.files, self.name) == state(self.folder)


@pytest.fixture
def twin(sandbox: Sandbox, tree: Path, tmp_path: Path) -> Generator[Twin]:
    shutil.copytree(tree, tmp_path / "twin", symlinks=True)
    sandbox.exec(["cp", "-a", "tree", "twin"], check=True)
    yield Twin(sandbox, tmp_path / "twin")
    sandbox.files.remove("twin", recursive=True)


@pytest.mark.parametrize("options", [{}, {"parents": True}, {"exist_ok": True}, {"mode": 0o700}])
@pytest.mark.parametrize("path", PATHS)
def test_mkdir(twin: Twin, path: str, options: Any) -> None:
    if (path, options) == ("broken/x", {"parents": True}):
        return  # Python says of the link that it exists, and we that it is no directory
    mkdir = twin.sandbox.files.mkdir
    twin.compare(lambda path: mkdir(path, **options), lambda path: path.mkdir(**options), path)


def removed(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


def removed_with_all(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@pytest.mark.parametrize("path", PATHS)
def test_remove(twin: Twin, path: str) -> None:
    remove = twin.sandbox.files.remove
    twin.compare(remove, removed, path)


@pytest.mark.parametrize("path", PATHS)
def test_remove_with_all_that_is_in_it(twin: Twin, path: str) -> None:
    remove = twin.sandbox.files.remove
    twin.compare(lambda path: remove(path, recursive=True), removed_with_all, path)


@pytest.mark.parametrize("target", [*PATHS, "full/sub/new", "empty"])
@pytest.mark.parametrize("source", PATHS)
def test_move(twin: Twin, source: str, target: str) -> None:
    if (source, target) == ("new", "f/x"):
        return  # wrong at both ends, of which Linux has looked at the other
    twin.compare(twin.sandbox.files.move, os.rename, source, target)


def looked_at(info: os.stat_result) -> Any:
    what = kind(info.st_mode)
    size = info.st_size if what != "directory" else None
    return what, size, stat.S_IMODE(info.st_mode)


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_stat(twin: Twin, path: str, follow: bool) -> None:
    def ours(path: str) -> Any:
        info = twin.sandbox.files.stat(path, follow_symlinks=follow)
        return info.type, None if info.is_dir() else info.size, info.mode

    twin.compare(ours, lambda path: looked_at(path.stat(follow_symlinks=follow)), path)


@pytest.mark.parametrize("path", PATHS)
def test_exists(twin: Twin, path: str) -> None:
    twin.compare(twin.sandbox.files.exists, os.path.exists, path)


@pytest.mark.parametrize("path", PATHS)
def test_list(twin: Twin, path: str) -> None:
    files = twin.sandbox.files
    twin.compare(
        lambda path: [info.name for info in files.list(path)],
        lambda path: sorted(os.listdir(path)),  # noqa: PTH208
        path,
    )


def read(file: Any) -> Any:
    with file:
        return file.read()


def written(file: Any) -> None:
    with file:
        file.write("new\n")


@pytest.mark.parametrize("path", PATHS)
def test_open_to_read(twin: Twin, path: str) -> None:
    files = twin.sandbox.files
    twin.compare(lambda path: read(files.open(path)), lambda path: read(path.open()), path)
    twin.compare(
        lambda path: read(files.open(path, "rb")), lambda path: read(path.open("rb")), path
    )


# In a missing directory ours makes it, as `write_text` does.
@pytest.mark.parametrize("path", [path for path in PATHS if path not in {"new/x", "broken/x"}])
@pytest.mark.parametrize("mode", ["w", "x", "a"])
def test_open_to_write(twin: Twin, path: str, mode: Any) -> None:
    files = twin.sandbox.files
    twin.compare(
        lambda path: written(files.open(path, mode)), lambda path: written(path.open(mode)), path
    )


def test_a_missing_directory_is_made(twin: Twin) -> None:
    for mode in ("w", "x", "a"):
        written(twin.sandbox.files.open(f"twin/{mode}/y/z", mode))
        assert twin.sandbox.files.read_text(f"twin/{mode}/y/z") == "new\n"


NOWHERE = [
    ("twin/loop", errno.ELOOP),
    ("twin/" + "x" * 300, errno.ENAMETOOLONG),
    ("x/" * 3000, errno.ENAMETOOLONG),
]


@pytest.mark.parametrize(("path", "number"), NOWHERE)
def test_names_that_lead_nowhere(twin: Twin, path: str, number: int) -> None:
    files = twin.sandbox.files
    twin.sandbox.exec("ln -s loop twin/loop", check=True)
    assert not files.exists(path)
    for verb in (files.stat, files.open, files.list):
        with pytest.raises(OSError, match=r"x|loop") as caught:
            verb(path)
        assert caught.value.errno == number
