"""In a storm of faults nothing is lost or done twice, for as long as time is left."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
from attrs import define, field, frozen

from lunette import ExecResult, LunetteClient, Sandbox

from .clients import ids, perform
from .commands import Lasting
from .plans import Kind, faults
from .proxy import FaultProxy
from .server import Server
from .settings import CUTS, FOLLOWING, HOST, LOG, PATIENT, SECONDS, SEED, WORLDS, TimeBox


@frozen
class Errand:
    """A command that leaves its name in the log, and what must come of it."""

    name: str
    command: str
    stdout: bytes
    input: bytes | None = None
    stderr: str = ""
    exit_code: int = 0

    def check(self, result: ExecResult) -> None:
        found = result.stdout_bytes, result.stderr, result.exit_code, result.truncated
        assert found == (self.stdout, self.stderr, self.exit_code, 0)


def errand(chance: random.Random) -> Errand:
    name = uuid.UUID(int=chance.getrandbits(128)).hex
    log, number = f"echo {name} >> {LOG}", chance.randrange(10**9)
    kinds: list[Callable[[], Errand]] = [
        lambda: Errand(name, f"{log}; echo {name}", f"{name}\n".encode()),
        lambda: Errand(name, f"{log}; printf %0200000d {number}", b"%0200000d" % number),
        lambda: Errand(
            name, rf"{log}; printf '\377\376%0100000d' {number}", b"\xff\xfe%0100000d" % number
        ),
        lambda: Errand(name, f"{log}; wc -c", b"100003\n", chance.randbytes(100_003)),
        lambda: Errand(name, f"{log}; echo {name} >&2; exit 3", b"", None, f"{name}\n", 3),
    ]
    return chance.choices(kinds, weights=[6, 1, 1, 1, 1])[0]()


@define
class Storm:
    """Commands without end, until so many connections are cut or the time is over."""

    proxy: FaultProxy
    cuts: int
    until: float
    names: list[str] = field(factory=list)
    failed: bool = False

    @contextlib.contextmanager
    def watched(self) -> Generator[None]:
        try:
            yield
        except BaseException:
            self.failed = True  # nobody has to go on
            raise

    @property
    def over(self) -> bool:
        return self.failed or self.proxy.cuts >= self.cuts or time.monotonic() > self.until

    def errands(self, number: int) -> Generator[Errand]:
        chance = random.Random(f"{self.proxy.seed}/errands {number}")
        with self.watched():
            while not self.over:
                found = errand(chance)
                yield found
                self.names.append(found.name)

    def blow(self, world: str, sandbox_id: str, timeout: float | None) -> None:
        client = LunetteClient(base_url=self.proxy.url, timeout=timeout, retry=PATIENT)
        if world == "blocking":
            self._blow_in_threads(client, sandbox_id)
        else:
            anyio.run(self._blow_in_tasks, client, sandbox_id, backend=world)

    def _blow_in_threads(self, client: LunetteClient, sandbox_id: str) -> None:
        inside = Sandbox(client, sandbox_id)

        def work(number: int) -> None:
            for found in self.errands(number):
                found.check(inside.exec(found.command, input=found.input))

        with client, ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))

    async def _blow_in_tasks(self, client: LunetteClient, sandbox_id: str) -> None:
        inside = Sandbox(client, sandbox_id)

        async def work(number: int) -> None:
            for found in self.errands(number):
                found.check(await inside.aexec(found.command, input=found.input))

        async with client, anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(work, number)


KINDS: tuple[Kind, ...] = ("cut", "cut", "cut", "cut", "cut", "delay", "truncate", "duplicate")


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize(
    ("world", "timeout", "share"),
    [
        ("blocking", None, 0.3),
        ("blocking", FOLLOWING, 0.2),
        ("asyncio", None, 0.2),
        ("asyncio", FOLLOWING, 0.2),
        ("trio", None, 0.1),
    ],
)
def test_in_a_storm_each_command_runs_once_and_its_answer_is_whole(
    world: str,
    timeout: float | None,
    share: float,
    server: Server,
    time_box: TimeBox,
    sandbox: Sandbox,
    report: Callable[[object], None],
) -> None:
    with FaultProxy(server.url, seed=SEED, draw=faults(0.6, kinds=KINDS), refuse=0.02) as proxy:
        storm = Storm(proxy, round(CUTS * share), time_box.until(share))
        storm.blow(world, sandbox.sandbox_id, timeout)
        proxy.settle()
    report(f"{len(storm.names)} commands, {proxy}")
    log = Counter(sandbox.files.read_text(LOG).split())
    assert log == Counter(dict.fromkeys(storm.names, 1))
    assert proxy.cuts >= storm.cuts // 10


@pytest.mark.parametrize("world", WORLDS)
def test_in_a_storm_each_sandbox_is_made_once_and_ends(
    world: str, server: Server, direct: LunetteClient
) -> None:
    async def make(client: Any) -> list[str]:
        return [(await client.create_sandbox(HOST)).sandbox_id for _ in range(5)]

    async def destroy(client: Any, names: list[str]) -> None:
        for name in names:
            await client.sandbox(name).destroy()

    with FaultProxy(server.url, seed=SEED, rate=0.6) as proxy, ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: perform(world, proxy.url, make), range(4)))
        proxy.settle()
        names = ids(direct)
        assert sorted(names) == sorted(name for some in made for name in some)
        list(pool.map(lambda some: perform(world, proxy.url, partial(destroy, names=some)), made))
        assert ids(direct) == []
        assert proxy.cuts > 10


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize(
    ("world", "timeout"), [("asyncio", None), ("asyncio", FOLLOWING), ("trio", FOLLOWING)]
)
def test_in_a_storm_what_is_cancelled_ends(
    world: str,
    timeout: float | None,
    server: Server,
    time_box: TimeBox,
    sandbox: Sandbox,
    direct: LunetteClient,
    report: Callable[[object], None],
) -> None:
    commands: list[Lasting] = []

    async def work(client: Any, number: int) -> None:
        chance = random.Random(f"{SEED}/cancelled {number}")
        while not storm.over:
            commands.append(Lasting())
            with anyio.move_on_after(chance.uniform(0, 0.05)):
                await client.sandbox(sandbox.sandbox_id).exec(commands[-1].text)
            with anyio.move_on_after(chance.uniform(0, 0.03)):
                await (await client.create_sandbox(HOST)).destroy()

    async def body(client: Any) -> None:
        with storm.watched():
            async with anyio.create_task_group() as group:
                for number in range(6):
                    group.start_soon(work, client, number)

    with FaultProxy(server.url, seed=SEED, rate=0.4) as proxy:
        storm = Storm(proxy, CUTS // 30, time_box.until(0.1))
        perform(world, proxy.url, body, timeout=timeout)
        proxy.settle()
    report(f"{len(commands)} commands were cancelled, {proxy}")
    assert not [command for command in commands if command.lives]
    assert ids(direct) == [sandbox.sandbox_id]
    assert sandbox.files.read_text(LOG).count("once") <= len(commands)
