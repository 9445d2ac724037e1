"""uvicorn, with the few things that are different here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Generator
from typing import Any, cast

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server

from lunette.server._intake import EXTENSION, Intake
from lunette.server._problems import Problem

__all__ = ["HTTPServer"]

_LAST_ANSWERS_SECONDS = 2.0


class HTTPServer(Server):
    """A server of one listening socket, which stops on `stop` without a pause."""

    def __init__(self, app: ASGIApp, *, access_log: bool = False, signals: bool = True) -> None:
        config = Config(
            cast(Any, app),
            loop="asyncio",
            http=_OneSend,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=access_log,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
        )
        super().__init__(config)
        self._signals = signals
        self._stopped = asyncio.Event()

    async def run_on(self, listener: socket.socket) -> None:
        """Serve until somebody says `stop`."""
        await self.serve([listener])

    def stop(self) -> None:
        """Stop serving, and destroy every sandbox."""
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # once a second, for the Date header
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        connections = list(self.server_state.connections)
        for connection in connections:
            connection.shutdown()
        # This ends what runs in the sandboxes, so that those who wait for it get an answer.
        await self.lifespan.shutdown()
        late = await self._finish(self.server_state.tasks)
        for connection in connections:
            connection.transport.abort()
        for task in await self._finish(late):
            task.cancel()

    async def _finish(self, tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        """Return those of *tasks* that do not end in time."""
        if not tasks:
            return set()
        _, late = await asyncio.wait(list(tasks), timeout=_LAST_ANSWERS_SECONDS)
        return late

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # uvicorn takes SIGINT too and raises both again at the end; who runs us decides that.
        if self._signals:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        yield


class _OneSend(HttpToolsProtocol):
    """uvicorn's protocol, over a transport that sends a small answer as one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._joined = _Joined(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.Transport, self._joined))
        self._intake: Intake | None = None
        self._unwanted = 0  # bytes of a body that nobody waits for any more

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = cast(Any, {EXTENSION: self._begin_intake})

    def _begin_intake(self, left: int) -> Intake | None:
        """Leave the last bytes of a body, so many, to whoever reads them from the socket."""
        sock = self.transport.get_extra_info("socket").dup()
        self.flow.pause_reading()
        self.parser = httptools.HttpRequestParser(self)  # for what comes behind them
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._intake = Intake(sock, left, self._end_intake)
        return self._intake

    def _end_intake(self, intake: Intake) -> None:
        self._intake, self._unwanted = None, intake.left
        self.cycle.more_body = False
        self.cycle.message_event.set()
        self.flow.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._unwanted:
            size = min(len(data), self._unwanted)
            self._unwanted -= size
            data = data[size:]
        if data:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._intake is not None:
            self._intake.cut()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as everything else is answered."""
        response = Problem(400, "bad_request", msg).response(os.urandom(8).hex())
        fields = [*response.raw_headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (head, bytes(response.body)))
        self.transport.close()

    def on_response_complete(self) -> None:
        self._joined.flush()  # the head of an answer to HEAD, which has no body
        super().on_response_complete()


class _Joined:
    """A transport that holds a head back until the body comes that it announces.

    uvicorn writes them in two system calls, and the client wakes up for each.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._head = b""
        # The rest is what the transport does.
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol
        self.abort = transport.abort

    def write(self, data: bytes) -> None:
        if not self._head and data.startswith(b"HTTP/1.1 ") and b"\r\ncontent-length: " in data:
            self._head = data
            return
        head, self._head = self._head, b""
        self.transport.write(head + data if head else data)

    def close(self) -> None:
        self.flush()
        self.transport.close()

    def flush(self) -> None:
        if not self._head:
            return
        head, self._head = self._head, b""
        self.transport.write(head)
