"""What every tree has at the end: the places on which a sandbox gets mounts, and nothing that leads
elsewhere in their stead.
"""

from __future__ import annotations

import os
import stat

from lunette.server.images._tree import Tree

__all__ = ["make_mount_points", "read_text"]

_DIRECTORIES = (b"dev", b"proc", b"sys", b"etc", b"workspace")
_FILES = (b"etc/hosts", b"etc/resolv.conf", b"etc/hostname")
_MAX_TEXT_BYTES = 1 << 20


def make_mount_points(tree: Tree) -> None:
    for path in _DIRECTORIES:
        tree.require_directory(path, mode=0o755)
    tree.require_directory(b"tmp", mode=0o1777, always=True)
    for path in _FILES:
        tree.require_file(path)


def read_text(path: str) -> str:
    """Return what a file of the tree says; nothing if it is missing, no file, or over 1 MiB."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_TEXT_BYTES:
        os.close(fd)
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read().decode("utf-8", "replace")
