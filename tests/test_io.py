from __future__ import annotations

import asyncio
import io
import threading
import warnings
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from lunette import errors
from lunette._answers import from_transport
from lunette._connection import Connection
from lunette._io import AsyncIO, BlockingIO, Body, iterate, run
from lunette._loops import current_loop


def over(handler: Any, **options: Any) -> BlockingIO:
    client = httpx.Client(transport=httpx.MockTransport(handler), base_url="http://test")
    return BlockingIO(client, Connection("http://test", **options))


def async_over(handler: Any, **options: Any) -> AsyncIO:
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://test")
    return AsyncIO(client, Connection("http://test", **options))


def timeouts(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[request.extensions["timeout"]["read"]])


GET = {"method": "get", "url": "/"}


def test_run_returns_and_raises_what_the_operation_does() -> None:
    async def operation(error: BaseException | None) -> int:
        if error is not None:
            raise error
        return 7

    assert run(operation(None)) == 7
    with pytest.raises(KeyboardInterrupt):
        run(operation(KeyboardInterrupt()))


def test_run_refuses_what_waits() -> None:
    with pytest.raises(RuntimeError, match="waited on something other than BlockingIO"):
        run(asyncio.sleep(0))


def test_a_patient_request_waits_for_its_answer() -> None:
    assert run(over(timeouts).send(GET, patient=True)).json() == [None]
    assert run(over(timeouts, timeout=3.0).send(GET, patient=True)).json() == [3.0]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_clean_up_outlives_a_cancellation(backend: str) -> None:
    done: list[object] = []

    async def operation() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await async_over(timeouts).outlive(clean_up, 30)

    async def clean_up(io: Any) -> None:
        await anyio.lowlevel.checkpoint()
        done.append(await io.send(GET))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(operation)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert len(done) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_clean_up_ends_in_the_end(backend: str) -> None:
    async def main() -> None:
        await async_over(timeouts).outlive(lambda io: anyio.sleep_forever(), 0.01)

    anyio.run(main, backend=backend)


def test_files_are_read_in_worker_threads_when_async() -> None:
    class File(io.BytesIO):
        threads: set[int] = set()  # noqa: RUF012 - one test, one file

        def read(self, size: int | None = -1) -> bytes:
            self.threads.add(threading.get_ident())
            return super().read(size)

    async def main() -> int:
        async def length(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=len(await request.aread()))

        response = await async_over(length).send(GET, body=Body(File(b"x" * 600_000), 599_999))
        answer: int = response.json()
        return answer

    assert asyncio.run(main()) == 599_999
    assert threading.get_ident() not in File.threads


def test_a_call_is_made_in_a_worker_thread_when_async() -> None:
    assert run(over(timeouts).call(threading.get_ident)) == threading.get_ident()

    async def main() -> int:
        return await async_over(timeouts).call(threading.get_ident)

    assert asyncio.run(main()) != threading.get_ident()


def test_a_stream_of_an_error_is_that_error() -> None:
    async def refused(io: Any) -> None:
        async with io.stream(GET):
            raise AssertionError("no body to hand out")

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"code": "file_not_found", "path": "/w/a"})

    with pytest.raises(FileNotFoundError, match="/w/a"):
        run(refused(over(handler)))
    with pytest.raises(FileNotFoundError, match="/w/a"):
        asyncio.run(refused(async_over(handler)))


def pieces() -> Any:
    yield from [b"a", b"b" * 1_100_000, b"c"]


async def sizes(io: Any, live: bool) -> list[int]:
    async with io.stream(GET, live=live) as incoming:
        return [len(chunk) async for chunk in incoming.chunks]


async def slowly() -> Any:
    for piece in pieces():
        yield piece


def test_a_live_stream_is_handed_out_as_it_comes() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=pieces())

    def async_handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=slowly())

    assert run(sizes(over(handler), True)) == [1, 1_100_000, 1]
    assert asyncio.run(sizes(async_over(async_handler), True)) == [1, 1_100_000, 1]
    assert asyncio.run(sizes(async_over(async_handler), False)) == [1_100_001, 1]


def test_a_live_stream_may_be_silent_for_a_while() -> None:
    async def waits(io: Any) -> list[float]:
        async with io.stream(GET, live=True) as incoming:
            timeout = incoming.response.request.extensions["timeout"]
            return [timeout["connect"], timeout["read"]]

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200)

    assert run(waits(over(handler, timeout=3.0))) == [3.0, 45.0]
    assert asyncio.run(waits(async_over(handler, timeout=3.0))) == [3.0, 45.0]


def test_iterate_yields_what_the_operation_does() -> None:
    closed: list[str] = []

    async def operation() -> AsyncGenerator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("operation")

    assert list(iterate(operation())) == [1, 2]
    for item in iterate(operation()):
        assert item == 1
        break
    assert len(closed) == 2


def test_httpx_errors_become_ours_in_the_body_too() -> None:
    def body() -> Any:
        yield b"half"
        raise httpx.ReadError("cut")

    async def read(io: Any) -> None:
        async with io.stream(GET) as incoming:
            async for _ in incoming.chunks:
                pass

    with pytest.raises(errors.TransportError, match="cut") as caught:
        run(read(over(lambda request: httpx.Response(200, content=body()))))
    assert isinstance(caught.value, httpx.ReadError)


@pytest.mark.parametrize("world", [over, async_over])
def test_an_error_of_ours_in_the_body_stays_what_it_is(world: Any) -> None:
    error = from_transport(httpx.RemoteProtocolError("too much"))

    async def read(io: Any) -> None:
        async with io.stream(GET):
            raise error

    reading = read(world(lambda request: httpx.Response(200)))
    with pytest.raises(errors.TransportError, match="too much") as caught:
        run(reading) if world is over else asyncio.run(reading)
    assert caught.value is error


def test_current_loop() -> None:
    async def running() -> object:
        return current_loop()

    assert current_loop() is None
    assert isinstance(asyncio.run(running()), asyncio.AbstractEventLoop)
    assert "Trio" in type(anyio.run(running, backend="trio")).__name__


def test_sleep() -> None:
    run(over(timeouts).sleep(0))
    asyncio.run(async_over(timeouts).sleep(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        anyio.run(async_over(timeouts).sleep, 0, backend="trio")
