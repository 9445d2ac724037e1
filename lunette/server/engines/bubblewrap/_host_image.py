"""The image `host`: this machine's own /usr and an allow-list of its /etc, read-only, with this
Python first in PATH.

Everything is an allow-list. What is not named here does not exist inside.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from attrs import frozen

from lunette.server.engines.bubblewrap._arguments import DEFAULT_PATH, tmpfs
from lunette.server.engines.bubblewrap._hosts import bind_hosts
from lunette.server.engines.protocol import NotSupportedError, SandboxSpec

__all__ = ["HostImage", "has_place", "interpreter", "prepare_host_image"]

_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# No environment, no profile.d, no pip.conf, no shadow, no private keys: places where people keep
# secrets.
_ETC = (
    "ca-certificates.conf",
    "debian_version",
    "ethertypes",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "networks",
    "os-release",
    "protocols",
    "rpc",
    "services",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)
# Hundreds of entries: one mount costs less than to copy them at each start of a server.
_ETC_MOUNTED = ("alternatives", "ssl/certs")
_SYNTHETIC = {
    "passwd": (
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "resolv.conf": "",
}
_INSTALLATION = {"bin", "include", "lib", "lib64", "man", "share"}
_LINKS = "/opt/lunette/bin"


_RUN_BYTES = 16 << 20
# Where what is missing cannot be made.
_READ_ONLY = (
    *("/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/proc", "/sbin"),
    "/usr",
)
_WRITABLE = ("/root", "/run", "/tmp", "/var/tmp", "/workspace")
_BWRAPS_OWN = ("newroot", "oldroot")
_DEEPEST = 64  # each level of a path is something that bwrap has to do
# NAME_MAX and PATH_MAX of Linux in bytes, less what bwrap puts before a path.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095 - len("/newroot")


@frozen
class HostImage:
    """See `Image` in `_arguments`. Bubblewrap arguments for the *system* and, after all
    directories, for its *python*; the PATH of commands.

    *mounts* are (from, to): a dropped user id cannot reach a Python below a 0700 home, so a root
    server shows it to its workers under another path.
    """

    system: tuple[str, ...]
    python: tuple[str, ...]
    path: str
    mounts: tuple[tuple[str, str], ...]

    working_dir = None
    user = None
    passwd = _SYNTHETIC["passwd"]
    group = _SYNTHETIC["group"]
    source = None
    directories = ("workspace", "root", "working_dir")
    closed = ("/root", "/run")

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PATH": self.path, "LANG": "C.UTF-8"}

    def check(self, spec: SandboxSpec) -> None:
        """Refuse what bwrap, which makes the directories, could follow to somewhere else."""
        if spec.working_dir is not None:
            _check_path("working_dir", spec.working_dir)
        for entry in spec.tmpfs:
            _check_path("tmpfs", entry.path)

    def below(self, disk: Path) -> list[str]:
        return list(self.system)

    def above(self, spec: SandboxSpec, disk: Path) -> list[str]:
        return [
            *tmpfs("/run", _RUN_BYTES, permissions="0755"),
            *_make_parents("/var/tmp"),
            *("--symlink", "/tmp", "/var/tmp"),
            *("--bind", str(disk / "root"), "/root"),
            *(bind_hosts(disk) if spec.extra_hosts or spec.hostname != "sandbox" else ()),
            *self.python,
            *_working_directory(spec.working_dir, disk),
            *(word for entry in spec.tmpfs for word in _make_directory(entry.path)),
            *("--remount-ro", "/"),
        ]

    def release(self) -> None:
        """It is always there."""


def has_place(path: str | None) -> bool:
    """Whether *path* needs no mount of its own: it can be made inside, or nobody can make it."""
    if path is None or path == "/":
        return True
    return any(PurePosixPath(path).is_relative_to(p) for p in (*_READ_ONLY, *_WRITABLE))


def _check_path(key: str, path: str) -> None:
    parts = path.strip("/").split("/")
    if path.startswith("//") or (path != "/" and {"", ".", ".."} & set(parts)):
        raise NotSupportedError(key, f"{key} must be plain: no '.', '..' or '//'")
    if parts[0] in _BWRAPS_OWN or len(parts) > _DEEPEST:
        detail = f"{key} is deeper than {_DEEPEST} levels, or a name of bwrap's own"
        raise NotSupportedError(key, detail)
    longest = max(len(part.encode()) for part in parts)
    if longest > _LONGEST_NAME or len(path.encode()) > _LONGEST_PATH:
        detail = f"{key} is over {_LONGEST_PATH} bytes, or a name in it over {_LONGEST_NAME}"
        raise NotSupportedError(key, detail)


def _working_directory(path: str | None, disk: Path) -> list[str]:
    """A directory on disk for a path that would lie in the read-only root."""
    if path is None or has_place(path):
        return []
    return [*_make_parents(path), "--bind", str(disk / "working_dir"), path]


def _make_directory(path: str) -> list[str]:
    """A directory for the worker to mount something at: the root is read-only by then."""
    return [] if has_place(path) else [*_make_parents(path), "--perms", "0755", "--dir", path]


def prepare_host_image(state: Path, *, ranged: bool) -> HostImage:
    """Write the image's /etc below *state* and say how to mount the rest; *ranged* for a server
    with ids to give.
    """
    _write_etc(state / "etc")
    python, mounts = _python(state / "python", ranged=ranged)
    program = interpreter() if python or _below_usr(Path(sys.base_prefix)) else None
    system = ["--ro-bind", "/usr", "/usr", *_top_level(), "--ro-bind", str(state / "etc"), "/etc"]
    for name in _ETC_MOUNTED:
        system += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    system += _make_parents(f"{_LINKS}/python")
    for name in ("python", "python3") if program else ():
        system += ["--symlink", str(program), f"{_LINKS}/{name}"]
    paths = [_LINKS, *([f"{sys.base_prefix}/bin"] if python else []), DEFAULT_PATH]
    return HostImage(tuple(system), tuple(python), ":".join(paths), tuple(mounts))


def _make_parents(path: str) -> list[str]:
    """The directories above *path*, open to every user inside; bwrap would make them 0700."""
    parents = [str(p) for p in reversed(Path(path).parents) if p != Path("/")]
    return [word for parent in parents for word in ("--perms", "0755", "--dir", parent)]


def _top_level() -> list[str]:
    """/bin and its like: links into /usr on a merged system, directories of their own elsewhere."""
    arguments: list[str] = []
    for name in _TOP:
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    return arguments


def _write_etc(etc: Path) -> None:
    for name in _ETC_MOUNTED:
        (etc / name).mkdir(parents=True)  # a read-only /etc takes no new mount points
    for name in _ETC:
        source, target = Path("/etc", name), etc / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        with contextlib.suppress(OSError):  # it is not there, or not for us
            _copy(source, target)
    for name, content in _SYNTHETIC.items():
        (etc / name).write_text(content)
    for directory, _, _ in os.walk(etc):
        Path(directory).chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    """Copy what everybody may read: a root server can read more than it should show.

    By hand, because shutil copies times and attributes too, which takes twice as long.
    """
    if source.is_symlink() and not source.readlink().is_relative_to("/etc"):
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir(mode=0o755)
        for entry in source.iterdir():
            _copy(entry, target / entry.name)
    elif source.stat().st_mode & stat.S_IROTH:
        target.write_bytes(source.read_bytes())


def interpreter() -> Path | None:
    """This interpreter outside any virtual environment."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for name in (version, "python3", "python"):
        candidate = Path(sys.base_prefix, "bin", name)
        if candidate.is_file():
            return candidate.resolve()
    return None


