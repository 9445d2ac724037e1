"""The way from a directory down to one in it, by descriptors, and back."""

from __future__ import annotations

import errno
import os
from types import TracebackType

__all__ = ["OPEN_DIRECTORY", "Trail", "unlock"]

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_DEPTH = 4096
_HELD = 32  # descriptors; a process may have 256 of them, as on macOS
_CLOSED = -1


class _Step:
    __slots__ = ("fd", "identity", "name")

    def __init__(self, name: bytes, fd: int, identity: tuple[int, int]) -> None:
        self.name = name
        self.fd = fd
        self.identity = identity


class Trail:
    """Begins at the directory *root*, which stays the caller's; no link is followed.

    Of a long way only the descriptors of its end are kept. The others are found again by `..`,
    which must lead to the very directory that it led from. An *endless* one goes as deep as it is.
    """

    def __init__(self, root: int, *, endless: bool = False) -> None:
        self.fd = root
        self.names: list[bytes] = []
        self._root = root
        self._endless = endless
        self._steps: list[_Step] = [_Step(b"", root, (0, 0))]

    def __enter__(self) -> Trail:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the descriptors, but for that of the root. Idempotent."""
        for step in self._steps[1:]:
            if step.fd != _CLOSED:
                os.close(step.fd)
        del self._steps[1:]
        self.names.clear()
        self.fd = self._root

    def path(self, name: bytes = b"") -> bytes:
        """Return where *name*, or this directory, is below the root."""
        return b"/".join([*self.names, name] if name else self.names)

    def down(self, name: bytes) -> os.stat_result:
        """Enter the directory *name*, and return what it is."""
        if len(self._steps) > _MOST_DEPTH and not self._endless:
            raise OSError(errno.ENAMETOOLONG, f"more than {_MOST_DEPTH} levels of directories")
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=self.fd)
        found = os.fstat(fd)
        self._steps.append(_Step(name, fd, (found.st_dev, found.st_ino)))
        self.names.append(name)
        self.fd = fd
        if len(self._steps) > _HELD + 1:
            self._close(self._steps[-_HELD - 1])
        return found

    def up(self) -> None:
        """Leave the directory."""
        parent = self._steps[-2]
        if parent.fd == _CLOSED:
            parent.fd = self._parent_of_this(parent.identity)
        self._close(self._steps.pop())
        self.names.pop()
        self.fd = parent.fd

    def _parent_of_this(self, identity: tuple[int, int]) -> int:
        fd = os.open(b"..", OPEN_DIRECTORY, dir_fd=self.fd)
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != identity:
            os.close(fd)
            raise OSError(errno.ESTALE, "the directory was moved meanwhile")
        return fd

    def _close(self, step: _Step) -> None:
        if step.fd not in (_CLOSED, self._root):
            os.close(step.fd)
            step.fd = _CLOSED


def unlock(name: bytes, directory: int) -> os.stat_result:
    """Let the owner of the directory *name* into it, and return what it was; raise PermissionError
    where that cannot be done.
    """
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    mode = found.st_mode & 0o777 | 0o700
    try:
        os.chmod(name, mode, dir_fd=directory, follow_symlinks=False)
    except NotImplementedError:  # by what the system has for links
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name) from None
    except ValueError:
        # The C library needs a /proc of its own for it, and in a sandbox this process has none;
        # there, whoever puts a link in its place could change the mode of what it leads to anyway.
        os.chmod(name, mode, dir_fd=directory)
    return found
