"""Read a file of a sandbox: each byte once, whatever the network does.

One that was cut goes on where it was, if the file is the same still. What came over more than one
connection is compared with the file at the end.
"""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import httpx

from .. import errors
from .._answers import from_answer, from_transport
from .._digest import Digest, Xxh3
from .._io import IO, Request
from .._retry import Resuming
from . import check_plain, parsed

__all__ = ["Download", "chunks"]

logger = logging.getLogger(__name__)

# As often as a file that changes while it is read is read from its beginning.
_BEGINNINGS = 4
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19})")

BeginAgain = Callable[[], Awaitable[None]]


async def chunks(io: IO, sandbox_id: str, path: str) -> AsyncGenerator[bytes]:
    """Yield the bytes of a file; one that changes between two connections is an OSError."""
    digest = Xxh3()
    download = Download(io, sandbox_id, path)
    async with aclosing(download.chunks()) as found:
        async for chunk in found:
            await io.call(digest.see, digest.size, chunk)
            yield chunk
    if download.is_in_parts and not await download.is_same(digest):
        raise download.changed()


class Download:
    """One file on its way out; *size* is what it has, when that is known."""

    def __init__(
        self, io: IO, sandbox_id: str, path: str, *, begin_again: BeginAgain | None = None
    ) -> None:
        self.sandbox_id = sandbox_id
        self.path = path
        self.offset = 0
        self.size: int | None = None
        self.is_in_parts = False
        self._io = io
        self._begin_again = begin_again
        self._beginnings = 1
        self._etag: str | None = None
        self._resuming = Resuming(io.policy)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield what comes, over as many connections as it takes.

        Of a file that has changed all comes again, after *begin_again* was called; without that it
        is an OSError.
        """
        while True:
            before, connected = self.offset, False
            try:
                async with self._io.stream(self._request()) as incoming:
                    connected = True
                    await self._begin(incoming.response)
                    before = self.offset
                    async for chunk in incoming.chunks:
                        self.offset += len(chunk)
                        self._resuming.begin_anew()
                        yield chunk
                    self._check_end(incoming.response)
                return
            except errors.TransportError as error:
                # One that never came about was tried again; without an ETag nothing says whether
                # it is the same file still.
                if not connected or self._etag is None:
                    raise
                await self._wait(error, progress=self.offset > before)

    async def is_same(self, digest: Digest) -> bool:
        """Whether the file, as it is there, has the *digest* of what came."""
        from lunette_api.api.files import stat_file
        from lunette_api.models import DigestAlgorithm, FileInfo

        asked = DigestAlgorithm(digest.algorithm)
        request = stat_file._get_kwargs(self.sandbox_id, path=self.path, digest=asked)
        try:
            found = parsed(await self._io.send(request, patient=True), FileInfo.from_dict)
        except errors.APIError as error:
            if error.code == "file_changed":
                return False
            raise
        return (found.etag, found.digest) == (self._etag, str(digest))

    async def restart(self) -> None:
        """Begin again from the first byte, unless that was done often enough."""
        self._beginnings += 1
        if self._begin_again is None or self._beginnings > _BEGINNINGS:
            raise self.changed()
        logger.info("[%s] %s changed while it was read: again", self.sandbox_id, self.path)
        await self._begin_again()
        self.offset, self.size, self._etag = 0, None, None
        self.is_in_parts = False

    def changed(self) -> OSError:
        """Return the error of a file that is another one now."""
        return OSError(errno.ESTALE, "it changed while it was read (in the sandbox)", self.path)

    def _request(self) -> Request:
        from lunette_api.api.files import download_file
        from lunette_api.types import UNSET

        request = download_file._get_kwargs(
            self.sandbox_id,
            path=self.path,
            range_=f"bytes={self.offset}-" if self.offset else UNSET,
            if_range=(self.offset and self._etag) or UNSET,
        )
        # The bytes as they are: a proxy that packed them would hide how many were to come.
        request["headers"]["Accept-Encoding"] = "identity"
        return request

    async def _begin(self, response: httpx.Response) -> None:
        """Take in the head of an answer."""
        check_plain(response)
        if response.status_code == 206:
            self._go_on(response)
            return
        if self.offset:
            await self.restart()
        self._etag = response.headers.get("ETag") or None
        length = response.headers.get("Content-Length")
        self.size = None if length is None else int(length)

    def _go_on(self, response: httpx.Response) -> None:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        is_ours = found is not None and int(found[1]) == self.offset
        if found is None or not is_ours or self.size not in (None, int(found[2])):
            raise from_answer(response, f"206 from {response.url.path}, not of the range asked for")
        self.is_in_parts = True

    def _check_end(self, response: httpx.Response) -> None:
        if self.size is None or self.offset == self.size:
            return
        got = f"the answer ended after {self.offset} of {self.size} bytes"
        raise from_transport(httpx.RemoteProtocolError(got, request=response.request))

    async def _wait(self, error: errors.LunetteError, *, progress: bool) -> None:
        pause = self._resuming.pause_after(error, progress=progress)
        if pause is None:
            raise error
        logger.info(
            "[%s] download of %s: %s; it goes on at %d in %.2f s",
            self.sandbox_id,
            self.path,
            error,
            self.offset,
            pause,
        )
        await self._io.sleep(pause)
