"""Read and write files of a sandbox whole."""

from __future__ import annotations

import logging
from contextlib import aclosing

from .._io import IO
from . import _downloading, published
from ._paths import RemotePath, remote_path
from ._sources import Buffer, opened
from ._uploading import put
from .server import is_published

__all__ = ["read_bytes", "read_text", "write_bytes", "write_text"]

logger = logging.getLogger(__name__)


async def read_bytes(io: IO, sandbox_id: str, path: RemotePath) -> bytes:
    """Read a file of the sandbox."""
    found = remote_path(path)
    if await is_published(io):
        content = await published.read(io, sandbox_id, found)
    else:
        async with aclosing(_downloading.chunks(io, sandbox_id, found)) as chunks:
            content = b"".join([chunk async for chunk in chunks])
    logger.info("[%s] read %s, %d bytes", sandbox_id, found, len(content))
    return content


async def read_text(
    io: IO, sandbox_id: str, path: RemotePath, *, encoding: str, error_mode: str
) -> str:
    """Read a file of the sandbox as text, with its newlines as they are."""
    return (await read_bytes(io, sandbox_id, path)).decode(encoding, error_mode)


async def write_bytes(io: IO, sandbox_id: str, path: RemotePath, data: Buffer) -> None:
    """Write a file of the sandbox."""
    # Not every caller has a type checker.
    if not isinstance(data, bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    target, source = remote_path(path), opened(data)
    logger.info("[%s] write %s, %d bytes", sandbox_id, target, source.size)
    await put(io, sandbox_id, source, target)


async def write_text(
    io: IO, sandbox_id: str, path: RemotePath, text: str, *, encoding: str
) -> None:
    """Write a file of the sandbox as text, with its newlines as they are."""
    # Not every caller has a type checker.
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"text must be a string, not {type(text).__name__}")
    await write_bytes(io, sandbox_id, path, text.encode(encoding))
