"""An upload: a file or a directory that comes in one request or in many."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.requests import ClientDisconnect

from lunette.server._blocks import Blocks
from lunette.server._digests import Digest, mismatch
from lunette.server._intake import Body
from lunette.server._problems import Problem
from lunette.server._run import seen
from lunette.server._sending import Sending
from lunette.server._transfer import Errors, Transfer
from lunette.server.engines.files import FileWriter

__all__ = ["Upload"]


class Upload(Transfer):
    """Its bytes are taken from one request at a time, the latest."""

    what = "upload"

    def __init__(
        self,
        request: bytes,
        errors: Errors,
        begin: Callable[[], Awaitable[FileWriter]],
        *,
        digest: Digest | None,
    ) -> None:
        self._begin = begin
        self._digest = digest
        self._writer: FileWriter | None = None
        self._offset = 0
        self._turn = asyncio.Lock()
        self._senders: list[Sending] = []
        self._committing: asyncio.Task[None] | None = None
        super().__init__(request, errors)

    @property
    def size(self) -> int:
        """How many bytes have come for good, though a request may be sending."""
        return self._offset

    async def offset(self) -> int:
        """Return how many bytes have come, which stays so until the next request sends some."""
        await self.ready()
        async with self._alone():
            return self._offset

    async def send(self, offset: int, body: Body) -> tuple[int, bool]:
        """Take a body that begins at *offset*; return how many bytes have come, and whether it was
        all of that body.
        """
        await self.ready()
        sending = Sending(body)
        async with self._alone(sending):
            if offset > self._offset:
                detail = f"the body begins at {offset}, and only {self._offset} bytes have come"
                raise Problem(409, "upload_gap", detail, key="offset", offset=self._offset)
            if self.is_done:
                return self._offset, True
            with self.working():
                body.unwanted = self._offset - offset
                await self._take(sending)
            self.check()
            if sending.is_cut:
                raise ClientDisconnect
            return self._offset, not sending.is_ended

    async def commit(self, length: int, digest: str | None) -> None:
        """Give it its name, if *length* and *digest* are those of what has come."""
        await self.ready()
        self._check_algorithm(digest)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit(length, digest))
            self._committing.add_done_callback(seen)
        await asyncio.wait([self._committing])
        self.check()
        if length != self._offset:  # of a repeat that is none
            raise self._wrong_length(length)

    def _check_algorithm(self, digest: str | None) -> None:
        """Refuse a *digest* with which there is nothing to compare."""
        if digest is None:
            return
        if self._digest is None:
            detail = "the upload was begun without 'digest', so that there is none to compare"
        elif not digest.startswith(f"{self._digest.algorithm}="):
            detail = f"the upload was begun with the digest {self._digest.algorithm}, not with that"
        else:
            return
        raise Problem(422, "invalid_request", detail, key="digest")

    async def _open(self) -> None:
        self._writer = await self._begin()
        del self._begin  # it may hold much

    async def _close(self) -> None:
        for sending in self._senders:
            sending.end(at_once=True)
        async with self._turn:
            if self._writer is not None and not self.is_done:
                await self._writer.abort()

    @contextlib.asynccontextmanager
    async def _alone(self, sending: Sending | None = None) -> AsyncGenerator[None]:
        """Take the place of the request that sends now."""
        for other in self._senders:
            other.end()
        if sending is not None:
            self._senders.append(sending)
        try:
            async with self._turn:
                self.check()
                yield
        finally:
            if sending is not None:
                self._senders.remove(sending)

    async def _take(self, sending: Sending) -> None:
        assert self._writer is not None
        blocks = Blocks(self._writer, self._digest)
        try:
            async for data in sending.chunks():
                await blocks.add(data)
                del data  # the next may be long in coming
            await blocks.flush()
        finally:
            await blocks.settle()
            self._offset += blocks.written
        async for intake in sending.intake():
            taker = intake.take(self._digest)
            try:
                await self._writer.write_from(taker)
            finally:
                self._offset += taker.taken

    async def _commit(self, length: int, digest: str | None) -> None:
        async with self._alone():
            await self._compare(length, digest)
            assert self._writer is not None
            with self.working():
                await self._writer.commit()
            self.is_done, self.problem = True, None
            self._writer = None

    async def _compare(self, length: int, digest: str | None) -> None:
        """Give it up if it is not what it should be."""
        found = None if self._digest is None else await self._digest.value()
        if length != self._offset:
            problem = self._wrong_length(length)
        elif digest not in (None, found):
            problem = mismatch(f"the digest of what has come is {found}, and not {digest}")
        else:
            return
        self.end(problem)
        raise problem

    def _wrong_length(self, length: int) -> Problem:
        return mismatch(f"{self._offset} bytes have come, and not {length}")
