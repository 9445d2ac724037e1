"""Whether a server speaks our contract is asked once, and only an answer is remembered."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import pytest

from lunette import (
    APIError,
    AuthenticationError,
    LunetteClient,
    LunetteError,
    RetryPolicy,
    TransportError,
    VersionError,
)

from .clients import IMAGE, Perform, client_of, in_short
from .messages import Answer
from .server import PublishedServer

ONCE = RetryPolicy(attempts=1)


class Crowd:
    """Holds the answer to the first `/capabilities` until *size* verbs have begun."""

    def __init__(self, server: PublishedServer, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._missing = size
        self._complete = threading.Event()
        take_fault = server.take_fault

        def held(path: str) -> Any:
            if path == "/capabilities":
                assert self._complete.wait(30)
            return take_fault(path)

        monkeypatch.setattr(server, "take_fault", held)
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self._missing -= 1
            if not self._missing:
                self._complete.set()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_tasks_ask_once(
    published: PublishedServer, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(published, 20, monkeypatch)

    async def main() -> None:
        async with client_of(published) as client, anyio.create_task_group() as group:

            async def one() -> None:
                crowd.begin()
                await client.create_sandbox(IMAGE)

            for _ in range(20):
                group.start_soon(one)

    anyio.run(main, backend=backend)
    assert in_short(published.diary) == ["GET /capabilities"] + ["POST /sandboxes"] * 20


def test_many_threads_ask_once(published: PublishedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(published, 8, monkeypatch)

    def one(_: int) -> None:
        crowd.begin()
        client.create_sandbox(IMAGE)

    with client_of(published) as client, ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(8)))
    assert in_short(published.diary) == ["GET /capabilities"] + ["POST /sandboxes"] * 8


def test_loops_that_begin_together_ask_once_each_at_most(
    published: PublishedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(published, 6, monkeypatch)

    async def on_a_loop() -> None:
        crowd.begin()
        await client.acreate_sandbox(IMAGE)

    def blocking() -> None:
        crowd.begin()
        client.create_sandbox(IMAGE)

    with client_of(published) as client, ThreadPoolExecutor(6) as threads:
        ways = [lambda: asyncio.run(on_a_loop()), lambda: anyio.run(on_a_loop, backend="trio")]
        begun = [threads.submit(way) for way in (*ways, blocking) * 2]
        for future in begun:
            future.result(60)
    # A lock over all of them could not be waited for in a loop whose thread another verb blocks.
    asked = in_short(published.diary).count("GET /capabilities")
    assert 1 <= asked <= 5
    assert sorted(in_short(published.diary))[asked:] == ["POST /sandboxes"] * 6


def test_the_embedded_server_is_not_asked() -> None:
    from lunette import _embedded

    sent: list[str] = []

    class Watched(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(f"{request.method} {request.url.path.rpartition('/')[2]}")
            return super().handle_request(request)

    transport = Watched(uds=_embedded.ensure().socket_path)
    with LunetteClient(base_url="embedded", transport=transport) as client:
        sandbox = client.create_sandbox({"image": "host"})
        sandbox.exec("true")
        sandbox.destroy()
    assert sent == [f"PUT {sandbox.sandbox_id}", "POST exec", f"DELETE {sandbox.sandbox_id}"]


@pytest.mark.parametrize("unknown", ["404", "405", "html200"])
def test_three_answers_mean_the_published_wire(
    perform: Perform, published: PublishedServer, unknown: Any
) -> None:
    published.unknown = unknown

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        assert (await sandbox.exec("echo hi")).stdout == "hi\n"
        await client.create_sandbox(IMAGE)

    perform(body)
    statuses = [entry.status for entry in published.sent(path="/capabilities")]
    assert statuses == [200 if unknown == "html200" else int(unknown)]


def spoil(server: PublishedServer, how: str) -> None:
    """Let the next `/capabilities` be answered in a way that says nothing of the wire."""
    if how == "cut":
        server.cut("/capabilities")
    elif how == "another version":
        answer = Answer(200, b'{"version": "9.8", "api_version": "2"}', {})
        server._spoil("/capabilities", answer, False, 1)
    else:
        server.fail("/capabilities", int(how))


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("401", AuthenticationError),
        ("403", APIError),
        ("500", APIError),
        ("502", APIError),
        ("503", APIError),
        ("cut", TransportError),
        ("another version", VersionError),
    ],
)
def test_what_says_nothing_of_the_wire_is_an_error_and_forgotten(
    perform: Perform, published: PublishedServer, how: str, kind: type[LunetteError]
) -> None:
    async def body(client: Any) -> None:
        for _ in range(2):
            spoil(published, how)
            with pytest.raises(kind) as failed:
                await client.create_sandbox(IMAGE)
            if issubclass(kind, APIError):
                assert getattr(failed.value, "status_code", None) == int(how)
        assert in_short(published.diary) == ["GET /capabilities"] * 2
        await client.create_sandbox(IMAGE)

    perform(body, retry=ONCE)
    assert in_short(published.diary)[2:] == ["GET /capabilities", "POST /sandboxes"]


def test_to_ask_is_repeated(perform: Perform, published: PublishedServer) -> None:
    async def body(client: Any) -> None:
        spoil(published, "cut")
        spoil(published, "502")
        await client.create_sandbox(IMAGE)

    perform(body)
    assert in_short(published.diary) == ["GET /capabilities"] * 3 + ["POST /sandboxes"]


def test_whoever_waited_for_an_answer_that_failed_asks_again(
    published: PublishedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(published, 6, monkeypatch)
    spoil(published, "500")
    failed: list[LunetteError] = []

    def one(_: int) -> None:
        crowd.begin()
        try:
            client.create_sandbox(IMAGE)
        except LunetteError as error:
            failed.append(error)

    with client_of(published, retry=ONCE) as client, ThreadPoolExecutor(6) as threads:
        list(threads.map(one, range(6)))
    assert len(failed) == 1
    assert in_short(published.diary) == ["GET /capabilities"] * 2 + ["POST /sandboxes"] * 5


@pytest.mark.parametrize("key", ["wrong-key", "forbidden-key"])
def test_a_refused_key_is_what_it_is(
    perform: Perform, published: PublishedServer, key: str
) -> None:
    async def body(client: Any) -> None:
        for _ in range(2):
            with pytest.raises(APIError) as refused:
                await client.create_sandbox(IMAGE)
            assert refused.value.status_code == (401 if key == "wrong-key" else 403)

    perform(body, api_key=key)
    assert in_short(published.diary) == ["GET /capabilities"] * 2
