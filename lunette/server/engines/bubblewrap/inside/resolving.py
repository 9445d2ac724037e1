"""Finding where a path really leads, as the kernel does, which follows a path only so far.

`os.path.realpath` follows as many links as there are, which may take for ever. /proc knows where a
descriptor leads, but inside there is none that is of this process.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType

__all__ = ["real_path"]

_MOST_LINKS = 40  # MAXSYMLINKS of the kernel
_WAY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def real_path(path: str) -> str:
    """Return the absolute *path* without a link in it; what is missing may be at its end.

    Raise OSError where the kernel follows no further.
    """
    rest = _reversed_parts(path)
    with _Walk() as walk:
        while rest:
            target = walk.go(rest.pop())
            if target.startswith("/"):
                walk.restart()
            rest += _reversed_parts(target)
        return f"/{'/'.join(walk.names)}"


def _reversed_parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


class _Walk:
    """The way from the root to `names`, of which only the last may be missing.

    Each step is from the descriptor of the one before: a path would be walked again every time.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._missing = 0
        self._links = 0
        self._fd = os.open("/", _WAY)

    def __enter__(self) -> _Walk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def restart(self) -> None:
        """Go on from the root."""
        self._to(os.open("/", _WAY))
        self.names.clear()

    def go(self, name: str) -> str:
        """Take a step, and return where the link leads that was met instead."""
        if name == "..":
            self._up()
            return ""
        if not self._missing:
            try:
                return self._link(name) or self._down(name)
            except FileNotFoundError:
                pass
        self._missing += 1
        self.names.append(name)
        return ""

    def _link(self, name: str) -> str:
        try:
            target = os.readlink(name, dir_fd=self._fd)
        except OSError as error:
            if error.errno == errno.EINVAL:  # it is none
                return ""
            raise
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        return target

    def _down(self, name: str) -> str:
        self._to(os.open(name, _WAY, dir_fd=self._fd))
        self.names.append(name)
        return ""

    def _up(self) -> None:
        if self._missing:
            self._missing -= 1
        else:
            self._to(os.open("..", _WAY, dir_fd=self._fd))
        del self.names[-1:]

    def _to(self, fd: int) -> None:
        os.close(self._fd)
        self._fd = fd
