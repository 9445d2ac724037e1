"""What bwrap is asked for: the walls of one sandbox."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from lunette.server.engines.bubblewrap._host_image import HostImage, make_parents
from lunette.server.engines.bubblewrap.inside.launching import INFO_FD, SECCOMP_FD, STATUS_FD
from lunette.server.engines.protocol import SandboxSpec

__all__ = ["IDLE", "KEPT_CAPABILITIES", "bwrap_arguments", "has_place"]

# Ends with its standard input, which is the worker's.
IDLE = ("/usr/bin/cat",)
_TMP_BYTES, _SHM_BYTES, _RUN_BYTES = 1 << 30, 64 << 20, 16 << 20
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
# Where a working directory that is missing cannot be made.
_READ_ONLY = (
    "/bin",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/proc",
    "/sbin",
    "/usr",
)
_WRITABLE = ("/root", "/run", "/tmp", "/var/tmp", "/workspace")


def bwrap_arguments(spec: SandboxSpec, *, image: HostImage, disk: Path, ranged: bool) -> str:
    """Return the NUL-separated arguments for *spec*, whose writable directories are below *disk*.

    Mounts are most of the time that a create takes (0.2 ms each), so there is none without a
    reason.
    """
    arguments = [
        *("--unshare-all", "--unshare-user", "--uid", "0", "--gid", "0"),
        *_privileges(ranged),
        *("--die-with-parent", "--new-session", "--hostname", spec.hostname),
        *(
            "--info-fd",
            str(INFO_FD),
            "--json-status-fd",
            str(STATUS_FD),
            "--seccomp",
            str(SECCOMP_FD),
        ),
        *image.system,
        *("--proc", "/proc", "--dev", "/dev"),
        *_tmpfs("/dev/shm", _SHM_BYTES),
        *("--remount-ro", "/dev"),
        *_tmpfs("/tmp", _TMP_BYTES),
        *_tmpfs("/run", _RUN_BYTES, permissions="0755"),
        *make_parents("/var/tmp"),
        *("--symlink", "/tmp", "/var/tmp"),
        *("--bind", str(disk / "workspace"), "/workspace"),
        *("--bind", str(disk / "root"), "/root"),
        *image.python,
        *_working_directory(spec.working_dir, disk),
        *("--remount-ro", "/", "--chdir", "/", "--clearenv"),
    ]
    return "\0".join(arguments) + "\0"


def _privileges(ranged: bool) -> list[str]:
    if not ranged:
        return ["--disable-userns", "--cap-drop", "ALL"]
    kept = [word for name in _DOCKER_LESS_FOUR for word in ("--cap-add", name)]
    return ["--userns-block-fd", str(STATUS_FD), "--cap-drop", "ALL", *kept]


def _tmpfs(path: str, size: int, *, permissions: str = "1777") -> list[str]:
    """A tmpfs without a size may take half of the machine's memory."""
    return ["--perms", permissions, "--size", str(size), "--tmpfs", path]


def has_place(path: str) -> bool:
    """Whether *path* needs no mount of its own: it can be made inside, or nobody can make it."""
    wanted = PurePosixPath(path)
    return wanted == PurePosixPath("/") or any(
        wanted.is_relative_to(p) for p in (*_READ_ONLY, *_WRITABLE)
    )


def _working_directory(path: str, disk: Path) -> list[str]:
    """A directory on disk for a path that would lie in the read-only root."""
    if has_place(path):
        return []
    return [*make_parents(path), "--bind", str(disk / "working_dir"), path]
