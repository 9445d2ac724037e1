"""On the published wire no POST is sent twice, whatever happens to it."""

from __future__ import annotations

import logging
import socketserver
import threading
from collections.abc import Callable, Coroutine
from fnmatch import fnmatchcase
from typing import Any

import anyio
import httpx
import pytest

from lunette import (
    APIError,
    LunetteClient,
    LunetteError,
    RateLimitError,
    RetryPolicy,
    TransportError,
)
from lunette._io import run

from ..worlds import Facade
from .clients import IMAGE, SOON, Perform, client_of, in_short
from .server import PublishedServer

LEFT = "a sandbox may be left"

KINDS: dict[str, type[LunetteError]] = {
    "429": RateLimitError,
    "500": APIError,
    "502": APIError,
    "503": APIError,
    "504": APIError,
    "cut": TransportError,
}

Verb = Callable[[], Coroutine[Any, Any, Any]]


def spoil(server: PublishedServer, path: str, how: str, *, after: bool = False) -> None:
    if how == "cut":
        server.cut(path, after=after)
    else:
        retry = {"Retry-After": "7"} if how == "429" else {}
        server.fail(path, int(how), after=after, headers=retry)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("how", KINDS)
def test_a_post_is_sent_once(
    perform: Perform, published: PublishedServer, how: str, after: bool, tmp_path: Any
) -> None:
    (tmp_path / "file").write_bytes(b"x")

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        verbs: list[tuple[str, Verb]] = [
            ("/sandboxes", lambda: client.create_sandbox(IMAGE)),
            ("/sandboxes/*/exec", lambda: sandbox.exec("echo ran")),
            ("/sandboxes/*/exec", lambda: sandbox.exec(["echo", "ran"], cwd="/", check=True)),
            ("/sandboxes/*/write", lambda: sandbox.files.write_text("a", "a")),
            ("/sandboxes/*/write", lambda: sandbox.files.write_bytes("a", b"\xff")),
            ("/sandboxes/*/write", lambda: sandbox.upload(tmp_path / "file", "a")),
            ("/sandboxes/stop", lambda: client.stop_sandboxes(["other"])),
            ("/sandboxes/stop", sandbox.destroy),
        ]
        for path, verb in verbs:
            before = len(published.diary)
            spoil(published, path, how, after=after)
            with pytest.raises(KINDS[how]) as failed:
                await verb()
            assert len(published.diary) == before + 1
            check(failed.value, how)

    perform(body)
    assert len(published.runs) == 2 * after


def check(error: LunetteError, how: str) -> None:
    assert isinstance(error, httpx.HTTPError)
    assert isinstance(error, APIError) == (how != "cut")
    if isinstance(error, APIError):
        assert error.status_code == int(how)
        assert error.retry_after == (7 if how == "429" else None)


@pytest.mark.parametrize("how", ["cut", "429", "502", "503"])
def test_a_file_is_read_again(perform: Perform, published: PublishedServer, how: str) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        await sandbox.files.write_text("a", "content")
        for after in (False, True):
            spoil_read(published, how, after)
            assert await sandbox.files.read_text("a") == "content"

    perform(body)
    assert len(published.sent("GET", "/sandboxes/*/read")) == 4


def spoil_read(server: PublishedServer, how: str, after: bool) -> None:
    if how == "cut":
        server.cut("/sandboxes/*/read", after=after)
    else:
        server.fail("/sandboxes/*/read", int(how), after=after)


def test_a_broken_file_is_read_no_more_often_than_the_policy_says(
    perform: Perform, published: PublishedServer
) -> None:
    published.cut("/sandboxes/*/read", times=10)

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        with pytest.raises(TransportError):
            await sandbox.files.read_text("a")

    perform(body)
    assert len(published.sent("GET", "/sandboxes/*/read")) == SOON.attempts


# A connection that was never made


class LateServer(PublishedServer):
    """Has a port, and refuses connections until it is entered."""

    def server_activate(self) -> None:
        """Wait for it."""

    def __enter__(self) -> LateServer:
        socketserver.TCPServer.server_activate(self)
        super().__enter__()
        return self


