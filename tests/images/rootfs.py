"""A small root file system with Python, of this machine's own Debian packages.

What a user of `python:3.11-slim` relies on is there: a shell, coreutils, Python as `python` in
/usr/local/bin, the users of Debian, and a user `app`. It comes without a network in a few seconds,
and is kept for the runs to come.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from . import debian, tar_layers
from .tar_layers import Entry, directory, file, symlink, write_tar

APP = (1234, 1234)
"""The uid and gid of the user `app`."""

_PYTHON = "python3.11"
_WANTED = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "gzip"),
    *("libc-bin", "passwd", _PYTHON, "sed", "tar"),
)
_LEFT_OUT = tuple(
    PurePosixPath("/usr/share", name)
    for name in ("bug", "doc", "info", "lintian", "locale", "man", "menu")
)
_MERGED = ("bin", "lib", "lib64", "sbin")
_FIRST_OF_MACHINE = 100
_OLD = 30 * 24 * 3600.0


class NoRootfsError(Exception):
    """This machine has not what a root file system is made of."""


def real_python_rootfs(cache: Path | None = None) -> Path:
    """Return the layer (a .tar.gz) of the root file system, made if it is not in the *cache* yet.

    Any number of processes may call it at once, and be killed. Raises NoRootfsError where Debian's
    Python 3.11 is not installed.
    """
    packages = _packages()
    kept = (cache or cache_directory()) / f"python-rootfs-{_key(packages)}.tar.gz"
    with _locked(kept.with_name("python-rootfs.lock")):
        if not kept.exists():
            _forget_old(kept.parent)
            _make(packages, kept)
        os.utime(kept)
    return kept


def cache_directory() -> Path:
    """Return the directory that survives this run: $LUNETTE_TEST_CACHE or ~/.cache/lunette-tests.

    Where neither can be written it is a directory of this user among the temporary ones.
    """
    named = os.environ.get("LUNETTE_TEST_CACHE")
    for path in [Path(named)] if named else [_home_cache()]:
        with suppress(OSError):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(path, os.W_OK | os.X_OK):
                return path
    return _temporary_cache()


def _home_cache() -> Path:
    return Path("~/.cache/lunette-tests").expanduser()


def _temporary_cache() -> Path:
    # Not "lunette-": a run fails that leaves a directory of such a name.
    path = Path(tempfile.gettempdir(), f"cache-of-lunette-tests-{os.geteuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.geteuid() or path.is_symlink():
        raise PermissionError(f"{path} belongs to somebody else; set LUNETTE_TEST_CACHE")
    return path


def _packages() -> list[debian.Package]:
    installed = debian.installed()
    missing = [name for name in _WANTED if name not in installed]
    if missing:
        raise NoRootfsError(f"these packages of Debian are not installed: {', '.join(missing)}")
    return debian.closure(_WANTED, installed)


def _key(packages: Iterable[debian.Package]) -> str:
    lines = [f"{p.name}:{p.architecture}={p.version}" for p in packages]
    sources = [Path(module.__file__ or "").read_text() for module in (debian, tar_layers)]
    text = "\n".join([*lines, Path(__file__).read_text(), *sources])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old(cache: Path) -> None:
    for path in cache.glob("python-rootfs-*"):
        if path.stat().st_mtime < time.time() - _OLD:
            path.unlink()


def _make(packages: Sequence[debian.Package], kept: Path) -> None:
    part = kept.with_suffix(".part")
    with part.open("wb") as written:
        _write(packages, written)
        written.flush()
        os.fsync(written.fileno())
    part.rename(kept)


def _write(packages: Sequence[debian.Package], to: BinaryIO) -> None:
    with gzip.GzipFile("", "wb", 1, to, mtime=0) as packed:
        write_tar(_entries(packages), cast(BinaryIO, packed))


def _entries(packages: Sequence[debian.Package]) -> Generator[Entry]:
    ours = {entry.name: entry for entry in _ours()}
    for path in debian.files(packages):
        if str(path.relative_to("/")) not in ours and not _is_left_out(path):
            yield from _copied(path)
    yield from ours.values()


def _is_left_out(path: PurePosixPath) -> bool:
    # Nobody who tests sandboxes converts between a hundred encodings.
    return any(path.is_relative_to(p) for p in _LEFT_OUT) or "gconv" in path.parts


def _copied(path: PurePosixPath) -> Generator[Entry]:
    here, name = Path(path), str(path.relative_to("/"))
    try:
        found = here.lstat()
    except FileNotFoundError:
        return  # a slim image of Debian has removed it
    if name == "." or (len(path.parts) == 2 and stat.S_ISLNK(found.st_mode)):
        return
    if stat.S_ISLNK(found.st_mode):
        yield symlink(name, str(here.readlink()))
    elif stat.S_ISDIR(found.st_mode):
        yield directory(name, mode=stat.S_IMODE(found.st_mode))
    elif found.st_mode & stat.S_IROTH:  # what only root can read is not the same for all
        yield file(name, here.read_bytes(), mode=stat.S_IMODE(found.st_mode), owner=_owner(found))


def _owner(found: os.stat_result) -> tuple[int, int]:
    """Return the ids of Debian itself, and root's for what has one that this machine gave."""
    uid, gid = found.st_uid, found.st_gid
    return (uid if uid < _FIRST_OF_MACHINE else 0, gid if gid < _FIRST_OF_MACHINE else 0)


def _ours() -> list[Entry]:
    """Return what the scripts of the packages make when they are installed, and what is ours."""
    masters = Path("/usr/share/base-passwd")
    passwd = (masters / "passwd.master").read_text().replace(":*:", ":x:")
    group = (masters / "group.master").read_text().replace(":*:", ":x:")
    return [
        *(symlink(name, f"usr/{name}") for name in _MERGED),
        file("etc/passwd", passwd + "app:x:1234:1234:App:/home/app:/bin/sh\n"),
        file("etc/group", group + "app:x:1234:\n"),
        file("etc/nsswitch.conf", Path("/usr/share/libc-bin/nsswitch.conf").read_bytes()),
        file("etc/profile", Path("/usr/share/base-files/profile").read_bytes()),
        directory("root", mode=0o700),
        directory("home"),
        directory("home/app", owner=APP),
        directory("tmp", mode=0o1777),
        symlink("var/run", "/run"),
        symlink("usr/local/bin/python", "python3"),
        symlink("usr/local/bin/python3", _PYTHON),
        symlink(f"usr/local/bin/{_PYTHON}", f"/usr/bin/{_PYTHON}"),
    ]
