"""The files of a sandbox, as an engine hands them out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol

from attrs import frozen

__all__ = ["BlockSource", "Bytes", "FileReader", "FileStat", "FileWriter", "IfExists", "IgnoreRule"]

IfExists = Literal["replace", "fail", "append"]
BlockSource = Callable[[], bytes | memoryview]
"""Called in a thread, gives a block that is good until the next call; an empty one is the end. It
may wait for a moment.
"""

IgnoreRule = tuple[str, bool]
"""A regular expression of relative paths, directories with a slash at the end, and whether what it
matches is ignored; the last that matches decides. Nothing below what is ignored is looked at."""


@frozen(kw_only=True)
class FileStat:
    """See `FileInfo` in openapi.yaml; *path* and *target* as `os.fsdecode` gives them."""

    path: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    mode: int
    mtime: float
    uid: int
    gid: int
    target: str | None = None


class FileReader(Protocol):
    """An open file of a sandbox; close it on every way out.

    *etag* is another whenever what it holds may be (RFC 9110, a strong validator, with its quotes).
    """

    size: int
    etag: str

    def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from *start* to *stop*, `size` by default, or fewer if it shrinks."""
        ...

    async def is_as_opened(self) -> bool:
        """Whether the open file still has the *etag* that it had."""
        ...

    async def aclose(self) -> None: ...


class Bytes(Protocol):
    """Bytes that something in a sandbox makes; close it on every way out.

    Pulled: who makes them waits while nobody takes them.
    """

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield them, in blocks of at least 64 KiB but the last; raise the OSError that ended
        them early.
        """
        ...

    async def aclose(self) -> None: ...


class FileWriter(Protocol):
    """A file or a directory on its way in: nothing of it is seen before `commit`.

    End it by `commit` or `abort`; after an error of another method only `abort` is left.
    """

    async def write(self, data: bytes | memoryview) -> None:
        """Write what comes next. Cancelled, it ends first: what was given was written."""
        ...

    async def write_from(self, blocks: BlockSource) -> None:
        """Write what *blocks* gives. Cancelled, it ends first."""
        ...

    async def commit(self) -> None:
        """Give it its name. Cancelled, it ends first."""
        ...

    async def abort(self) -> None:
        """Leave nothing of it. Idempotent, and nothing after a `commit`."""
        ...
