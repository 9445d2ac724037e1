"""Files of a sandbox through descriptors that its worker opened."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterator

from lunette.server.engines.bubblewrap._held import HeldFiles
from lunette.server.engines.bubblewrap._threads import Threads
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.files import BlockSource
from lunette.server.engines.protocol import NotARegularFileError

__all__ = ["OpenFile", "os_error", "read_head", "write"]

_BLOCK = 1 << 20
# So that a tag tells nothing of what it is made from.
_KEY = secrets.token_bytes(32)


class OpenFile:
    """See `FileReader` in the engine protocol; *copied* is one of which *fd* is only a copy."""

    def __init__(self, fd: int, path: str, held: HeldFiles, *, copied: bool) -> None:
        held.hold(fd)
        self._fd = fd
        self._path = path
        self._held = held
        self._copied = copied
        self.size = os.fstat(fd).st_size
        self.etag = self._tag()

    def _tag(self) -> str:
        # Every copy is another file, in memory.
        known = os.pread(self._fd, self.size, 0) if self._copied else _state(self._fd)
        digest = hashlib.blake2b(known, key=_KEY, digest_size=16)
        return f'"{digest.hexdigest()}"'

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = self.size if stop is None else min(stop, self.size)
        while start < stop and (chunk := await self._block(start, min(_BLOCK, stop - start))):
            start += len(chunk)
            yield chunk

    async def _block(self, start: int, size: int) -> bytes:
        try:
            return await self._held.read(self._fd, size, start)
        except OSError as error:
            raise _named(error, self._path) from None

    async def is_as_opened(self) -> bool:
        return self._tag() == self.etag

    async def aclose(self) -> None:
        if self._fd >= 0:
            self._held.close(self._fd)
            self._fd = -1


def _state(fd: int) -> bytes:
    found = os.fstat(fd)
    known = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return repr(known).encode()


async def read_head(fd: int, threads: Threads) -> str:
    """Return the text of the first mebibyte of *fd*, and close it."""
    try:
        return (await threads.run(_read_head, fd)).decode(errors="replace")
    finally:
        os.close(fd)


def _read_head(fd: int) -> bytes:
    content = b""
    while chunk := os.read(fd, _BLOCK - len(content)):
        content += chunk
    return content


async def write(held: HeldFiles, fd: int, blocks: BlockSource, path: str) -> None:
    """Write all that *blocks* gives to *fd*, off the loop."""
    try:
        await held.write(fd, blocks)
    except OSError as error:
        raise _named(error, path) from None


def _named(error: OSError, path: str) -> OSError:
    return OSError(error.errno, error.strerror, path)


def os_error(answer: Message, path: str) -> OSError:
    """Make the error that the worker met again, about the *path* that the caller knows."""
    if answer["kind"] == "NotARegularFile":
        return NotARegularFileError(path)
    number: int = answer["errno"] or 0
    return OSError(number, answer.get("detail") or os.strerror(number), path)
