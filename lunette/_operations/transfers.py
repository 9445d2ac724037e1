"""Copy files between this machine and a sandbox."""

from __future__ import annotations

import errno
import logging
import os
import posixpath
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import PurePath

from .._io import IO
from .._progress import Advance, ShowTransfer, transferring
from ..errors import SandboxIsADirectoryError, SandboxNotADirectoryError
from . import directories, published
from ._downloading import Download
from ._modes import wire_mode
from ._paths import RemotePath
from ._paths import remote_path as checked
from ._sources import LocalSource, opened
from ._targets import LocalTarget, Target, is_named_as_directory, target_of
from ._uploading import put
from .server import is_published

__all__ = ["download", "upload"]

logger = logging.getLogger(__name__)


async def upload(
    io: IO,
    sandbox_id: str,
    local: LocalSource,
    remote_path: RemotePath,
    *,
    mode: int | None,
    ignore: str | Sequence[str] | None,
    progress: ShowTransfer,
) -> None:
    """Copy a file or a directory of this machine into the sandbox."""
    path, permissions = checked(remote_path), wire_mode(mode)
    if isinstance(local, str | os.PathLike) and await io.call(directories.is_directory, local):
        directories.check_mode(mode)
        name = os.fspath(local)
        logger.info("[%s] upload the directory %s to %s", sandbox_id, name, path)
        with transferring(progress, name) as tell:
            await directories.upload(io, sandbox_id, name, path, ignore=ignore, tell=tell)
        return
    source = await io.call(opened, local)
    try:
        if ignore is not None:
            raise ValueError(f"ignore is of directories, and {source.name} is none")
        if path.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, _mend(path, local), path)
        logger.info("[%s] upload %s to %s", sandbox_id, source.name, path)
        with transferring(progress, source.name) as tell:
            source.report = tell
            await put(io, sandbox_id, source, path, mode=permissions)
    except SandboxIsADirectoryError as error:
        error.strerror = _mend(path, local)
        raise
    finally:
        source.close()


def _mend(path: str, local: LocalSource) -> str:
    """Say what to write where *path* is a directory."""
    given = getattr(local, "name", local)
    name = PurePath(given).name if isinstance(given, str) else ""
    if not name or name.startswith("<"):  # such as <stdin>
        name = "NAME"
    return f"Is a directory, write {posixpath.join(path, name)!r}"


async def download(
    io: IO,
    sandbox_id: str,
    remote_path: RemotePath,
    local: LocalTarget,
    *,
    mode: int | None,
    ignore: str | Sequence[str] | None,
    progress: ShowTransfer,
) -> None:
    """Copy a file or a directory of the sandbox to this machine."""
    path = checked(remote_path)
    wire_mode(mode)
    with transferring(progress, path) as tell:
        if ignore is None and not await _is_directory(io, local):
            target = await io.call(target_of, local, path, mode)
            try:
                await _download_file(io, sandbox_id, path, target, tell)
                await io.call(target.place)
                logger.info("[%s] downloaded %s to %s", sandbox_id, path, target.name)
                return
            except SandboxIsADirectoryError:
                if not isinstance(local, str | os.PathLike):
                    raise
            finally:
                target.discard()
        await _download_directory(io, sandbox_id, path, local, mode, ignore, tell)


async def _is_directory(io: IO, local: LocalTarget) -> bool:
    if not isinstance(local, str | os.PathLike):
        return False
    return is_named_as_directory(local) or await io.call(directories.is_directory, local)


async def _download_directory(
    io: IO,
    sandbox_id: str,
    path: str,
    local: LocalTarget,
    mode: int | None,
    ignore: str | Sequence[str] | None,
    tell: Advance,
) -> None:
    if not isinstance(local, str | os.PathLike):
        raise ValueError("ignore is of directories, which do not go into a file")
    directories.check_mode(mode)
    name = os.fspath(local)
    try:
        await directories.download(io, sandbox_id, path, name, ignore=ignore, tell=tell)
    except SandboxNotADirectoryError as error:
        if ignore is not None:
            raise ValueError(f"ignore is of directories, and {path} is none") from error
        await io.call(target_of, local, path, mode)  # which names the mend
        raise
    logger.info("[%s] downloaded the directory %s to %s", sandbox_id, path, name)


async def _download_file(io: IO, sandbox_id: str, path: str, target: Target, tell: Advance) -> None:
    if await is_published(io):
        content = await published.read(io, sandbox_id, path)
        await io.call(target.write, content)
        tell(len(content), len(content))
        return

    async def begin_again() -> None:
        await io.call(target.begin_again)

    download = Download(io, sandbox_id, path, begin_again=begin_again)
    await _receive(io, download, target, tell)
    while download.is_in_parts and not await download.is_same(await io.call(target.digest)):
        await download.restart()
        await _receive(io, download, target, tell)
    tell(download.offset, download.offset)


async def _receive(io: IO, download: Download, target: Target, tell: Advance) -> None:
    async with aclosing(download.chunks()) as chunks:
        async for chunk in chunks:
            await io.call(target.write, chunk)
            tell(download.offset, download.size)
