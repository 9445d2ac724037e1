"""Fixtures for every test: none may see the configuration of the one who runs it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lunette import _leftovers

from .images.fixtures import images as images
from .images.fixtures import local_registry as local_registry
from .images.fixtures import locked_registry as locked_registry
from .images.fixtures import python_layer as python_layer
from .images.fixtures import token_registry as token_registry
from .leaks import nothing_left as nothing_left
from .worlds import perform as perform

Reply = tuple[int, bytes]


def pytest_configure() -> None:
    """Let Ctrl-C be tested in a script's background job too, which begins with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI runs, what a test needs was installed: one that is skipped has failed."""
    report = yield
    if report.skipped and "LUNETTE_CI" in os.environ:
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names below one directory: for another one beside them pytest would look at all there are."""
    folder: Path = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, homes: Iterator[Path]) -> Path:
    """Point `$LUNETTE_HOME` at an empty directory."""
    home = next(homes)
    home.mkdir()
    monkeypatch.setenv("LUNETTE_HOME", str(home))
    monkeypatch.delenv("LUNETTE_API_KEY", raising=False)
    monkeypatch.delenv("LUNETTE_BASE_URL", raising=False)
    return home


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    """Let this process not look, at its exit, for sandboxes of servers that were made up."""
    yield
    _leftovers.forget_all()


@pytest.fixture
def few_descriptors() -> Generator[int]:
    """Lower the soft limit of this process, and say what the hard one is."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard - 1), hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def speak_our_contract(router: Any) -> None:
    """Let a mocked server say what it is, which every client asks first."""
    router.get("/capabilities").respond(json={"version": "1.2", "api_version": "1"})


class WireServer(ThreadingHTTPServer):
    """A real HTTP server that knows just enough of the contract, and keeps a diary."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.diary: list[str] = []
        self.connections = 0
        self.on_exec: Callable[[dict[str, Any]], None] = lambda body: None
        self.killed = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WireServer

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.diary.append(f"{self.command} {self.path}")
        status, content = self._reply(body)
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _reply(self, body: bytes) -> Reply:
        if self.path.endswith("/exec"):
            request = json.loads(body)
            self.server.on_exec(request)
            return _json({"stdout": str(request["command"]), "stderr": "", "exit_code": 0})
        if self.command == "DELETE":
            if "/processes/" in self.path:
                self.server.killed.set()
            return 204, b""
        if self.path == "/capabilities":
            return _json({"name": "fake", "version": "1.2", "api_version": "1"})
        if self.path == "/sandboxes":
            return _json({"sandboxes": [_info(self.path)]})
        if self.path == "/sandboxes/stop":
            return _json({"stopped": json.loads(body)["sandbox_ids"], "failed": []})
        return _json(_info(self.path))

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    do_GET = do_PUT = do_POST = do_DELETE = _answer


def _json(value: Any) -> Reply:
    return 200, json.dumps(value).encode()


def _info(path: str) -> dict[str, Any]:
    return {
        "sandbox_id": path.rpartition("/")[2],
        "state": "running",
        "engine": "fake",
        "service": {"image": "host"},
        "labels": {},
        "created_at": "2026-11-23T10:00:00Z",
    }


@pytest.fixture
def wire() -> Generator[WireServer]:
    server = WireServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
