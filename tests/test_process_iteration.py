"""What becomes of the connection under an iteration, however that ends."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Generator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import anyio.to_thread
import pytest

from lunette import AsyncUsageWarning, LunetteClient, Process, Sandbox

GUARD = 30.0
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Silent(ThreadingHTTPServer):
    """A server whose one process writes a line, and nothing more until its reader has gone."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.diary: list[str] = []
        self.left = threading.Semaphore(0)

    def reader_has_gone(self) -> bool:
        return self.left.acquire(timeout=GUARD)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Silent

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.diary.append(self.command)
        if self.path.endswith("/output"):
            self._follow(int(self.headers.get("Last-Event-ID", 0)))
        elif self.command == "DELETE":
            self.send_response(204)
            self.end_headers()
        elif self.path == "/capabilities":
            self._say({"name": "fake", "version": "1.2", "api_version": "1"})
        else:
            self._say({"process_id": "p1", "state": "running"})

    def _follow(self, offset: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        event = b"id: %d\nevent: stdout\ndata: YWJjCg==\n\n" % (offset + 4)
        self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.rfile.read(1)
        self.close_connection = True
        self.server.left.release()

    def _say(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    do_GET = do_PUT = do_DELETE = _answer


@pytest.fixture
def server() -> Generator[Silent]:
    server = Silent()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def has_gone(server: Silent) -> None:
    assert await anyio.to_thread.run_sync(server.reader_has_gone)


def in_loop(server: Silent, body: Callable[[Process], Any], backend: str, **options: Any) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=server.url, **options) as client:
            await body(await Sandbox(client, "s1").aprocess("p1"))
        gc.collect()

    anyio.run(main, backend=backend)


ITERATIONS = pytest.mark.parametrize(
    "iteration", [iter, Process.chunks, Process.lines], ids=["process", "chunks", "lines"]
)
AWAITED = pytest.mark.parametrize(
    "iteration", [aiter, Process.achunks, Process.alines], ids=["process", "chunks", "lines"]
)


@ITERATIONS
def test_leaving_a_loop_closes_its_connection_at_once(server: Silent, iteration: Any) -> None:
    with LunetteClient(base_url=server.url) as client:
        process = Sandbox(client, "s1").process("p1")
        for _ in range(2):
            for _ in iteration(process):
                break
            assert server.reader_has_gone()
    assert server.diary == ["GET"] * 4


def test_an_error_in_a_loop_closes_its_connection(server: Silent) -> None:
    with LunetteClient(base_url=server.url) as client:
        process = Sandbox(client, "s1").process("p1")
        with pytest.raises(ZeroDivisionError):
            for _ in process:
                raise ZeroDivisionError
        assert server.reader_has_gone()


@AWAITED
@pytest.mark.parametrize("transport", [None, "aiohttp"])
def test_leaving_an_awaited_loop_closes_its_connection(
    server: Silent, iteration: Any, transport: Any
) -> None:
    async def body(process: Process) -> None:
        for _ in range(2):
            async for _ in iteration(process):
                break
            await has_gone(server)

    in_loop(server, body, "asyncio", transport=transport)


@BACKENDS
@AWAITED
def test_closing_an_iteration_closes_its_connection(
    server: Silent, iteration: Any, backend: str
) -> None:
    async def body(process: Process) -> None:
        async with aclosing(iteration(process)) as items:
            async for _ in items:
                break
        await has_gone(server)

    in_loop(server, body, backend)


@BACKENDS
def test_the_end_of_a_with_closes_what_was_left(server: Silent, backend: str) -> None:
    async def body(process: Process) -> None:
        async with process:
            async for _ in process:
                break
            async for _ in process.alines():
                break
            await has_gone(server)
            process.detach()
        await has_gone(server)

    in_loop(server, body, backend)
    assert "DELETE" not in server.diary


@BACKENDS
def test_a_cancelled_loop_closes_its_connection_and_kills_nothing(
    server: Silent, backend: str
) -> None:
    async def body(process: Process) -> None:
        with anyio.CancelScope() as scope:
            async for _ in process:
                scope.cancel()
        await has_gone(server)

    in_loop(server, body, backend)
    assert "DELETE" not in server.diary


@BACKENDS
def test_a_with_kills_what_is_cancelled_in_it(server: Silent, backend: str) -> None:
    async def body(process: Process) -> None:
        with anyio.CancelScope() as scope:
            async with process:
                async for _ in process:
                    scope.cancel()
        await has_gone(server)

    in_loop(server, body, backend)
    assert server.diary[-1] == "DELETE"


def test_the_end_of_a_loop_of_events_closes_what_was_left(server: Silent) -> None:
    async def main() -> Any:
        client = await LunetteClient(base_url=server.url).__aenter__()
        process = await Sandbox(client, "s1").aprocess("p1")
        items = aiter(process)
        await anext(items)
        return items

    left = asyncio.run(main())
    assert server.reader_has_gone()
    del left


@BACKENDS
def test_blocking_iteration_of_an_awaited_process_warns(server: Silent, backend: str) -> None:
    async def body(process: Process) -> None:
        with pytest.warns(AsyncUsageWarning, match="`for` blocks the event loop; write `async f"):
            for _ in process:
                break
        with pytest.warns(AsyncUsageWarning, match=r"^lines\(\) blocks .* over alines\(\) by"):
            for _ in process.lines():
                break

    in_loop(server, body, backend)


@BACKENDS
def test_blocking_iteration_works_within_an_event_loop(server: Silent, backend: str) -> None:
    async def main() -> None:
        with LunetteClient(base_url=server.url) as client:
            process = Sandbox(client, "s1").process("p1")
            for line in process.lines():
                assert line == "abc"
                break
            gc.collect()
        await has_gone(server)

    anyio.run(main, backend=backend)
