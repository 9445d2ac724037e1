"""What is behind an open file of a sandbox: parts of one that is read, the way in of another."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import io as streams
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, Protocol

from attrs import frozen

from .. import errors
from .._answers import from_answer
from .._body import Body
from .._digest import Xxh3
from .._io import IO, Request
from . import _downloading, published
from ._paths import RemotePath, remote_path
from ._uploading import Session
from .server import is_published

if TYPE_CHECKING:
    import httpx

__all__ = [
    "LARGEST",
    "PART",
    "IfExists",
    "Readable",
    "Writing",
    "iter_bytes",
    "open_to_read",
    "open_to_write",
    "read_part",
]

# What is read at a time, unless somebody asks for more.
PART = 1024 * 1024
# And at most, where more is asked for.
LARGEST = 8 * PART

IfExists = Literal["replace", "fail", "append"]

_REFUSED = {"append": "open a file with mode 'a'", "fail": "open a file with mode 'x'"}

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


async def iter_bytes(io: IO, sandbox_id: str, path: RemotePath) -> AsyncGenerator[bytes]:
    """Yield the bytes of a file as they come."""
    found = remote_path(path)
    if await is_published(io):
        yield await published.read(io, sandbox_id, found)
        return
    async with aclosing(_downloading.chunks(io, sandbox_id, found)) as chunks:
        async for chunk in chunks:
            yield chunk


@frozen
class Readable:
    """A file that is read in parts, which are all of the same version of it."""

    path: str
    size: int
    etag: str | None
    first: bytes


async def open_to_read(io: IO, sandbox_id: str, path: str) -> Readable:
    """Find a file, and read its first part."""
    if await is_published(io):
        content = await published.read(io, sandbox_id, path)
        return Readable(path, len(content), None, content)
    try:
        answer = await io.send(_get(sandbox_id, path, f"bytes=0-{PART - 1}"))
    except errors.APIError as error:
        if error.code != "range_not_satisfiable":
            raise
        # It is empty, or one of those that say so and are not.
        answer = await io.send(_get(sandbox_id, path))
    size = _ranged(answer, 0)[1] if answer.status_code == 206 else len(answer.content)
    return Readable(path, size, answer.headers.get("ETag"), answer.content)


async def read_part(io: IO, sandbox_id: str, file: Readable, start: int, count: int) -> bytes:
    """Read *count* bytes from *start* on, fewer at its end alone; one that changed is an error."""
    stop = min(start + count, file.size)
    if stop <= len(file.first):
        return file.first[start:stop]
    request = _get(sandbox_id, file.path, f"bytes={start}-{stop - 1}", file.etag)
    answer = await io.send(request)
    part = answer.content
    if answer.status_code == 206:
        _check(_ranged(answer, start)[1] == file.size, file)
    else:  # the server knows no ranges
        _check(len(part) == file.size, file)
        part = part[start:stop]
    _check(len(part) == stop - start, file)
    return part


def _check(as_opened: bool, file: Readable) -> None:
    if not as_opened:
        words = "it changed while it was read (in the sandbox)"
        raise OSError(errno.ESTALE, words, file.path)


def _ranged(answer: httpx.Response, start: int) -> tuple[int, int]:
    """Return where the part ends that came, and the size of the file."""
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != start:
        raise from_answer(answer, f"206 from {answer.url.path}, not of the range asked for")
    return int(found[2]) + 1, int(found[3])


def _get(sandbox_id: str, path: str, part: str | None = None, etag: str | None = None) -> Request:
    from lunette_api.api.files import download_file
    from lunette_api.types import UNSET

    request = download_file._get_kwargs(
        sandbox_id, path=path, range_=part or UNSET, if_match=etag or UNSET
    )
    request["headers"]["Accept-Encoding"] = "identity"
    return request


class Writing(Protocol):
    """A file on its way in: it is there after `commit`. After an error only `abort` is left."""

    async def write(self, io: IO, data: bytes) -> None:
        """Send what comes next."""
        ...

    async def commit(self, io: IO) -> None:
        """Give it its name."""
        ...

    async def abort(self, io: IO) -> None:
        """Leave nothing of it."""
        ...


async def open_to_write(io: IO, sandbox_id: str, path: str, if_exists: IfExists) -> Writing:
    """Begin a file, or go on at the end of one."""
    if await is_published(io):
        if if_exists != "replace":
            raise published.refuse(_REFUSED[if_exists], "write it whole")
        return _Whole(sandbox_id, path)
    session = Session(io, sandbox_id)
    try:
        await session.begin({"path": path, "if_exists": if_exists, "digest": Xxh3.algorithm})
    except BaseException as error:
        await session.abort(error)
        raise
    return _Upload(session)


class _Upload:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._digest = Xxh3()

    async def write(self, io: IO, data: bytes) -> None:
        begin = self._session.offset

        def seen(at: int, chunk: bytes) -> None:
            self._digest.see(begin + at, chunk)

        await self._session.append(Body(streams.BytesIO(data), len(data), seen=seen))

    async def commit(self, io: IO) -> None:
        await self._session.commit(self._digest)

    async def abort(self, io: IO) -> None:
        # In a world that may not be the session's: a file that is forgotten is aborted in a thread.
        session = Session(io, self._session.sandbox_id)
        session.upload_id = self._session.upload_id
        await session.abort()


class _Whole:
    """A file of the published wire, which takes it in one piece."""

    def __init__(self, sandbox_id: str, path: str) -> None:
        self._sandbox_id = sandbox_id
        self._path = path
        self._parts: list[bytes] = []

    async def write(self, io: IO, data: bytes) -> None:
        self._parts.append(data)

    async def commit(self, io: IO) -> None:
        await published.write(io, self._sandbox_id, self._path, b"".join(self._parts))

    async def abort(self, io: IO) -> None:
        self._parts.clear()
