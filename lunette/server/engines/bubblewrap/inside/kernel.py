"""The system calls that Python 3.11 has no function for, through ctypes."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
from collections.abc import Callable

from lunette.server.engines.bubblewrap.inside.seccomp import filter_program

__all__ = [
    "CLONE_NEWNS",
    "CLONE_NEWUSER",
    "adopt_orphans",
    "bind_mount",
    "die_with_parent",
    "drop_capabilities",
    "enter_namespaces",
    "file_system_of",
    "go_on_without_parent",
    "limit_capabilities",
    "limit_terminals",
    "make_mounts_private",
    "mount_mapped",
    "mount_tmpfs",
    "no_new_privileges",
    "remount_read_only",
    "set_capabilities",
    "set_dumpable",
    "set_seccomp",
    "unshare",
]

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
_CLONE = {
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "cgroup": 0x02000000,
    "pid": 0x20000000,
    "mnt": CLONE_NEWNS,
    "user": CLONE_NEWUSER,
}
_NS_GET_USERNS = 0xB701
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER = 1, 4, 22, 36
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_REMOUNT = 0x1000, 0x4000, 0x40000, 0x20
_MS_FLAGS = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8}
# The same numbers on every architecture.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 0x1, 0x80000
_MOVE_MOUNT_F_EMPTY_PATH, _AT_EMPTY_PATH, _AT_FDCWD = 0x4, 0x1000, -100
_STATFS_SIZE = 256  # 120 bytes, where longs have 64 bits
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_IDMAP = 0x1, 0x100000

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(option, *padded), f"prctl {option}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def make_mounts_private() -> None:
    """Let no mount that follows be seen outside this mount namespace."""
    _mount(None, "/", _MS_REC | _MS_PRIVATE)


def bind_mount(source: str, target: str) -> None:
    _mount(source, target, _MS_BIND | _MS_REC)


def mount_tmpfs(path: str, options: str, flags: list[str]) -> None:
    """Mount a file system in memory, with *flags* of "ro", "nosuid", "nodev" and "noexec"."""
    _mount("tmpfs", path, sum(_MS_FLAGS[flag] for flag in flags), "tmpfs", options)


def remount_read_only(path: str) -> None:
    _mount(
        None, path, _MS_REMOUNT | _MS_BIND | sum(_MS_FLAGS[f] for f in ("ro", "nosuid", "nodev"))
    )


def limit_terminals(path: str, count: int) -> None:
    """Let there be *count* terminals at most in the devpts at *path*, whose other options stay as
    bwrap chose them.
    """
    flags = _MS_REMOUNT | _MS_FLAGS["nosuid"] | _MS_FLAGS["noexec"]
    _mount("devpts", path, flags, "devpts", f"ptmxmode=0666,mode=620,max={count}")


def mount_mapped(source: str, target: str, namespace: int) -> None:
    """Show the tree *source* at *target*, read-only, its ids as the user *namespace* has them
    (Linux 5.12, and for what overlayfs does with it 5.19).
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    tree = _libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)
    _check(tree, f"open_tree {source}")
    try:
        attributes = struct.pack(
            "=4Q", _MOUNT_ATTR_IDMAP | _MOUNT_ATTR_RDONLY, 0, 0, namespace
        )  # set, clear, propagation, user namespace
        size = ctypes.c_size_t(len(attributes))
        result = _libc.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, size)
        _check(result, f"the file system of {source} cannot map ids")
        to = os.fsencode(target)
        _check(
            _libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, to, _MOVE_MOUNT_F_EMPTY_PATH),
            f"move_mount {target}",
        )
    finally:
        os.close(tree)


def _mount(
    source: str | None, target: str, flags: int, kind: str | None = None, options: str | None = None
) -> None:
    texts = [
        None if text is None else os.fsencode(text) for text in (source, target, kind, options)
    ]
    origin, where, file_system, data = texts
    _check(
        _libc.mount(origin, where, file_system, ctypes.c_ulong(flags), data),
        f"mount {target}",
    )


def file_system_of(fd: int) -> int:
    """Return the magic number of the file system that *fd* is on."""
    found = ctypes.create_string_buffer(_STATFS_SIZE)
    _check(_libc.fstatfs(fd, found), "fstatfs")
    return ctypes.c_ulong.from_buffer(found).value


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Be killed when *parent* ends, or has; a change of the user or of capabilities forgets it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def go_on_without_parent() -> None:
    """Have this process continued when its parent ends: one that is stopped does not notice."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def enter_namespaces(pid: int, furnish: Callable[[], None]) -> None:
    """Enter every namespace of *pid*; the pid namespace is entered by children only.

    bwrap makes two user namespaces, one in the other, when it disables further ones. The outer owns
    the mount namespace and must be entered first, the inner last; *furnish* is called between them,
    the last moment at which something can be mounted.
    """
    fds = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in _CLONE}
    owner = fcntl.ioctl(fds["mnt"], _NS_GET_USERNS)
    _setns(owner, "user")
    for name in ("net", "ipc", "uts", "cgroup", "pid", "mnt"):
        _setns(fds[name], name)
    furnish()
    if not os.path.sameopenfile(owner, fds["user"]):
        _setns(fds["user"], "user")
    for fd in (owner, *fds.values()):
        os.close(fd)


def _setns(fd: int, name: str) -> None:
    _check(_libc.setns(fd, _CLONE[name]), f"setns {name}")


def drop_capabilities(keep: int) -> None:
    """Give up every capability but those of the bit set *keep*, for good."""
    limit_capabilities(keep)
    set_capabilities(keep)


def limit_capabilities(keep: int) -> None:
    """Let no process from here on have a capability but those of the bit set *keep*, for good."""
    for capability in range(_LAST_CAPABILITY + 1):
        if keep >> capability & 1:
            continue
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: this kernel does not know it
                raise
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def set_capabilities(keep: int) -> None:
    """Give up every capability but those of the bit set *keep*."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = keep & 0xFFFFFFFF, keep >> 32
    data = struct.pack(
        "=6I", low, low, 0, high, high, 0
    )  # effective, permitted, inheritable: twice
    _check(_libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(data)), "capset")


def no_new_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(yes: bool) -> None:
    """A process that is not dumpable cannot be traced, nor its /proc files opened, by others of its
    user.
    """
    _prctl(_PR_SET_DUMPABLE, int(yes))


_filter = filter_program()
_filter_buffer = ctypes.create_string_buffer(_filter, len(_filter))
_program = _Program(len(_filter) // 8, ctypes.cast(_filter_buffer, ctypes.c_void_p))


def set_seccomp() -> None:
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(_program), 0, 0), "seccomp")
