"""The root file system of this machine's packages, and that it is kept whole."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from .catalogue import PYTHON, Images
from .rootfs import cache_directory, real_python_rootfs
from .tar_layers import trust

_ROOT = Path(__file__).parent.parent.parent
_MAKE = "from tests.images.rootfs import real_python_rootfs; print(real_python_rootfs())"


def _make(cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "LUNETTE_TEST_CACHE": str(cache), "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-c", _MAKE]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _made(process: subprocess.Popen[str]) -> Path:
    output, _ = process.communicate()
    assert process.returncode == 0
    return Path(output.strip())


def _unpacked(layer: Path, target: Path) -> Path:
    with tarfile.open(layer) as archive:
        trust(archive)
        for member in archive:
            member.uid, member.gid = os.getuid(), os.getgid()  # an ordinary user has no other
            archive.extract(member, target)
    return target


@pytest.fixture
def rootfs(tmp_path: Path, images: Images) -> Path:
    """Unpack the layer that `images` has kept."""
    return _unpacked(real_python_rootfs(), tmp_path / "rootfs")


def test_its_programs_run_and_know_their_users(rootfs: Path) -> None:
    script = """
        python -c 'import ssl, sqlite3, ctypes, sys; print(sys.version_info[:2], sys.executable)'
        id -u app; ls -ld /home/app/../../bin | cut -c1; echo ~root; test ! -e /usr/share/doc
    """
    path = "/usr/local/bin:/usr/bin:/bin"
    enter = ["unshare", "--user", "--map-root-user", "chroot", str(rootfs), "/bin/sh", "-c", script]
    output = subprocess.check_output(enter, env={"PATH": f"{path}:/usr/sbin"}, text=True)
    assert output.split("\n") == [
        *("(3, 11) /usr/local/bin/python", "1234", "l", "/root", ""),
    ]


def test_it_has_the_modes_and_owners_of_debian(images: Images) -> None:
    with tarfile.open(real_python_rootfs()) as archive:
        found = {member.name: member for member in archive}
    modes = {name: found[name].mode for name in ("tmp", "root", "usr/bin/passwd", "usr/bin/env")}
    assert modes == {"tmp": 0o1777, "root": 0o700, "usr/bin/passwd": 0o4755, "usr/bin/env": 0o755}
    assert (found["home/app"].uid, found["home/app"].gid) == (1234, 1234)
    assert found["usr/bin/chage"].gid == 42  # shadow
    assert {member.uid for member in found.values()} == {0, 1234}
    assert all(not member.name.startswith("/") for member in found.values())


def test_it_is_kept_and_is_the_layer_of_the_image(images: Images) -> None:
    kept = real_python_rootfs()
    assert kept.parent == cache_directory()
    assert kept.read_bytes() == images[PYTHON].image.layers[0].blob


def test_after_one_that_is_killed_two_that_begin_at_once_make_it_once(
    tmp_path: Path, images: Images
) -> None:
    killed = _make(tmp_path)
    while not list(tmp_path.glob("*.part")):
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    assert not list(tmp_path.glob("*.gz"))
    first, second = _make(tmp_path), _make(tmp_path)
    made = _made(first)
    assert made == _made(second)
    assert made.read_bytes() == real_python_rootfs().read_bytes()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".gz", ".lock"]


def test_a_cache_that_cannot_be_written_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LUNETTE_TEST_CACHE", str(tmp_path / "file/below"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = cache_directory()
    assert found.parent == tmp_path
    assert found.stat().st_mode & 0o777 == 0o700
