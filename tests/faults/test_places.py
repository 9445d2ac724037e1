"""Wherever a request is cut, and if it comes twice: what it asks for is done once."""

from __future__ import annotations

import random
from typing import Any, Literal

import anyio
import anyio.to_thread
import pytest
from attrs import define

from lunette import LunetteClient, Sandbox, SandboxDestroyedError

from .clients import ids, perform
from .commands import Lasting
from .draws import REQUESTS, cuts
from .plans import PLACES, Plan, script
from .proxy import FaultProxy
from .server import Server
from .settings import HOST, LOG, SEED


@define
class Scene:
    """One verb under attack: it goes through the proxy, what it did is looked at directly."""

    client: Any
    sandbox: Any
    direct: LunetteClient
    inside: Sandbox

    def log(self) -> str:
        return self.inside.files.read_text(LOG)

    async def exec(self) -> None:
        result = await self.sandbox.exec(f"echo once >> {LOG}; echo out; exit 3")
        assert (result.stdout, result.exit_code, self.log()) == ("out\n", 3, "once\n")

    async def create(self) -> None:
        made = await self.client.create_sandbox(HOST)
        names = set(ids(self.direct))
        assert names == {self.inside.sandbox_id, made.sandbox_id}
        assert (await made.exec("echo out")).stdout == "out\n"
        Sandbox(self.direct, made.sandbox_id).destroy()

    async def destroy(self) -> None:
        other = self.direct.create_sandbox(HOST)
        await self.client.sandbox(other.sandbox_id).destroy()
        names = ids(self.direct)
        assert names == [self.inside.sandbox_id]
        with pytest.raises(SandboxDestroyedError):
            other.exec("true")

    async def kill(self) -> None:
        command = Lasting()
        async with anyio.create_task_group() as group:
            group.start_soon(self.sandbox.exec, command.text)
            await command.begun()
            group.cancel_scope.cancel()
        assert not command.lives
        assert self.log() == "once\n"

    async def list(self) -> None:
        assert [info.sandbox_id for info in await self.client.list_sandboxes()] == [
            self.inside.sandbox_id
        ]

    async def upload(self) -> None:
        data = random.Random(SEED).randbytes(300_000)
        await self.sandbox.files.write_bytes("file", data)
        assert self.inside.files.read_bytes("file") == data
        assert self.inside.exec(["ls", "-A"]).stdout == "file\nlog\n"

    async def read(self) -> None:
        data = random.Random(SEED).randbytes(300_000)
        self.inside.files.write_bytes("file", data)
        assert await self.sandbox.files.read_bytes("file") == data

    async def play(self, verb: str) -> None:
        await getattr(self, verb)()


def play(world: str, verb: str, proxy: FaultProxy, inside: Sandbox, direct: LunetteClient) -> None:
    async def body(client: Any) -> None:
        await Scene(client, client.sandbox(inside.sandbox_id), direct, inside).play(verb)

    perform(world, proxy.url, body)


in_each_way = pytest.mark.parametrize(
    ("world", "verb"),
    # A blocking call is cancelled by Ctrl-C, which is a test of its own.
    [(w, v) for w in ("blocking", "asyncio") for v in REQUESTS if (w, v) != ("blocking", "kill")],
)


@in_each_way
@pytest.mark.parametrize("place", PLACES)
def test_wherever_it_is_cut_it_is_done_once(
    world: str, verb: str, place: str, server: Server, direct: LunetteClient, sandbox: Sandbox
) -> None:
    draw = cuts(place, place, only=REQUESTS[verb])
    with FaultProxy(server.url, seed=SEED, draw=draw) as proxy:
        play(world, verb, proxy, sandbox, direct)
        assert proxy.cuts


@pytest.mark.parametrize("verb", REQUESTS)
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("answer", ["first", "second"])
def test_what_comes_twice_is_done_once(
    verb: str,
    later: bool,
    answer: Literal["first", "second"],
    server: Server,
    direct: LunetteClient,
    sandbox: Sandbox,
) -> None:
    twice = Plan(kind="duplicate", later=later, answer=answer)
    with FaultProxy(server.url, draw=script(twice, only=REQUESTS[verb])) as proxy:
        play("asyncio", verb, proxy, sandbox, direct)
        proxy.settle()
        assert proxy.counts["duplicate"] == 1
    (other,) = proxy.thrown_away
    assert int(other.split()[1]) < 300
