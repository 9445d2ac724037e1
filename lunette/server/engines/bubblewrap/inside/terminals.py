"""Terminals of the sandbox's own devpts: no command ever holds one of the machine's."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from typing import NamedTuple

from lunette.server.engines.bubblewrap.inside import kernel

__all__ = ["Terminal", "open_directory", "open_terminal"]

_DIRECTORY = "/dev/pts"
# Of the 3072 that all sandboxes of a machine have together (kernel.pty.max, kernel.pty.reserve), so
# that it takes 48 of them to leave none.
_MOST = 64
# Which Python 3.11 does not have; the same on every architecture that there is a filter for.
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_IUTF8 = 0x4000
_OPEN = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC


class Terminal(NamedTuple):
    """The two ends of one: the *master* for the server, the *slave* for a command."""

    master: int
    slave: int

    def close(self) -> None:
        for fd in self:
            os.close(fd)


def open_directory() -> int:
    """Return a descriptor of the sandbox's devpts; before anything of the sandbox runs."""
    kernel.limit_terminals(_DIRECTORY, _MOST)
    return os.open(_DIRECTORY, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def open_terminal(directory: int, size: tuple[int, int], owner: int | None) -> Terminal:
    """Make a terminal of *size* (rows, columns) in *directory*, of the user *owner* if that is not
    this process's.
    """
    master = os.open("ptmx", _OPEN, dir_fd=directory)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
        # Not by its name, under which there may be something else.
        slave = fcntl.ioctl(master, _TIOCGPTPEER, _OPEN)
    except BaseException:
        os.close(master)
        raise
    terminal = Terminal(master, slave)
    try:
        _furnish(slave, owner)
    except BaseException:
        terminal.close()
        raise
    return terminal


def _furnish(slave: int, owner: int | None) -> None:
    attributes = termios.tcgetattr(slave)
    attributes[0] |= _IUTF8  # so that one erase takes one letter
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    if owner is not None:
        os.fchown(slave, owner, -1)