def _python(shown: Path, *, ranged: bool) -> tuple[list[str], list[tuple[str, str]]]:
    """Arguments and mounts for a Python that is not below /usr, under the path that it was built
    for.
    """
    prefix = Path(sys.base_prefix).resolve()
    if _below_usr(prefix) or _would_show_too_much(prefix):
        return [], []
    arguments = _make_parents(str(prefix / "bin"))
    mounts: list[tuple[str, str]] = []
    for part in _parts(prefix):
        source = part
        if ranged:
            source = shown / part.name
            source.mkdir(parents=True, mode=0o755)
            mounts.append((str(part), str(source)))
        arguments += ["--ro-bind", str(source), str(part)]
    return arguments, mounts


def _parts(prefix: Path) -> list[Path]:
    """The whole installation if it is nothing but one (each mount costs), else the directories that
    make it up.
    """
    if {entry.name for entry in prefix.iterdir()} <= _INSTALLATION:
        return [prefix]
    return [prefix / name for name in ("bin", "lib", "include") if (prefix / name).is_dir()]


def _below_usr(prefix: Path) -> bool:
    return prefix.resolve().is_relative_to("/usr")


def _would_show_too_much(prefix: Path) -> bool:
    """Whether a home lies in *prefix*, whose lib and bin are then somebody's own."""
    return Path.home().resolve().is_relative_to(prefix) or prefix == Path("/")
