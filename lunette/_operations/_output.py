"""Follow what a process writes: every byte once, whatever the network does."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import logging
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Literal

import httpx

from .. import errors
from .._answers import from_answer
from .._io import IO, Incoming, Request
from ._events import Event, Events

__all__ = ["Chunk", "Output", "StreamName", "check_stream", "follow", "lines"]

StreamName = Literal["stdout", "stderr"]
Chunk = tuple[StreamName, bytes]

logger = logging.getLogger(__name__)

_STREAMS: dict[str, StreamName] = {"stdout": "stdout", "stderr": "stderr"}
# Between connections on which nothing new came.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class Output:
    """How far the output of one process has come to this client."""

    def __init__(self, sandbox_id: str, process_id: str) -> None:
        self.sandbox_id = sandbox_id
        self.process_id = process_id
        self.received = 0
        self.gaps = 0
        self.exit_code: int | None = None
        # What came and was not given out: here, since a loop that was left never comes back.
        self.rest: dict[StreamName, _Rest] = {name: _Rest() for name in _STREAMS.values()}
        self.reader: object = None

    @property
    def offset(self) -> int:
        """The bytes of both streams that were given out, or dropped by the server."""
        return self.received - sum(rest.size for rest in self.rest.values())

    def take(self, event: Event) -> Chunk | None:
        """Take in an *event*, and return what the process wrote, if it is that."""
        stream = _STREAMS.get(event.kind)
        if stream is not None:
            import pybase64  # not needed by who runs commands alone

            data = pybase64.b64decode(event.data, validate=True)
            self._advance(len(data), event.id)
            return stream, data
        if event.kind == "gap":
            self._lose(_whole(event, "bytes"), event.id)
        elif event.kind == "exit":
            self.exit_code = _whole(event, "exit_code")
        return None

    def _advance(self, size: int, offset: str) -> None:
        if int(offset) != self.received + size:
            raise ValueError(f"{size} bytes after {self.received} do not end at {offset}")
        self.received += size

    def _lose(self, size: int, offset: str) -> None:
        self._advance(size, offset)
        self.gaps += size
        logger.warning(
            "[%s] process %s: %d bytes of its output were dropped before they were read",
            self.sandbox_id,
            self.process_id,
            size,
        )


class _Rest:
    """The bytes of one stream that were not given out, cut into lines."""

    def __init__(self) -> None:
        self.size = 0
        self._whole: deque[bytes] = deque()
        self._begun: list[bytes] = []

    def add(self, data: bytes) -> None:
        self.size += len(data)
        *ended, last = data.split(b"\n")
        if ended:
            self._begun.append(ended[0])
            self._whole.append(b"".join(self._begun))
            self._whole.extend(ended[1:])
            self._begun.clear()
        self._begun.append(last)

    def line(self) -> str | None:
        """Take out a line that has ended."""
        if not self._whole:
            return None
        line = self._whole.popleft()
        self.size -= len(line) + 1
        return line.removesuffix(b"\r").decode(errors="replace")

    def all(self) -> bytes:
        """Take out everything."""
        data = b"\n".join([*self._whole, b"".join(self._begun)])
        self._whole.clear()
        self._begun.clear()
        self.size = 0
        return data


async def follow(io: IO, output: Output, *, follow: bool = True) -> AsyncGenerator[Chunk]:
    """Yield what a process writes as it comes, from where it was left, until it ends."""
    for stream, rest in output.rest.items():
        if rest.size:
            yield stream, rest.all()
    async with aclosing(_new(io, output, follow)) as chunks:
        async for chunk in chunks:
            yield chunk


def check_stream(stream: object) -> None:
    """Refuse what is no stream, before an iteration over its lines begins."""
    if stream not in (None, *_STREAMS):
        raise ValueError(f"stream must be 'stdout' or 'stderr', not {stream!r}")


async def lines(
    io: IO, output: Output, only: StreamName | None, *, follow: bool = True
) -> AsyncGenerator[str]:
    """Yield the lines of a process as they end, of both its streams or of one."""
    wanted = [rest for stream, rest in output.rest.items() if only in (None, stream)]
    for line in _ended(wanted):
        yield line
    async with aclosing(_new(io, output, follow)) as chunks:
        async for stream, data in chunks:
            if only in (None, stream):
                output.rest[stream].add(data)
                for line in _ended(wanted):
                    yield line
    for rest in wanted:
        if rest.size and output.exit_code is not None:
            yield rest.all().decode(errors="replace")


def _ended(wanted: list[_Rest]) -> Iterator[str]:
    for rest in wanted:
        while (line := rest.line()) is not None:
            yield line


async def _new(io: IO, output: Output, follow: bool) -> AsyncGenerator[Chunk]:
    """Yield what comes, over as many connections as it takes."""
    output.reader = reader = object()
    pauses = _Pauses(output)
    while output.exit_code is None:
        connected = False
        try:
            async with io.stream(_request(output, follow), live=True) as incoming:
                connected = True
                pauses.begin()
                async with aclosing(_chunks(incoming, output, reader)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            if not follow:
                return
        except errors.TransportError as error:
            # One that never came about was tried again, and one of a dead server will not.
            if not connected or isinstance(error, errors.SandboxDestroyedError):
                raise
            logger.debug("[%s] process %s: %s", output.sandbox_id, output.process_id, error)
        if output.exit_code is None:
            await io.sleep(pauses.next())


async def _chunks(incoming: Incoming, output: Output, reader: object) -> AsyncGenerator[Chunk]:
    """Yield what comes over one connection."""
    events = Events()
    try:
        async for data in incoming.chunks:
            for event in events.feed(data):
                _check_reader(output, reader)
                if event.kind == "error":
                    raise _error(event, incoming.response)
                chunk = output.take(event)
                if chunk is not None:
                    yield chunk
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        where = incoming.response.url.path
        message = f"the output from {where} is not by a Lunette server: {error}"
        raise from_answer(incoming.response, message) from error


def _request(output: Output, follow: bool) -> Request:
    from lunette_api.api.commands import follow_process
    from lunette_api.types import UNSET

    request = follow_process._get_kwargs(
        output.sandbox_id,
        output.process_id,
        follow=UNSET if follow else False,
        last_event_id=str(output.received) if output.received else UNSET,
    )
    request["headers"]["Accept-Encoding"] = "identity"  # what packs it might hold it back
    return request


def _check_reader(output: Output, reader: object) -> None:
    if output.reader is not reader:
        raise RuntimeError(
            f"process {output.process_id} is iterated twice at once: find it once more by"
            " sandbox.process, for each to have all of it"
        )


def _error(event: Event, response: httpx.Response) -> errors.APIError:
    """Return what the last *event* says went wrong, as if it had been the answer."""
    problem: Any = json.loads(bytes(event.data))
    status = int(problem["status"])
    answer = httpx.Response(status, json=problem, request=response.request)
    return from_answer(answer)


def _whole(event: Event, name: str) -> int:
    value: Any = json.loads(bytes(event.data))[name]
    if type(value) is not int:
        raise TypeError(f"{name} must be an integer")
    return value


class _Pauses:
    """How long to wait before another connection, the longer the more of them brought nothing."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._idle = 0
        self._since = 0.0
        self._before = 0

    def begin(self) -> None:
        self._since, self._before = time.monotonic(), self._output.received

    def next(self) -> float:
        lasted = time.monotonic() - self._since
        if self._output.received > self._before or lasted > _LONGEST_PAUSE:
            self._idle = 0
            return 0.0
        self._idle += 1
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (self._idle - 1))
        return longest * random.uniform(0.5, 1)
