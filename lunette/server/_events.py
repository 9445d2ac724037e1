"""The output of a process as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator
from typing import Any

import pybase64
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lunette.server._json import encode
from lunette.server._load import Gate
from lunette.server._log import Gap
from lunette.server._problems import Problem
from lunette.server._readers import Reader
from lunette.server._segments import Block
from lunette.server._started import Started
from lunette.server._waiting import disconnected

__all__ = ["Events"]

# As in openapi.yaml.
_SILENCE_SECONDS = 15.0
_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
}
_COMMENT = b":\n\n"
# What is made at once takes less than a millisecond of the loop's time.
_MOST_EVENTS = 256
# The bytes of the first events of a connection, and of later ones: of a connection that does not
# live for the length of one event, a client would have nothing.
_FIRST_BYTES, _MOST_BYTES = 1024, 256 * 1024
_NAMES = {1: b"stdout", 2: b"stderr"}


class Events(Response):
    """What a process writes from *offset* on; without *following*, as far as that is now.

    Whoever reads it is in *followers*.
    """

    def __init__(self, started: Started, offset: int, followers: Gate, *, following: bool) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers.update(_HEADERS)
        self._started = started
        self._log = started.log
        self._offset = offset
        self._followers = followers
        self._following = following

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._followers.entered():
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        listener = asyncio.create_task(disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            with self._log.followed_from(self._offset, is_coming_back=self._following) as reader:
                listener.add_done_callback(lambda _: reader.changed.set())
                stop = None if self._following else self._log.end
                async with contextlib.aclosing(self._events(reader, stop, scope)) as bodies:
                    async for body in bodies:
                        if listener.done():
                            return
                        await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            listener.cancel()

    async def _events(
        self, reader: Reader, stop: int | None, scope: Scope
    ) -> AsyncGenerator[bytes]:
        """Yield what there is, and wait for more unless there is a *stop*."""
        most = _FIRST_BYTES
        while True:
            reader.changed.clear()
            if reader.offset < self._log.end:
                body, offset = _encoded(await self._log.find(reader.offset), reader.offset, most)
                most = min(2 * most, _MOST_BYTES)
                self._log.read_until(reader, offset)  # before: a client may have it and be cut
                yield body
            elif self._started.is_over:
                yield self._last(scope)
                return
            elif stop is not None:
                return
            elif not await _changes(reader):
                yield _COMMENT

    def _last(self, scope: Scope) -> bytes:
        ending, problem = self._started.ending, self._started.problem
        if ending is None:
            problem = problem or Problem(500, "internal_error", "the process has no end")
            body = encode(problem.body(scope["request_id"]))
            return b"".join(_event(self._log.end, b"error", body))
        data: dict[str, Any] = {"exit_code": ending.exit_code}
        if ending.signal is not None:
            data["signal"] = ending.signal
        if ending.timed_out:
            data["timed_out"] = True
        data["duration"] = ending.duration
        return b"".join(_event(self._log.end, b"exit", encode(data)))


def _encoded(found: Block | Gap, offset: int, most: int) -> tuple[bytes, int]:
    """Return events from *offset* on, of *most* bytes of output, and the offset after them."""
    if isinstance(found, Gap):
        end = offset + found.size
        return b"".join(_event(end, b"gap", encode({"bytes": found.size}))), end
    end, parts = offset, list[bytes]()
    limit = offset + most - found.begin
    # Released before the block grows.
    with memoryview(found.data) as data:
        for stream, start, stop in itertools.islice(found.runs(offset), _MOST_EVENTS):
            stop = min(stop, limit)
            end = found.begin + stop
            parts += _event(end, _NAMES[stream], pybase64.b64encode(data[start:stop]))
            if stop == limit:
                break
    return b"".join(parts), end


def _event(offset: int, name: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    return b"id: %d\nevent: %b\ndata: " % (offset, name), data, b"\n\n"


async def _changes(reader: Reader) -> bool:
    """Wait for a change, and say whether there was one before the silence got long."""
    try:
        async with asyncio.timeout(_SILENCE_SECONDS):
            await reader.changed.wait()
    except TimeoutError:
        return False
    return True
