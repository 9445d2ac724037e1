"""Move files in and out of a sandbox."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import io as streams
import logging
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from uuid import uuid4

import httpx

from .. import errors
from .._io import IO, Body, Incoming, Request
from . import published
from .server import is_published

__all__ = ["download", "read_bytes", "read_text", "upload", "write_bytes", "write_text"]

logger = logging.getLogger(__name__)


async def upload(
    io: IO, sandbox_id: str, local_path: str | os.PathLike[str], remote_path: str
) -> None:
    """Copy a file of this machine into the sandbox."""
    request = _put(sandbox_id, remote_path)
    file, size = await io.call(_source, Path(local_path))
    with file:
        logger.info("[%s] upload %s to %s, %d bytes", sandbox_id, local_path, remote_path, size)
        if await is_published(io):
            content = await io.call(file.read)
            await published.write(io, sandbox_id, _checked(remote_path), content)
        else:
            await _send(io, request, file, size)


async def download(
    io: IO, sandbox_id: str, remote_path: str, local_path: str | os.PathLike[str]
) -> None:
    """Copy a file of the sandbox to this machine."""
    target = Path(local_path)
    request = _get(sandbox_id, remote_path)
    await io.call(_check_target, target, remote_path)
    if await is_published(io):
        content = await published.read(io, sandbox_id, _checked(remote_path))
        await io.call(_write_target, target, content)
    else:
        await _stream_into(io, request, target)
    logger.info("[%s] downloaded %s to %s", sandbox_id, remote_path, local_path)


def _write_target(target: Path, content: bytes) -> None:
    with _replacing(target) as file:
        file.write(content)


async def _stream_into(io: IO, request: Request, target: Path) -> None:
    async with io.stream(request) as incoming:
        with _replacing(target) as file:
            async for chunk in incoming.chunks:
                await io.call(file.write, chunk)
            _check_length(incoming)


async def read_bytes(io: IO, sandbox_id: str, path: str) -> bytes:
    """Read a file of the sandbox."""
    request = _get(sandbox_id, path)
    if await is_published(io):
        content = await published.read(io, sandbox_id, _checked(path))
    else:
        content = (await io.send(request)).content
    logger.info("[%s] read %s, %d bytes", sandbox_id, path, len(content))
    return content


async def read_text(io: IO, sandbox_id: str, path: str, *, encoding: str, error_mode: str) -> str:
    """Read a file of the sandbox as text, with its newlines as they are."""
    return (await read_bytes(io, sandbox_id, path)).decode(encoding, error_mode)


async def write_bytes(io: IO, sandbox_id: str, path: str, data: bytes) -> None:
    """Write a file of the sandbox."""
    # Not every caller has a type checker.
    if not isinstance(data, bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    request = _put(sandbox_id, path)
    size = memoryview(data).nbytes
    logger.info("[%s] write %s, %d bytes", sandbox_id, path, size)
    if await is_published(io):
        await published.write(io, sandbox_id, _checked(path), bytes(data))
    else:
        await _send(io, request, streams.BytesIO(data), size)


async def write_text(io: IO, sandbox_id: str, path: str, text: str, *, encoding: str) -> None:
    """Write a file of the sandbox as text, with its newlines as they are."""
    # Not every caller has a type checker.
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"text must be a string, not {type(text).__name__}")
    await write_bytes(io, sandbox_id, path, text.encode(encoding))


async def _send(io: IO, request: Request, file: BinaryIO, size: int) -> None:
    request["headers"]["Content-Length"] = str(size)
    await io.send(request, body=Body(file, size))


def _get(sandbox_id: str, path: str) -> Request:
    from lunette_api.api.files import download_file

    request = download_file._get_kwargs(sandbox_id, path=_checked(path))
    # The bytes as they are: a proxy that packed them would hide how many were to come.
    return request | {"headers": {"Accept-Encoding": "identity"}}


def _put(sandbox_id: str, path: str) -> Request:
    from lunette_api.api.files import upload_file
    from lunette_api.types import File

    nothing = File(payload=streams.BytesIO())
    request = upload_file._get_kwargs(sandbox_id, body=nothing, path=_checked(path))
    # The generated body would be read on the event loop; ours is streamed by `IO.send`.
    del request["content"]
    return request


def _checked(path: object) -> str:
    if isinstance(path, os.PathLike):
        path = os.fspath(cast("os.PathLike[str]", path))
    if not isinstance(path, str):
        raise TypeError(f"the path in the sandbox must be a string, not {type(path).__name__}")
    if not path or "\0" in path:
        raise ValueError("the path in the sandbox must not be empty or contain a NUL character")
    return path


def _source(path: Path) -> tuple[BinaryIO, int]:
    file = _open(path)
    size = os.fstat(file.fileno()).st_size
    if size:
        return file, size
    with file:  # those of /proc are full and say that they are empty
        content = file.read()
    return streams.BytesIO(content), len(content)


def _open(path: Path) -> BinaryIO:
    # Not blocking, since opening a FIFO would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def _check_target(target: Path, remote_path: str) -> None:
    if target.is_dir():
        mend = target / Path(remote_path).name
        raise IsADirectoryError(errno.EISDIR, f"Is a directory, write {str(mend)!r}", str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such directory", str(target.parent))


@contextmanager
def _replacing(target: Path) -> Generator[BinaryIO]:
    """Write a file beside *target* and put it into its place at the end, or leave nothing."""
    if target.exists() and not target.is_file():  # such as /dev/stdout
        with target.open("wb") as file:
            yield file
        return
    target = target.resolve()  # a symbolic link stays one
    part = target.with_name(f".{target.name[:200]}.{uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as file:
            yield file
        if target.exists():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _check_length(incoming: Incoming) -> None:
    response = incoming.response
    length = response.headers.get("Content-Length")
    if length is None or int(length) == response.num_bytes_downloaded:
        return
    got = f"the answer ended after {response.num_bytes_downloaded} of {length} bytes"
    raise errors.from_transport(httpx.RemoteProtocolError(got, request=response.request))
