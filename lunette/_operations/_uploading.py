"""Send to a sandbox what does not fit into one request: each byte once, whatever the network does.

An upload is begun, its pieces are sent, and it is committed. One that was cut is asked how far it
has come, and goes on there.
"""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import io as streams
import logging
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING
from uuid import uuid4

from .. import errors
from .._answers import from_answer, from_transport
from .._body import Body
from .._digest import Digest, sha256
from .._io import IO, Request
from .._retry import Resuming, may_have_acted
from . import abandon, parsed, published
from ._sources import Source
from .server import is_published

if TYPE_CHECKING:
    import httpx

__all__ = ["Session", "put", "send"]

logger = logging.getLogger(__name__)


async def put(
    io: IO, sandbox_id: str, source: Source, path: str, *, mode: str | None = None
) -> None:
    """Send a *source* to the file *path*, in the way that suits its size and the server."""
    if await is_published(io):
        if mode is not None:
            raise published.refuse("an upload with mode", "change it by a command, such as chmod")
        await published.write(io, sandbox_id, path, await source.all(io))
        await io.call(source.check)
    else:
        await _put(io, sandbox_id, source, path, mode or source.mode)
    source.tell_end()


async def _put(io: IO, sandbox_id: str, source: Source, path: str, mode: str | None) -> None:
    content = await source.small(io)
    if content is None:
        fields = {"path": path} if mode is None else {"path": path, "mode": mode}
        await send(io, sandbox_id, fields, source)
        return
    await io.call(source.check)
    request = _put_request(sandbox_id, path, mode, await io.call(sha256, content))
    request["headers"]["Content-Length"] = str(len(content))
    await io.send(request, body=Body(streams.BytesIO(content), len(content)))


def _put_request(sandbox_id: str, path: str, mode: str | None, digest: str) -> Request:
    from lunette_api.api.files import upload_file
    from lunette_api.types import UNSET, File

    nothing = File(payload=streams.BytesIO())
    request = upload_file._get_kwargs(
        sandbox_id, body=nothing, path=path, mode=mode or UNSET, repr_digest=digest
    )
    # The generated body would be read on the event loop; ours is streamed by `IO.send`.
    del request["content"]
    return request


async def send(io: IO, sandbox_id: str, begin: Mapping[str, object], source: Source) -> None:
    """Send a *source* by an upload that is begun with the fields of *begin*: all or nothing."""
    session = Session(io, sandbox_id)
    try:
        await session.begin({**begin, "digest": source.digest.algorithm})
        async with aclosing(source.pieces(io)) as pieces:
            async for piece in pieces:
                await session.append(piece)
        await io.call(source.check)
        await session.commit(source.digest)
    except BaseException as error:
        await session.abort(error)
        raise


class Session:
    """One upload: nothing of it is seen before `commit`, except with `if_exists: append`.

    *offset* is how many bytes of it the server has. After any error only `abort` is left.
    """

    def __init__(self, io: IO, sandbox_id: str) -> None:
        self.sandbox_id = sandbox_id
        self.upload_id = uuid4().hex
        self.offset = 0
        self._io = io
        self._is_over = False
        self._resuming = Resuming(io.policy)

    async def begin(self, fields: Mapping[str, object]) -> None:
        """Begin it with the *fields* of an `UploadRequest` of openapi.yaml."""
        from lunette_api.api.files import begin_upload
        from lunette_api.models import UploadRequest

        body = UploadRequest.from_dict(fields)
        request = begin_upload._get_kwargs(self.sandbox_id, self.upload_id, body=body)
        try:
            await self._io.send(request)
        except errors.LunetteError as error:
            self._is_over = not may_have_acted(error)
            raise

    async def append(self, piece: Body) -> None:
        """Send a *piece*, as often as it takes until the server has all of it."""
        while piece.size:
            before = self.offset
            answer, error = await self._try(piece)
            self._take(answer, piece)
            if error is None and self.offset == before:
                error = _untaken(answer)
            if self.offset > before:
                self._resuming.begin_anew()
            if error is not None:
                await self._wait(error, progress=self.offset > before)

    async def commit(self, digest: Digest | None = None) -> None:
        """Give it its name; with a *digest*, the server compares that with its own."""
        from lunette_api.api.files import commit_upload
        from lunette_api.models import CommitRequest
        from lunette_api.types import UNSET

        named = UNSET if digest is None else str(digest)
        body = CommitRequest(length=self.offset, digest=named)
        request = commit_upload._get_kwargs(self.sandbox_id, self.upload_id, body=body)
        await self._io.send(request)
        self._is_over = True

    async def abort(self, error: BaseException | None = None) -> None:
        """Leave nothing of it, for the sake of an *error*; outlives a cancellation."""
        from lunette_api.api.files import abort_upload

        if self._is_over or isinstance(error, errors.SandboxDestroyedError):
            return
        self._is_over = True
        await abandon(self._io, abort_upload._get_kwargs(self.sandbox_id, self.upload_id))

    async def _try(self, piece: Body) -> tuple[httpx.Response, errors.LunetteError | None]:
        """Send a *piece*; return what says how far that has come, and what went wrong."""
        try:
            return await self._io.send(self._patch(piece), body=piece), None
        except errors.LunetteError as error:
            if not self._resuming.may_go_on(error):
                raise
            return await self._ask(), error

    async def _ask(self) -> httpx.Response:
        from lunette_api.api.files import get_upload

        return await self._io.send(get_upload._get_kwargs(self.sandbox_id, self.upload_id))

    def _patch(self, piece: Body) -> Request:
        from lunette_api.api.files import send_upload
        from lunette_api.types import File

        nothing = File(payload=streams.BytesIO())
        request = send_upload._get_kwargs(
            self.sandbox_id, self.upload_id, body=nothing, offset=self.offset
        )
        # The generated body would be read on the event loop; ours is streamed by `IO.send`.
        del request["content"]
        request["headers"]["Content-Length"] = str(piece.size)
        return request

    def _take(self, answer: httpx.Response, piece: Body) -> None:
        """Take over how far it has come, which cannot be behind the *piece* nor before it."""
        from lunette_api.models import Upload

        offset = parsed(answer, Upload.from_dict).offset
        if not self.offset <= offset <= self.offset + piece.size:
            raise from_answer(
                answer,
                f"upload {self.upload_id} is at {offset}, where {self.offset} bytes had come and"
                f" {piece.size} more were sent",
            )
        piece.skip(offset - self.offset)
        self.offset = offset

    async def _wait(self, error: errors.LunetteError, *, progress: bool) -> None:
        pause = self._resuming.pause_after(error, progress=progress)
        if pause is None:
            raise error
        logger.info(
            "[%s] upload %s: %s; it goes on at %d in %.2f s",
            self.sandbox_id,
            self.upload_id,
            error,
            self.offset,
            pause,
        )
        await self._io.sleep(pause)


def _untaken(answer: httpx.Response) -> errors.LunetteError:
    import httpx

    message = "the server took nothing of what was sent to it"
    return from_transport(httpx.RemoteProtocolError(message, request=answer.request))
