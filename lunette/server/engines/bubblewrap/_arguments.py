"""What bwrap is asked for: the walls of one sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lunette.server.engines.bubblewrap._users import User
from lunette.server.engines.bubblewrap.inside.launching import INFO_FD, SECCOMP_FD, STATUS_FD
from lunette.server.engines.protocol import SandboxSpec

__all__ = [
    "DEFAULT_PATH",
    "KEPT_CAPABILITIES",
    "SHM_BYTES",
    "TMP_BYTES",
    "Image",
    "bwrap_arguments",
    "shown_at",
    "tmpfs",
]

TMP_BYTES, SHM_BYTES = 1 << 30, 64 << 20
# Docker's set less NET_RAW, MKNOD, SYS_CHROOT and AUDIT_WRITE: what the root of a range of ids
# needs for apt and su.
_DOCKER_LESS_FOUR = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_SETFCAP": 31,
}
KEPT_CAPABILITIES = sum(1 << number for number in _DOCKER_LESS_FOUR.values())


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def shown_at(disk: Path) -> Path:
    """Return where an image's tree is shown with the ids of a sandbox."""
    return disk / "image"


class Image(Protocol):
    """What a sandbox's `/` is made of, and what the image says of commands.

    *source* is a tree that has to be shown with the ids of a range, below the sandbox's disk;
    *directories* are what that disk needs; *closed* is what `read_only` has to close.
    """

    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def working_dir(self) -> str | None: ...
    @property
    def user(self) -> str | None: ...
    @property
    def passwd(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def source(self) -> Path | None: ...
    @property
    def directories(self) -> tuple[str, ...]: ...
    @property
    def closed(self) -> tuple[str, ...]: ...

    def check(self, spec: SandboxSpec) -> None:
        """Raise NotSupportedError for what cannot be made over this image."""
        ...

    def below(self, disk: Path) -> list[str]:
        """Arguments for `/` itself."""
        ...

    def above(self, spec: SandboxSpec, disk: Path) -> list[str]:
        """Arguments for what is mounted last."""
        ...

    def release(self) -> None:
        """Let it be removed: no sandbox is on it any more."""
        ...


def bwrap_arguments(
    spec: SandboxSpec, *, image: Image, disk: Path, ranged: bool, user: User
) -> str:
    """Return the NUL-separated arguments for *spec*, whose writable directories are below *disk*.

    Mounts are most of the time that a create takes (0.2 ms each), so there is none without a
    reason. None may be at a place whose way leads over a link of the image's: bwrap follows it,
    and outside.
    """
    # Where there is but one id, it is that of the user; in a range the worker becomes the user.
    uid, gid = (0, 0) if ranged else (user.uid, user.gid)
    arguments = [
        *("--unshare-all", "--unshare-user", "--uid", str(uid), "--gid", str(gid)),
        *_privileges(ranged),
        *("--die-with-parent", "--new-session", "--hostname", spec.hostname),
        *("--info-fd", str(INFO_FD), "--json-status-fd", str(STATUS_FD)),
        *("--seccomp", str(SECCOMP_FD)),
        *image.below(disk),
        *("--proc", "/proc", "--dev", "/dev"),
        *tmpfs("/dev/shm", spec.shm_size or SHM_BYTES),
        *("--remount-ro", "/dev"),
        *tmpfs("/tmp", TMP_BYTES),
        *("--bind", str(disk / "workspace"), "/workspace"),
        *image.above(spec, disk),
        *("--chdir", "/", "--clearenv"),
    ]
    return "\0".join(arguments) + "\0"


def _privileges(ranged: bool) -> list[str]:
    if not ranged:
        return ["--disable-userns", "--cap-drop", "ALL"]
    kept = [word for name in _DOCKER_LESS_FOUR for word in ("--cap-add", name)]
    return ["--userns-block-fd", str(STATUS_FD), "--cap-drop", "ALL", *kept]


def tmpfs(path: str, size: int, *, permissions: str = "1777") -> list[str]:
    """A tmpfs without a size may take half of the machine's memory."""
    return ["--perms", permissions, "--size", str(size), "--tmpfs", path]
