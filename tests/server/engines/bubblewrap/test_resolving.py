"""Where paths lead, as the kernel has it."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from lunette.server.engines.bubblewrap.inside.resolving import real_path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path.resolve()
    (place / "d" / "e").mkdir(parents=True)
    (place / "file").touch()
    for name, target in {
        "relative": "d/e",
        "absolute": str(place / "d"),
        "up": "d/e/../../relative/../e/",
        "nowhere": "new/in/it",
        "d/slashes": "..//d/./e//",
    }.items():
        (place / name).symlink_to(target)
    return place


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "d", "d/", "d//e", "d/./e/..", "d/../d/e/../../file", "file", "relative"),
        *("relative/..", "absolute/e/..", "up", "up/../..", "d/slashes", "nowhere", "nowhere/more"),
        *("new", "new/in", "new/../d", "new/in/../../relative/..", "d/new/../../absolute/x"),
        *("../../../../../../../../../..", "up/new"),
    ],
)
def test_it_is_as_python_has_it(place: Path, path: str) -> None:
    asked = f"{place}/{path}"
    assert real_path(asked) == os.path.realpath(asked)


def test_the_root() -> None:
    assert [real_path(path) for path in ("/", "//", "/..", "")] == ["/"] * 4


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("file/x", errno.ENOTDIR),
        ("file/..", errno.ENOTDIR),
        ("loop", errno.ELOOP),
        ("loop/x", errno.ELOOP),
        ("n" * 256, errno.ENAMETOOLONG),
    ],
)
def test_what_the_kernel_refuses(place: Path, path: str, number: int) -> None:
    (place / "loop").symlink_to("loop")
    with pytest.raises(OSError) as caught:
        real_path(f"{place}/{path}")
    assert caught.value.errno == number


def test_it_follows_as_far_as_the_kernel(place: Path) -> None:
    (place / "l0").symlink_to("d")
    for n in range(1, 41):
        (place / f"l{n}").symlink_to(f"l{n - 1}")
    (place / "l39").stat()
    assert real_path(f"{place}/l39/new") == f"{place}/d/new"
    for follow in (Path.stat, lambda path: real_path(str(path))):
        with pytest.raises(OSError) as caught:
            follow(place / "l40")
        assert caught.value.errno == errno.ELOOP


def test_no_descriptor_is_left(place: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("up/../new", "file/x", "absolute/../relative"):
        with contextlib.suppress(NotADirectoryError):
            real_path(f"{place}/{path}")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
