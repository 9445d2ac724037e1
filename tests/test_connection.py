from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import pytest

from lunette import (
    ClientClosedError,
    LunetteClient,
    Process,
    RetryPolicy,
    Sandbox,
    SandboxLostError,
    errors,
)
from lunette._connection import Connection
from lunette._connector import Connector
from lunette._operations.processes import Started

ONCE = RetryPolicy(attempts=1)


def in_fork(body: Callable[[], None]) -> int:
    """Run *body* in a forked child and return its exit code."""
    with warnings.catch_warnings():
        # From 3.12 on Python warns of forks beside threads, such as the test's server.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            body()
            gc.collect()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def whole_life(client: LunetteClient, name: str) -> str:
    sandbox = await client.acreate_sandbox({"image": name})
    return (await sandbox.aexec(name)).stdout


def test_one_client_through_three_loops_of_each_kind(wire: Any) -> None:
    client = LunetteClient(base_url=wire.url)
    for n in range(3):
        assert asyncio.run(whole_life(client, f"asyncio {n}")) == f"asyncio {n}"
        assert anyio.run(whole_life, client, f"trio {n}", backend="trio") == f"trio {n}"
    client.close()
    gc.collect()  # warnings are errors: nothing was left open


def test_one_connection_is_kept_within_a_loop(wire: Any) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=wire.url) as client:
            sandbox = await client.create_sandbox({"image": "host"})
            for _ in range(5):
                await sandbox.aexec("true")
            await sandbox.destroy()

    asyncio.run(main())
    assert wire.connections == 1


def test_a_fork_does_not_touch_the_pool_of_its_parent(wire: Any) -> None:
    with LunetteClient(base_url=wire.url) as client:
        sandbox = client.create_sandbox({"image": "host"})
        assert wire.connections == 1

        def child() -> None:
            for n in range(20):
                assert sandbox.exec(f"child {n}").stdout == f"child {n}"
            assert asyncio.run(whole_life(client, "child")) == "child"
            client.close()

        assert in_fork(child) == 0
        for n in range(20):
            assert sandbox.exec(f"parent {n}").stdout == f"parent {n}"
    # One of the parent, one of the child's blocking pool and one of its event loop.
    assert wire.connections == 3


def test_a_fork_out_of_a_running_loop(wire: Any) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=wire.url) as client:
            sandbox = await client.create_sandbox({"image": "host"})
            await sandbox.aexec("true")
            assert in_fork(lambda: None) == 0
            assert (await sandbox.aexec("still")).stdout == "still"

    asyncio.run(main())


def _answers_right(client: LunetteClient, name: str) -> str:
    return client.create_sandbox({"image": "host"}).exec(name).stdout


def test_multiprocessing(wire: Any) -> None:
    with LunetteClient(base_url=wire.url) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.create_sandbox({"image": "host"}).exec("warm")
        queue: Any = multiprocessing.get_context("fork").SimpleQueue()
        workers = [
            multiprocessing.get_context("fork").Process(
                target=lambda n: queue.put((n, _answers_right(client, f"worker {n}"))), args=(n,)
            )
            for n in range(3)
        ]
        for worker in workers:
            worker.start()
        answers = dict(queue.get() for _ in workers)
        for worker in workers:
            worker.join()
            worker.close()
        queue.close()
    assert answers == {n: f"worker {n}" for n in range(3)}


def test_eight_threads_at_once(wire: Any) -> None:
    together = threading.Barrier(8, timeout=30)
    wire.on_exec = lambda body: together.wait()

    with LunetteClient(base_url=wire.url) as client, ThreadPoolExecutor(8) as threads:
        names = [f"thread {n}" for n in range(8)]
        # Each waits until all eight are there, so that they are surely at once.
        assert list(threads.map(lambda name: _answers_right(client, name), names)) == names


def test_eight_threads_make_one_connection_object(wire: Any) -> None:
    connector = Connector(None, wire.url, None)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: connector.connection(), range(64)))
    assert len(set(map(id, found))) == 1
    connector.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_hundred_tasks_at_once(wire: Any, backend: str) -> None:
    answers: list[str] = []

    async def main() -> None:
        async with LunetteClient(base_url=wire.url) as client:
            sandbox = await client.create_sandbox({"image": "host"})

            async def one(n: int) -> None:
                answers.append((await sandbox.aexec(str(n))).stdout)

            async with anyio.create_task_group() as group:
                for n in range(100):
                    group.start_soon(one, n)

    anyio.run(main, backend=backend)
    assert sorted(answers, key=int) == [str(n) for n in range(100)]


def test_a_closed_client_says_so(wire: Any) -> None:
    client = LunetteClient(base_url=wire.url)
    sandbox = client.create_sandbox({"image": "host"})
    client.close()
    client.close()
    with pytest.raises(ClientClosedError):
        client.list_sandboxes()
    with pytest.raises(ClientClosedError):
        sandbox.exec("true")
    with pytest.raises(ClientClosedError):
        asyncio.run(sandbox.aexec("true"))


class DeadServer:
    socket_path = "/nowhere/sock"

    def __init__(self) -> None:
        self.lives = False

    def alive(self) -> bool:
        return self.lives

    def failure(self) -> str | None:
        return None if self.lives else "the embedded server ended by SIGKILL"


