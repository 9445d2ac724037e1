"""uvicorn, with the few things that are different here."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
from collections.abc import Callable, Generator
from typing import Any, cast

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import Server

from lunette.server._bounded import BoundedProtocol
from lunette.server._connections import Bounds, Connections, keep_alive
from lunette.server._intake import EXTENSION, Intake

__all__ = ["HTTPServer"]

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
_LAST_ANSWERS_SECONDS = 2.0


class HTTPServer(Server):
    """A server of one listening socket, which stops on `stop` without a pause.

    On SIGTERM, where *signals* are its own, it is `drain`ed: *draining* is called, after which
    nothing new may begin, and what runs gets *grace* seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        signals: bool = True,
        grace: float = 0.0,
        draining: Callable[[], object] = lambda: None,
        bounds: Bounds | None = None,
    ) -> None:
        self._bounds = bounds or Bounds()
        protocol = functools.partial(_OneSend, bounded=Connections(self._bounds))
        config = Config(
            cast(Any, app),
            loop="asyncio",
            http=cast(Any, protocol),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,  # the guard has its own
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=cast(Any, self._bounds.idle_seconds),
        )
        super().__init__(config)
        self._signals = signals
        self._grace = grace
        self._on_drain = draining
        self._draining: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    async def run_on(self, listener: socket.socket) -> None:
        """Serve until somebody says `stop`."""
        keep_alive(listener)
        await self.serve([listener])

    def stop(self) -> None:
        """Stop serving, and destroy every sandbox."""
        self.should_exit = True
        self._stopped.set()

    def drain(self) -> None:
        """Begin nothing new, and `stop` when what runs is over or has had its time; the second
        time, at once.
        """
        if self._draining is not None or not self._grace:
            self.stop()
            return
        self._on_drain()
        self._draining = asyncio.get_running_loop().create_task(self._drained())

    async def _drained(self) -> None:
        running = self.server_state.tasks  # a command of `exec` is among them until it ends
        if running:
            logger.warning("stopping: what runs gets %g seconds", self._grace)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                while running:  # noqa: ASYNC110, the end of a request is no event
                    await asyncio.sleep(_LOOK_SECONDS)
        self.stop()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # once a second, for the Date header
            self._cut_the_late()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._bounds.tick):
                    await self._stopped.wait()

    def _cut_the_late(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in cast("list[_OneSend]", list(self.server_state.connections)):
            try:
                connection.look(now)
            except Exception:  # of one, which the others are not to pay for
                logger.exception("a connection is cut")
                connection.cut()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._draining is not None:
            self._draining.cancel()
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
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.drain)
        yield


class _OneSend(BoundedProtocol):
    """uvicorn's protocol, over a transport that sends a small answer as one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._joined = _Joined(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.Transport, self._joined))
        self._intake: Intake | None = None
        self._unwanted = 0  # bytes of a body that nobody waits for any more
        self._seen_left = 0

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
        self._seen_left = left
        return self._intake

    def _end_intake(self, intake: Intake) -> None:
        self._intake, self._unwanted = None, intake.left
        if intake.is_cut:  # the transport, which read nothing meanwhile, does not know it yet
            self.cycle.disconnected = True
            self.transport.abort()
        self.body_is_over()
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

    def _has_moved(self) -> bool:
        if self._intake is None:
            return super()._has_moved()
        before, self._seen_left = self._seen_left, self._intake.left
        return self._seen_left != before

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

    def write_eof(self) -> None:
        self.flush()
        with contextlib.suppress(OSError):  # the client was faster
            self.transport.write_eof()

    def flush(self) -> None:
        if not self._head:
            return
        head, self._head = self._head, b""
        self.transport.write(head)
