"""Copy directories between this machine and a sandbox, as tar archives that nobody keeps whole."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVarTuple
from uuid import uuid4

from .. import errors
from .._answers import from_answer
from .._ignore import compile_rules, lines_of
from .._io import IO
from .._progress import Advance
from .._retry import Resuming, may_have_acted
from . import abandon, check_plain, published
from ._local_trees import TreeSource, TreeTarget, is_directory
from ._overlap import Ahead, Behind
from ._sources import Stream
from ._uploading import send
from .server import is_published

if TYPE_CHECKING:
    import httpx

__all__ = ["check_mode", "download", "is_directory", "upload"]

Ts = TypeVarTuple("Ts")

logger = logging.getLogger(__name__)

# What is unpacked by one call, which may be a hop to a thread.
_AT_ONCE = 1024 * 1024
_COMPLETE = "?1"


def check_mode(mode: object) -> None:
    """Refuse permissions for a directory."""
    if mode is not None:
        raise ValueError(
            "mode is of a file: what is in a directory keeps its own; change them by a command,"
            " such as chmod"
        )


async def upload(
    io: IO,
    sandbox_id: str,
    local_path: str,
    remote_path: str,
    *,
    ignore: str | Sequence[str] | None,
    tell: Advance,
) -> None:
    """Copy what is in a directory of this machine into one of the sandbox."""
    rules = compile_rules(lines_of(ignore))
    if await is_published(io):
        raise published.refuse("an upload of a directory", "upload its files one by one")
    tree = await io.call(TreeSource, local_path, rules)
    ahead = Ahead(tree)
    try:
        source = Stream(ahead, local_path)
        source.report = tell
        await send(io, sandbox_id, {"path": remote_path, "format": "tar"}, source)
        source.tell_end()
    finally:
        ahead.close()
        tree.close()
    if tree.skipped:
        logger.warning(
            "[%s] left out what is no file, directory or link %s", sandbox_id, tree.skipped
        )


async def download(
    io: IO,
    sandbox_id: str,
    remote_path: str,
    local_path: str,
    *,
    ignore: str | Sequence[str] | None,
    tell: Advance,
) -> None:
    """Copy what is in a directory of the sandbox into one of this machine."""
    lines = lines_of(ignore)
    if await is_published(io):
        raise published.refuse("a download of a directory", "download its files one by one")
    target = TreeTarget(local_path)
    behind = Behind(target.unpack)
    archive = _Archive(io, sandbox_id)
    try:
        await io.call(target.check)
        await archive.begin(remote_path, lines)
        async with aclosing(archive.chunks()) as chunks:
            async for chunk in chunks:
                await _local(io, archive, behind.put, chunk)
                tell(archive.offset, None)
        await _local(io, archive, behind.finish)
        if str(target.digest) != archive.digest:
            raise archive.refused("what came is not what was sent")
        await _local(io, archive, target.place)
        tell(archive.offset, archive.offset)
    finally:
        behind.close()
        target.discard()
        await archive.end()
    if target.left_out:
        logger.warning("[%s] left out links that lead elsewhere %s", sandbox_id, target.left_out)


async def _local(io: IO, archive: _Archive, function: Callable[[*Ts], object], *args: *Ts) -> None:
    """Call a *function* that takes the *archive* in, and let an error say which one it is."""
    from .._archive import ArchiveError

    try:
        await io.call(function, *args)
    except ArchiveError as error:
        raise archive.refused(str(error)) from error


class _Archive:
    """A directory on its way out; *offset* is how far it has come, and *digest* what all of it has,
    which is known at the end.
    """

    def __init__(self, io: IO, sandbox_id: str) -> None:
        self.offset = 0
        self.digest: str | None = None
        self._io = io
        self._sandbox_id = sandbox_id
        self._id = uuid4().hex
        self._is_begun = False
        self._is_complete = False
        self._last: httpx.Response | None = None
        self._resuming = Resuming(io.policy)

    async def begin(self, path: str, ignore: Sequence[str]) -> None:
        from lunette_api.api.files import begin_archive
        from lunette_api.models import ArchiveRequest

        fields = {"path": path, "ignore": list(ignore)} if ignore else {"path": path}
        body = ArchiveRequest.from_dict(fields)
        self._is_begun = True
        try:
            await self._io.send(begin_archive._get_kwargs(self._sandbox_id, self._id, body=body))
        except errors.LunetteError as error:
            self._is_begun = may_have_acted(error)
            raise

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield all of it in large chunks, over as many connections as it takes."""
        held: list[bytes] = []
        size = 0
        async with aclosing(self._received()) as received:
            async for chunk in received:
                held.append(chunk)
                size += len(chunk)
                if size >= _AT_ONCE:
                    yield b"".join(held)
                    held, size = [], 0
        if held:
            yield b"".join(held)

    async def end(self) -> None:
        """Let the server forget it; outlives a cancellation."""
        from lunette_api.api.files import end_archive

        if self._is_begun:
            self._is_begun = False
            await abandon(self._io, end_archive._get_kwargs(self._sandbox_id, self._id))

    def refused(self, why: str) -> errors.APIError:
        """Return the error of an archive that cannot be right."""
        assert self._last is not None
        return from_answer(self._last, f"archive of {self._sandbox_id}: {why}")

    async def _received(self) -> AsyncGenerator[bytes]:
        while not self._is_complete:
            before = self.offset
            try:
                async with aclosing(self._piece()) as piece:
                    async for chunk in piece:
                        self.offset += len(chunk)
                        self._resuming.begin_anew()
                        yield chunk
            except errors.TransportError as error:
                await self._wait(error, progress=self.offset > before)

    async def _piece(self) -> AsyncGenerator[bytes]:
        """Yield what one answer has."""
        from lunette_api.api.files import read_archive

        request = read_archive._get_kwargs(self._sandbox_id, self._id, offset=self.offset)
        # The bytes as they are: a proxy that packed them would hide how many were to come.
        request["headers"] = {"Accept-Encoding": "identity"}
        async with self._io.stream(request) as incoming:
            self._last = incoming.response
            check_plain(incoming.response)
            size = 0
            async for chunk in incoming.chunks:
                size += len(chunk)
                yield chunk
            self._close_piece(incoming.response, size)

    def _close_piece(self, response: httpx.Response, size: int) -> None:
        if response.headers.get("Archive-Complete") == _COMPLETE:
            self._is_complete = True
            self.digest = response.headers.get("Repr-Digest")
        elif not size:
            raise self.refused("it ends before it is complete")

    async def _wait(self, error: errors.LunetteError, *, progress: bool) -> None:
        pause = self._resuming.pause_after(error, progress=progress)
        if pause is None:
            raise error
        logger.info(
            "[%s] archive %s: %s; it goes on at %d in %.2f s",
            self._sandbox_id,
            self._id,
            error,
            self.offset,
            pause,
        )
        await self._io.sleep(pause)
