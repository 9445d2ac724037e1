"""Files of a sandbox that the server itself has open."""

from __future__ import annotations

import errno
import fcntl
import os

from lunette.server.engines.bubblewrap._threads import Threads
from lunette.server.engines.files import BlockSource

__all__ = ["HeldFiles"]


class HeldFiles:
    """Those of one sandbox: nothing is written past *limit* bytes of one.

    What the sandbox removes stays on its disk while it is held, though nobody inside has it open.
    """

    def __init__(self, threads: Threads, *, limit: int) -> None:
        self._threads = threads
        self._limit = limit
        self._fds: set[int] = set()

    def hold(self, fd: int) -> None:
        """Know *fd* until it is closed by `close`."""
        self._fds.add(fd)

    def close(self, fd: int) -> None:
        self._fds.discard(fd)
        os.close(fd)

    def nameless(self) -> list[tuple[int, int, int]]:
        """Return the device, the inode and the blocks of each file that has no name any more."""
        found = map(os.fstat, self._fds)
        return [(file.st_dev, file.st_ino, file.st_blocks) for file in found if not file.st_nlink]

    async def read(self, fd: int, size: int, start: int) -> bytes:
        return await self._threads.run(os.pread, fd, size, start)

    async def write(self, fd: int, blocks: BlockSource) -> None:
        """Write all that *blocks* gives; raise EFBIG at the block with which it is too much."""
        await self._threads.run(_write_all, fd, blocks, self._limit)


def _write_all(fd: int, blocks: BlockSource, limit: int) -> None:
    while block := blocks():
        _write(fd, block, limit)


def _write(fd: int, content: bytes | memoryview, limit: int) -> None:
    # RLIMIT_FSIZE keeps commands to it, and the server has none.
    if _position(fd) + len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _position(fd: int) -> int:
    """Return where the next byte is written."""
    appends = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
    return os.lseek(fd, 0, os.SEEK_END if appends else os.SEEK_CUR)