@pytest.mark.parametrize("fault", [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError])
def test_a_dead_server_means_lost_sandboxes(fault: type[httpx.RequestError]) -> None:
    server = DeadServer()
    connection = Connection("unix:///nowhere/sock", server=server)

    error = connection.fault(fault("cut"))
    assert isinstance(error, SandboxLostError)
    assert isinstance(error, fault)
    assert str(error) == "the embedded server ended by SIGKILL"
    assert connection.lost

    server.lives = True
    assert not isinstance(connection.fault(httpx.ReadTimeout("slow")), SandboxLostError)
    assert not connection.lost


def test_a_dying_server_is_waited_for() -> None:
    server = DeadServer()
    answers = iter([True, True, False])
    server.alive = lambda: next(answers, False)  # type: ignore[method-assign]
    error = Connection("unix:///nowhere/sock", server=server).fault(httpx.ReadError("cut"))
    assert isinstance(error, SandboxLostError)


def test_a_server_that_lives_on_lost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lunette._connection._DYING_SECONDS", 0.01)
    server = DeadServer()
    server.lives = True
    error = Connection("unix:///nowhere/sock", server=server).fault(httpx.ReadError("cut"))
    assert not isinstance(error, SandboxLostError)


def test_the_next_verb_of_the_client_uses_a_new_server(
    monkeypatch: pytest.MonkeyPatch, wire: Any
) -> None:
    from lunette import _embedded

    servers = [DeadServer(), DeadServer()]
    servers[0].socket_path, servers[1].socket_path = "/first/sock", "/second/sock"
    started = iter(servers)
    monkeypatch.setattr(_embedded, "ensure", lambda: next(started))
    connector = Connector(None, "embedded", None)

    servers[0].lives = servers[1].lives = True
    first = connector.connection()
    assert connector.connection() is first
    servers[0].lives = False
    second = connector.connection()
    assert (first.base_url, second.base_url) == ("unix:///first/sock", "unix:///second/sock")
    connector.close()


def test_keep_alive_ends_before_that_of_any_server(wire: Any) -> None:
    connector = Connector(None, wire.url, None)
    io: Any = connector.connection().blocking()._io
    client = io._client
    pool = client._transport._pool
    assert pool._keepalive_expiry == 4
    assert pool._max_connections == sys.maxsize
    connector.close()


def test_plain_http_reads_no_certificates(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ssl

    def loaded(*_: Any, **__: Any) -> None:
        raise AssertionError("certificates were read")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", loaded)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", loaded)
    with LunetteClient(base_url=wire.url) as client:
        client.list_sandboxes()
    Connector(None, "unix:///nowhere/sock", None).connection().blocking()


@pytest.mark.parametrize(
    ("base_url", "shown"),
    [
        ("unix:///nowhere/sock", "unix:///nowhere/sock"),
        ("http://user:s3cret@[::1]:9/api", "http://[::1]:9/api"),
        ("https://s3cret@sandboxes.example", "https://sandboxes.example"),
    ],
)
@pytest.mark.parametrize("fault", [httpx.ConnectError, httpx.ConnectTimeout])
def test_where_nobody_answered_is_said(
    base_url: str, shown: str, fault: type[httpx.RequestError]
) -> None:
    connection = Connection(base_url, api_key="s3cret")
    assert str(connection.fault(fault("why"))) == f"no connection to {shown}: why"
    assert str(connection.fault(fault(""))) == f"no connection to {shown}: {fault.__name__}"
    assert str(connection.fault(httpx.ReadError("cut"))) == "cut"


@pytest.mark.parametrize("transport", [None, "aiohttp"])
def test_where_nobody_answered_is_said_by_every_verb(transport: Any) -> None:
    url = "http://127.0.0.1:1"
    says = f"^no connection to {url}: "

    async def awaited(client: LunetteClient) -> None:
        await client.alist_sandboxes()

    with LunetteClient(base_url=url, retry=ONCE, transport=transport) as client:
        with pytest.raises(httpx.ConnectError, match=says):
            client.list_sandboxes()
        with pytest.raises(httpx.ConnectError, match=says):
            asyncio.run(awaited(client))
        with pytest.raises(httpx.ConnectError, match=says):
            next(Process(Sandbox(client, "s1")._link, Started("s1", "p1", "x")).lines())


def test_nobody_listens(tmp_path: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        soon = RetryPolicy(attempts=2, first_delay=0.001)
        with (
            LunetteClient(base_url=url, retry=soon) as client,
            pytest.raises(httpx.ConnectError) as caught,
        ):
            client.create_sandbox({"image": "host"})
    assert isinstance(caught.value, errors.TransportError)


def test_a_server_that_hangs_up(tmp_path: Any) -> None:
    """A connection that is cut without an answer, of a real socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # it was shut down
                    return
                connection.recv(65536)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        soon = RetryPolicy(attempts=3, first_delay=0.001)
        with (
            LunetteClient(base_url=url, retry=soon) as client,
            pytest.raises(errors.TransportError),
        ):
            client.create_sandbox({"image": "host"})
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
