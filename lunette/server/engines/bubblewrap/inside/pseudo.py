"""Files that the kernel makes up, such as those of /proc.

What they say, and what may be written there, depends on who does it and not only on who opened
them: that is left to somebody inside, never to the server.
"""

from __future__ import annotations

import errno
import os

from lunette.server.engines.bubblewrap.inside import kernel

__all__ = ["copied", "made_up"]

# Of linux/magic.h: proc, sysfs, both kinds of cgroup, debugfs, tracefs, securityfs, configfs,
# binfmt_misc, bpf, selinuxfs, pstore, efivarfs, mqueue and fusectl.
_PSEUDO = {
    0x9FA0,
    0x62656572,
    0x27E0EB,
    0x63677270,
    0x64626720,
    0x74726163,
    0x73636673,
    0x62656570,
    0x42494E4D,
    0xCAFE4A11,
    0xF97CFF8C,
    0x6165676C,
    0xDE5E81E4,
    0x19800202,
    0x65735543,
}
_BLOCK = 1 << 20


def made_up(fd: int) -> bool:
    """Return whether *fd* is a file of the kernel's own."""
    return kernel.file_system_of(fd) in _PSEUDO


def copied(fd: int) -> int:
    """Return a copy, in memory, of what *fd* says to this process."""
    content = _read(fd)
    copy = os.memfd_create("copy", os.MFD_CLOEXEC)
    try:
        while content:
            content = content[os.write(copy, content) :]
        os.lseek(copy, 0, os.SEEK_SET)
    except BaseException:
        os.close(copy)
        raise
    return copy


def _read(fd: int) -> bytes:
    content = b""
    while chunk := os.read(fd, _BLOCK):
        content += chunk
        if len(content) > _BLOCK:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content
