"""A server in a thread of the test process, with an engine that a test can bend."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette.server._connections import Bounds
from lunette.server._guard import Access
from lunette.server._http import HTTPServer
from lunette.server.app import create_app
from lunette.server.registry import Registry
from lunette.server.store import Store

from .bent_engine import BentEngine
from .host_engine import HostEngine

GUARD = 30.0


class Service:
    """A running server, seen from a test."""

    def __init__(
        self,
        engine: HostEngine,
        access: Access | None = None,
        *,
        bounds: Bounds | None = None,
        grace: float = 0.0,
    ) -> None:
        self.engine = engine
        self.access = access
        self._bounds = bounds
        self._grace = grace
        self._directory = tempfile.TemporaryDirectory(prefix="t-")
        self.store: Store | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._server: HTTPServer | None = None
        self._up = threading.Event()
        self._listener = self._listen()

    async def _launch(self) -> HostEngine:
        await self.engine.start()
        return self.engine

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(GUARD)

    def stop(self) -> None:
        assert self._server is not None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._server.stop)
        self.ended()

    def drain(self) -> None:
        """Do what SIGTERM does."""
        assert self._server is not None
        self.call(self._server.drain)

    def ended(self) -> None:
        """Wait until it has stopped."""
        self._thread.join(GUARD)
        assert not self._thread.is_alive()
        self._directory.cleanup()

    def client(self, **options: Any) -> httpx.Client:
        uds = self._listener_name if isinstance(self._listener_name, str) else None
        transport = httpx.HTTPTransport(uds=uds, verify=False, trust_env=False)
        return httpx.Client(
            transport=transport, base_url=self.url, timeout=GUARD, trust_env=False, **options
        )

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the engine in the loop of the server."""

        async def work() -> Any:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(GUARD)

    def wait(self, awaitable: Any) -> Any:
        """Await something in the loop of the server."""

        async def work() -> Any:
            async with asyncio.timeout(GUARD):
                return await awaitable

        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(GUARD + 1)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true in the server, which nothing else announces."""

        async def poll() -> None:
            while not condition():  # noqa: ASYNC110, a state of the server is no event
                await asyncio.sleep(0.005)

        self.wait(poll())

    def guard(self) -> Any:
        """Return the outermost layer, to be bent."""
        return self._app

    def routes(self) -> Any:
        """Return the paths of the application, to be bent."""
        return self._app._app._app.routes

    def connections(self) -> Any:
        """Return the connections of the server."""
        assert self._server is not None
        return self._server.server_state.connections

    def tasks(self) -> Any:
        """Return the requests that run."""
        assert self._server is not None
        return self._server.server_state.tasks

    def raw(self) -> socket.socket:
        """Return a connection, to be misused."""
        family = socket.AF_UNIX if isinstance(self._listener_name, str) else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(GUARD)
        connection.connect(self._listener_name)
        return connection

    @property
    def url(self) -> str:
        if isinstance(self._listener_name, str):
            return "http://localhost"
        return f"http://127.0.0.1:{self._listener_name[1]}"

    def _listen(self) -> socket.socket:
        if self.access is not None:
            listener = socket.create_server(("127.0.0.1", 0))
        else:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(Path(self._directory.name) / "sock"))
            listener.listen()
        self._listener_name: Any = listener.getsockname()
        return listener

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        # Here, since a connection of SQLite belongs to its thread.
        self.store = Store(Path(self._directory.name))
        self.registry = Registry(self._launch, self.store)
        self._app: Any = create_app(self.registry, access=self.access)
        self._server = HTTPServer(
            self._app,
            signals=False,
            grace=self._grace,
            draining=self.registry.draining.begin,
            bounds=self._bounds,
        )
        self._up.set()
        await self._server.run_on(self._listener)
        self.store.close()


@contextlib.contextmanager
def running(service: Service) -> Generator[Service]:
    """Run a server of a test's own."""
    service.start()
    yield service
    service.stop()


@pytest.fixture
def engine() -> Iterator[BentEngine]:
    found = BentEngine()
    yield found
    shutil.rmtree(found.root, ignore_errors=True)  # of one that was not started


@pytest.fixture
def service(engine: HostEngine) -> Iterator[Service]:
    found = Service(engine)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def tcp(engine: HostEngine) -> Iterator[Service]:
    found = Service(engine, Access.over_tcp("right-key", "127.0.0.1"))
    found.start()
    yield found
    found.stop()


_BENDING = {"service", "engine", "tcp", "monkeypatch", "hanging"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let a test that bends nothing run against the real engine too."""
    if "world" not in metafunc.fixturenames:
        return
    asked = set(inspect.signature(metafunc.function).parameters)
    real = sys.platform == "linux" and not asked & _BENDING
    metafunc.parametrize("world", ["host", "bubblewrap"] if real else ["host"], indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def client(world: str, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    if world == "host":
        service: Service = request.getfixturevalue("service")
        with service.client() as found:
            yield found
        return
    yield request.getfixturevalue("real_client")


@pytest.fixture
def real_client(real_server: str) -> Iterator[httpx.Client]:
    """Return a client of `lunette serve`, for what only a real engine can do."""
    transport = httpx.HTTPTransport(uds=real_server, verify=False, trust_env=False)
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=GUARD) as found:
        yield found
        names = [s["sandbox_id"] for s in found.get("/sandboxes").json()["sandboxes"]]
        found.post("/sandboxes/stop", json={"sandbox_ids": names})


@pytest.fixture(scope="session")
def real_server() -> Iterator[str]:
    """Return the socket of `lunette serve` with the engine of this machine."""
    with tempfile.TemporaryDirectory(prefix="t-") as directory:
        path = f"{directory}/s"
        arguments = [sys.executable, "-c", "from lunette.cli import main; main()"]
        process = subprocess.Popen(
            [*arguments, "serve", "--uds", path, "--state", directory], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == f"LUNETTE_BASE_URL=unix://{path}\n".encode()
        yield path
        process.terminate()
        assert process.wait(GUARD) == 0
        process.stdout.close()


@pytest.fixture
def sandbox(client: httpx.Client) -> str:
    """Return the path of a running sandbox."""
    return _create(client)


@pytest.fixture
def real_sandbox(real_client: httpx.Client) -> str:
    """Return the path of a sandbox of a real engine."""
    return _create(real_client)


def _create(client: httpx.Client) -> str:
    path = f"/sandboxes/{uuid.uuid4()}"
    answer = client.put(
        path, json={"service": {"image": "host", "environment": {"FROM": "service"}}}
    )
    assert answer.status_code == 201, answer.text
    return path
