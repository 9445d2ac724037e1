"""uvicorn's protocol, with an end to what a client may send and to how long it may take.

What comes whole, as nearly every request does, costs a few attributes; only for what has to go on
there is a time, after which the server cuts it on its next round.
"""

from __future__ import annotations

import asyncio
import enum
import math
import os
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from lunette.server import _access_log
from lunette.server._connections import Connections
from lunette.server._problems import Problem

__all__ = ["BoundedProtocol"]

# How long a client that is refused may go on sending: to close at once would take the answer back.
_LINGER_SECONDS = 2.0
# Requests that a client sends before it has the answer to the first.
_AT_ONCE = 16


class _Expects(enum.Enum):
    NOTHING = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


# Each request asks several times, and an enumeration is slow.
_NOTHING, _HEAD, _BODY = _Expects


class BoundedProtocol(HttpToolsProtocol):
    """One connection, which goes by the bounds of *bounded*."""

    app: Any

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounded: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounded = bounded
        self._bounds = bounded.bounds
        self._expects = _NOTHING
        self._count = 0  # bytes that came since there was a head, or something of a body
        self._until = math.inf
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._bounded.wait(self)
        self._bounded.make_room(len(self.connections))
        self._wait(self._bounds.idle_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounded.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._count += len(data)
        super().data_received(data)
        if self._expects is not _NOTHING:
            self._expect_more()
            return
        self._count = 0
        if self._until == math.inf and not self._is_answering():
            self._wait(self._bounds.idle_seconds)  # empty lines, which begin nothing

    def _expect_more(self) -> None:
        if self._is_refused:
            return
        in_body = self._expects is _BODY
        if self._count > self._bounds.head:
            no_body = Problem(400, "bad_request", "there is no body in what came as one")
            self.refuse(no_body if in_body else self._too_long())
        elif in_body:
            self._wait(self._bounds.body_seconds)
        elif self._until == math.inf:  # one that comes in drops does not get more
            self._wait(self._bounds.head_seconds)

    def on_message_begin(self) -> None:
        self._expects, self._until = _HEAD, math.inf
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _AT_ONCE:
            raise ValueError("too many requests at once")  # to the parser, which stops
        problem = self._excess()
        self._expects, self._until, self._count = _BODY, math.inf, 0
        self._bounded.leave(self)
        if problem is None and self._bounded.are_busy(len(self.connections)):
            problem = self._too_many()
        if problem is None:
            super().on_headers_complete()
        else:
            application, self.app = self.app, _Refusal(problem)
            super().on_headers_complete()
            self.app = application
        self.headers = []  # what comes behind a body is none of them

    def _excess(self) -> Problem | None:
        """Return what is wrong with a head that is too much."""
        if len(self.url) > self._bounds.line:
            detail = f"the first line is longer than {self._bounds.line} bytes"
            return Problem(414, "bad_request", detail)
        if len(self.headers) > self._bounds.fields:
            detail = f"there are more than {self._bounds.fields} header fields"
            return Problem(431, "bad_request", detail)
        if self._count > self._bounds.head and self._head_size() > self._bounds.head:
            return self._too_long()
        return None

    def _too_many(self) -> Problem:
        detail = f"the server has no room for more than {self._bounds.requests} requests"
        return Problem(429, "too_many_requests", detail, headers={"Retry-After": "1"})

    def _too_long(self) -> Problem:
        return Problem(431, "bad_request", f"the head is longer than {self._bounds.head} bytes")

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        self._count = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._expects, self._until = _NOTHING, math.inf
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._wait(self._bounds.body_seconds)  # for one that does not take its answer
        elif not self._is_answering():  # there may be another request behind this one
            self._bounded.wait(self)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._wait(self._bounds.body_seconds)

    def look(self, now: float) -> None:
        """Cut the connection if its time is over."""
        if now < self._until:
            return
        if self._is_refused or self._expects is _NOTHING:
            self.cut()
        elif self._expects is _HEAD:
            self.refuse(Problem(408, "bad_request", "the head of the request took too long"))
        elif self._has_moved():
            self._wait(self._bounds.body_seconds)
        else:
            self.cut()

    def cut(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    def _has_moved(self) -> bool:
        """Say whether it is not the client who is waited for."""
        return self.flow.read_paused or self.cycle.waiting_for_100_continue

    def refuse(self, problem: Problem) -> None:
        """Answer what is no request, and hear no more."""
        self._is_refused = True
        runs = self._is_answering()
        in_body = self._expects is _BODY
        if runs and (not in_body or self.pipeline or self.cycle.response_started):
            self.cut()  # the answer would be taken for another's
            return
        if runs:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if runs or not in_body:
            self._write(problem)
        self.transport.write_eof()
        self._wait(_LINGER_SECONDS)

    def _is_answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    def _write(self, problem: Problem) -> None:
        request_id = os.urandom(8).hex()
        _access_log.refused(self.client, problem.status, request_id)
        response = _response(problem, request_id)
        fields = b"".join(b"%b: %b\r\n" % pair for pair in response.raw_headers)
        head = STATUS_LINE[problem.status] + fields
        self.transport.write(b"%b\r\n%b" % (head, bytes(response.body)))

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as everything else is answered."""
        self.refuse(Problem(400, "bad_request", msg))

    def body_is_over(self) -> None:
        """Wait for no more of a body: it came another way."""
        self._expects, self._until = _NOTHING, math.inf

    def _wait(self, seconds: float) -> None:
        self._until = self.loop.time() + seconds


class _Refusal:
    """An application that answers by a problem, after which the connection is closed."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = os.urandom(8).hex()
        _access_log.refused(scope["client"], self._problem.status, request_id)
        await _response(self._problem, request_id)(scope, receive, send)


def _response(problem: Problem, request_id: str) -> Response:
    response = problem.response(request_id)
    response.headers["X-Request-ID"] = request_id
    response.headers["Connection"] = "close"
    return response