class Informed(httpx.HTTPTransport):
    """Knows the answer to `/capabilities`, so that a POST is the first that is sent."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/capabilities":
            return httpx.Response(404, request=request)
        return super().handle_request(request)


class AsyncInformed(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/capabilities":
            return httpx.Response(404, request=request)
        return await super().handle_async_request(request)


class Opener(logging.Handler):
    """Starts a server when a client says that it will try again."""

    def __init__(self, server: LateServer) -> None:
        super().__init__(logging.INFO)
        self._server = server
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        if len(self.said) == 1:
            self._server.__enter__()


@pytest.mark.parametrize("world", ["blocking", "asyncio", "trio"])
def test_what_was_never_sent_is_sent_when_the_server_is_up(
    world: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = LateServer()
    opener = Opener(server)
    log = logging.getLogger("lunette._retry")
    caplog.set_level(logging.INFO, log.name)
    log.addHandler(opener)
    options: dict[str, Any] = {"api_key": server.key, "base_url": server.url, "retry": SOON}

    async def main() -> None:
        async with LunetteClient(transport=AsyncInformed(), **options) as client:
            sandbox = await client.create_sandbox(IMAGE)
            assert (await sandbox.aexec("echo hi")).stdout == "hi\n"

    try:
        if world == "blocking":
            with LunetteClient(transport=Informed(), **options) as client:
                assert client.create_sandbox(IMAGE).exec("echo hi").stdout == "hi\n"
        else:
            anyio.run(main, backend=world)
    finally:
        log.removeHandler(opener)
        server.close() if opener.said else server.server_close()
    assert [said.split(":")[0] for said in opener.said] == ["POST /sandboxes"]
    assert in_short(server.diary) == ["POST /sandboxes", "POST /sandboxes/ID/exec"]


@pytest.mark.parametrize("world", ["blocking", "asyncio", "trio"])
def test_a_server_that_stays_away_is_an_error_and_leaves_nothing(
    world: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = LateServer()  # never entered

    async def body(client: Any) -> None:
        with pytest.raises(httpx.ConnectError):
            await client.create_sandbox(IMAGE)

    async def main() -> None:
        async with client_of(server, transport=AsyncInformed()) as client:
            await body(Facade(client, "a"))

    if world == "blocking":
        with client_of(server, transport=Informed()) as client:
            run(body(Facade(client, "")))
    else:
        anyio.run(main, backend=world)
    server.server_close()
    assert LEFT not in caplog.text


# A sandbox whose id nobody learnt


@pytest.mark.parametrize(
    ("how", "left"),
    [("cut", True), ("500", True), ("502", True), ("401", False), ("422", False), ("429", False)],
)
def test_a_create_that_may_have_acted_says_so(
    perform: Perform,
    published: PublishedServer,
    caplog: pytest.LogCaptureFixture,
    how: str,
    left: bool,
) -> None:
    async def body(client: Any) -> None:
        spoil(published, "/sandboxes", how)
        with pytest.raises(LunetteError):
            await client.create_sandbox(IMAGE)

    perform(body)
    assert (LEFT in caplog.text) is left


class Hold:
    """Keeps the answer to the next request of a *path* until it is let go."""

    def __init__(self, server: PublishedServer, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.come = threading.Event()
        self.go = threading.Event()
        take_fault = server.take_fault

        def held(where: str) -> Any:
            if fnmatchcase(where, path) and not self.come.is_set():
                self.come.set()
                assert self.go.wait(30)
            return take_fault(where)

        monkeypatch.setattr(server, "take_fault", held)

    async def cancels(self, verb: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Cancel a *verb* while its request is held."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(verb)
                assert await anyio.to_thread.run_sync(self.come.wait, 30)
                group.cancel_scope.cancel()
        finally:
            self.go.set()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_create_says_that_a_sandbox_may_be_left(
    published: PublishedServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    backend: str,
) -> None:
    hold = Hold(published, "/sandboxes", monkeypatch)

    async def main() -> None:
        async with client_of(published) as client:
            await hold.cancels(lambda: client.create_sandbox(IMAGE))

    anyio.run(main, backend=backend)
    assert caplog.text.count(LEFT) == 1
    assert in_short(published.diary) == ["GET /capabilities", "POST /sandboxes"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_command_sends_nothing_more(
    published: PublishedServer, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    hold = Hold(published, "/sandboxes/*/exec", monkeypatch)

    async def main() -> None:
        async with client_of(published) as client:
            sandbox = await client.create_sandbox(IMAGE)
            await hold.cancels(lambda: sandbox.aexec("sleep 3599"))
            await sandbox.destroy()

    anyio.run(main, backend=backend)
    assert in_short(published.diary)[2:] == ["POST /sandboxes/ID/exec", "POST /sandboxes/stop"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_destroy_destroys_all_the_same(
    published: PublishedServer, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    async def main() -> None:
        async with client_of(published) as client:
            sandbox = await client.create_sandbox(IMAGE)
            hold = Hold(published, "/sandboxes/stop", monkeypatch)
            await hold.cancels(sandbox.destroy)

    anyio.run(main, backend=backend)
    assert published.sandboxes == {}


def test_a_policy_of_one_attempt_is_kept(perform: Perform, published: PublishedServer) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        published.cut("/sandboxes/*/read")
        with pytest.raises(TransportError):
            await sandbox.files.read_text("a")

    perform(body, retry=RetryPolicy(attempts=1))
    assert len(published.sent("GET", "/sandboxes/*/read")) == 1
