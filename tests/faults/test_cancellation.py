"""What is cancelled ends, and what it began: commands, creates and scoped sandboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal

import anyio
import anyio.to_thread
import pytest
import trio

from lunette import AsyncLunetteClient, LunetteClient, RetryPolicy, Sandbox

from ..embedded import client_of, until
from .clients import ids, perform
from .commands import Lasting
from .draws import KILLS, REQUESTS, Watch, cuts, first_of
from .plans import Plan, script
from .proxy import FaultProxy
from .server import Server
from .settings import HOST, LOG, SEED, WORLDS

Call = Callable[[], Coroutine[Any, Any, Any]]


async def cancel_task(call: Call, command: Lasting) -> None:
    task = asyncio.create_task(call())
    await command.begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_by_timeout(call: Call, command: Lasting) -> None:
    async def ring(clock: asyncio.Timeout) -> None:
        await command.begun()
        clock.reschedule(0)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as clock, asyncio.TaskGroup() as group:
            group.create_task(ring(clock))
            await call()


async def cancel_scope(call: Call, command: Lasting) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await command.begun()
        group.cancel_scope.cancel()


async def cancel_nursery(call: Call, command: Lasting) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await command.begun()
        nursery.cancel_scope.cancel()


WAYS = [
    ("asyncio", cancel_task),
    ("asyncio", cancel_by_timeout),
    ("asyncio", cancel_scope),
    ("trio", cancel_scope),
    ("trio", cancel_nursery),
]


@pytest.mark.parametrize(("world", "way"), WAYS)
@pytest.mark.parametrize("places", [[], ["request head"], ["delivered"], ["answered"] * 3])
def test_what_is_cancelled_is_dead(
    world: str,
    way: Callable[[Call, Lasting], Coroutine[Any, Any, None]],
    places: list[str],
    server: Server,
    sandbox: Sandbox,
) -> None:
    command = Lasting()

    async def body(client: Any) -> None:
        inside = client.sandbox(sandbox.sandbox_id)
        await way(partial(inside.exec, command.text), command)
        assert not command.lives

    with FaultProxy(server.url, seed=SEED, draw=cuts(*places, only=KILLS)) as proxy:
        perform(world, proxy.url, body)
        assert proxy.cuts == len(places)
    assert sandbox.files.read_text(LOG) == "once\n"


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_a_command_that_arrives_after_its_end_is_not_started(
    world: str, server: Server, sandbox: Sandbox
) -> None:
    late = Plan(kind="delay", direction="request", at=0, pause=0.2)
    watch = Watch(script(late, only=REQUESTS["exec"]))

    async def body(client: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(client.sandbox(sandbox.sandbox_id).exec, f"echo once >> {LOG}")
            await watch.saw("^POST ")
            group.cancel_scope.cancel()
        (key,) = {found[1] for found in watch.found(rf"{KILLS}(\S+)")}
        # As the one that is on its way will be answered.
        with client_of(server.path) as http:
            path = f"/sandboxes/{sandbox.sandbox_id}/exec"
            again = http.post(path, json={"command": "true"}, headers={"Idempotency-Key": key})
        assert (again.status_code, again.json()["code"]) == (409, "key_given_up")

    with FaultProxy(server.url, draw=watch) as proxy:
        perform(world, proxy.url, body)
    assert sandbox.files.read_text(LOG) == ""


@pytest.mark.parametrize("world", ["asyncio", "trio"])
@pytest.mark.parametrize("direction", ["request", "answer"])
@pytest.mark.parametrize("places", [[], ["request head"], ["delivered"]])
def test_a_cancelled_create_leaves_nothing(
    world: str,
    direction: Literal["request", "answer"],
    places: list[str],
    server: Server,
    direct: LunetteClient,
) -> None:
    late = Plan(kind="delay", direction=direction, at=0, pause=0.2)
    watch = Watch(first_of(script(late, only="^PUT "), cuts(*places, only="^DELETE ")))

    async def body(client: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(client.create_sandbox, HOST)
            await watch.saw("^PUT ")
            group.cancel_scope.cancel()
        assert ids(direct) == []
        (path,) = {found[1] for found in watch.found(r"^DELETE (\S+)")}
        with client_of(server.path) as http:
            again = http.put(path, json={"service": HOST})
        assert (again.status_code, again.json()["code"]) == (410, "sandbox_destroyed")

    with FaultProxy(server.url, seed=SEED, draw=watch) as proxy:
        perform(world, proxy.url, body)
        assert proxy.cuts == len(places)


@pytest.mark.parametrize("end", ["none", "client", "loop"])
@pytest.mark.parametrize("kind", ["delay", "cut"])
def test_who_is_cancelled_twice_ends_the_command_all_the_same(
    end: str, kind: Literal["delay", "cut"], server: Server, sandbox: Sandbox
) -> None:
    """Also if the second time is the *end* of the client, or of the event loop."""
    command = Lasting()
    plan = Plan(kind=kind, direction="request", at=0, pause=0.3, reset=True)
    watch = Watch(script(plan, only=KILLS))
    slow = RetryPolicy(first_delay=0.6)  # the second time comes before the next attempt

    async def call(client: LunetteClient) -> None:
        await Sandbox(client, sandbox.sandbox_id).aexec(command.text)

    async def open_and_call(client: LunetteClient) -> None:
        async with client as opened:
            await call(opened)

    async def main(client: LunetteClient) -> None:
        task = asyncio.create_task(open_and_call(client) if end == "client" else call(client))
        await command.begun()
        task.cancel()
        await watch.saw(KILLS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if end != "loop":
            await command.ended()

    with FaultProxy(server.url, draw=watch) as proxy:
        asyncio.run(main(LunetteClient(base_url=proxy.url, retry=slow)))
        until(lambda: not command.lives)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_scoped_sandbox_ends_whatever_happens_in_it(
    world: str, error: type[BaseException], server: Server, direct: LunetteClient
) -> None:
    def blocking(url: str) -> None:
        with LunetteClient(base_url=url) as client, client.create_sandbox(HOST) as sandbox:
            sandbox.exec("true")
            raise error

    async def awaited(url: str) -> None:
        async with (
            AsyncLunetteClient(base_url=url) as client,
            await client.create_sandbox(HOST) as sandbox,
        ):
            await sandbox.aexec("true")
            raise error

    draw = cuts("request head", "delivered", only="^DELETE ")
    with FaultProxy(server.url, seed=SEED, draw=draw) as proxy, pytest.raises(error):
        if world == "blocking":
            blocking(proxy.url)
        else:
            anyio.run(awaited, proxy.url, backend=world)
    assert proxy.cuts == 2
    assert ids(direct) == []


@pytest.mark.parametrize("world", ["asyncio", "trio"])
@pytest.mark.parametrize("direction", ["request", "answer"])
def test_a_scoped_sandbox_ends_though_its_end_is_cancelled(
    world: str,
    direction: Literal["request", "answer"],
    server: Server,
    direct: LunetteClient,
) -> None:
    late = Plan(kind="delay", direction=direction, at=0, pause=0.2)
    watch = Watch(script(late, only="^DELETE "))

    async def life(client: AsyncLunetteClient) -> None:
        async with await client.create_sandbox(HOST):
            pass

    async def main(url: str) -> None:
        async with (
            AsyncLunetteClient(base_url=url) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(life, client)
            await watch.saw("^DELETE ")
            group.cancel_scope.cancel()
        assert ids(direct) == []

    with FaultProxy(server.url, draw=watch) as proxy:
        anyio.run(main, proxy.url, backend=world)


def test_a_scoped_sandbox_ends_however_often_it_is_cancelled(
    server: Server, direct: LunetteClient
) -> None:
    late = Plan(kind="delay", direction="request", at=0, pause=0.2)
    watch = Watch(script(late, late, only="^DELETE "))

    async def life(client: AsyncLunetteClient) -> None:
        async with await client.create_sandbox(HOST) as sandbox:
            await sandbox.aexec("sleep 4000")

    async def main(url: str) -> None:
        async with AsyncLunetteClient(base_url=url) as client:
            task = asyncio.create_task(life(client))
            for request in ("^POST ", KILLS, "^DELETE /sandboxes/[^/]* "):
                await watch.saw(request)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await anyio.to_thread.run_sync(until, lambda: ids(direct) == [])

    with FaultProxy(server.url, draw=watch) as proxy:
        asyncio.run(main(proxy.url))
