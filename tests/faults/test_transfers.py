"""However often its connections are cut, a file arrives whole, and hardly a byte is sent again."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lunette import Sandbox

from .clients import perform
from .plans import Plan
from .proxy import FaultProxy
from .server import Server
from .settings import CUTS, SECONDS, SEED, WORLDS, TimeBox
from .test_storms import Storm

RATE = 0.6
PLACES = (b"/files?", b"/uploads/", b"/archives/")
MIB = 1 << 20
SMALL = 60_000
# What the kernels hold of a connection is lost with it.
MOST_SENT_AGAIN = 0.05


def draw(chance: random.Random, head: bytes) -> Plan | None:
    """Cut requests about files, mostly in their bodies, and end some answers early."""
    line = head.partition(b"\r\n")[0]
    if not any(part in line for part in PLACES) or chance.random() >= RATE:
        return None
    if line.startswith(b"GET") and chance.random() < 0.2:
        return Plan(kind="truncate", part="body", fraction=chance.random())
    direction = "answer" if line.startswith(b"GET") else "request"
    part = "body" if chance.random() < 0.9 else "message"
    return Plan(kind="cut", direction=direction, part=part, fraction=chance.random())  # type: ignore[arg-type]


class Files:
    """Sends and fetches files, and counts the bytes that had to be."""

    def __init__(self, world: str, sandbox: Any, directory: Path, chance: random.Random) -> None:
        self.up = self.down = 0
        self._world = world
        self._sandbox = sandbox
        self._here = directory / str(chance.random())
        self._name = self._here.name
        self._chance = chance

    async def once(self) -> None:
        size = self._chance.choice((0, SMALL, 6 * MIB, 12 * MIB, 20 * MIB))
        data = self._chance.randbytes(self._chance.randrange(size // 2, size + 1))
        await self._sandbox.upload(self._source(data), self._name)
        found = await self._sandbox.exec(["sha256sum", self._name])
        assert found.stdout.split()[0] == hashlib.sha256(data).hexdigest()
        if self._chance.random() < 0.5:
            await self._sandbox.download(self._name, self._here)
            assert self._here.read_bytes() == data
        else:
            assert await self._sandbox.files.read_bytes(self._name) == data
        self.up += len(data)
        self.down += len(data)

    def _source(self, data: bytes) -> Any:
        self._here.write_bytes(data)
        kinds: list[Callable[[], Any]] = [lambda: self._here, lambda: data, lambda: items(data)]
        if self._world != "blocking":
            kinds.append(lambda: awaited(data))
        return self._chance.choice(kinds)()


def items(data: bytes) -> Generator[bytes]:
    for start in range(0, len(data), 100_003):
        yield data[start : start + 100_003]


async def awaited(data: bytes) -> AsyncGenerator[bytes]:
    for item in items(data):
        await anyio.lowlevel.checkpoint()
        yield item


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize(
    ("world", "share"), [("blocking", 0.25), ("asyncio", 0.25), ("trio", 0.15)]
)
def test_in_a_storm_files_are_whole(
    world: str,
    share: float,
    server: Server,
    time_box: TimeBox,
    sandbox: Sandbox,
    tmp_path: Path,
    report: Callable[[object], None],
) -> None:
    workers: list[Files] = []

    async def work(client: Any, number: int) -> None:
        chance = random.Random(f"{SEED}/transfers {world} {number}")
        inside = client.sandbox(sandbox.sandbox_id)
        worker = Files(world, inside, tmp_path, chance)
        workers.append(worker)
        with storm.watched():
            while not storm.over:
                await worker.once()

    async def together(client: Any) -> None:
        async with anyio.create_task_group() as group:
            for number in range(1 if world == "blocking" else 3):
                group.start_soon(work, client, number)

    with FaultProxy(server.url, seed=SEED, draw=draw) as proxy:
        storm = Storm(proxy, CUTS // 6, time_box.until(share))
        if world == "blocking":
            perform(world, proxy.url, lambda client: work(client, 0))
        else:
            perform(world, proxy.url, together)
        proxy.settle()
    up, down = sum(files.up for files in workers), sum(files.down for files in workers)
    again = (proxy.passed["request"] - up, proxy.passed["answer"] - down)
    report(f"{up} bytes up and {down} down, {again} of them again, {proxy}")
    # A slow machine has not the time for all.
    assert proxy.cuts >= storm.cuts // 3
    assert sum(again) < MOST_SENT_AGAIN * (up + down)


def plant(root: Path, chance: random.Random) -> dict[str, bytes]:
    """Make a directory, and return what is in its files."""
    sizes = [0, 100, SMALL, 9 * MIB, *(chance.randrange(10_000) for _ in range(50))]
    made = {f"{n % 7}/é {n}": chance.randbytes(size) for n, size in enumerate(sizes)}
    for name, data in made.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return made


@pytest.mark.parametrize("world", WORLDS)
def test_in_a_storm_directories_are_whole(
    world: str, server: Server, time_box: TimeBox, sandbox: Sandbox, tmp_path: Path
) -> None:
    chance = random.Random(f"{SEED}/directories {world}")
    made = plant(tmp_path / "here", chance)

    async def work(client: Any) -> None:
        inside = client.sandbox(sandbox.sandbox_id)
        number = 0
        while not storm.over or not number:
            number += 1
            there, back = f"{world}{number}", tmp_path / f"back{number}"
            await inside.upload(tmp_path / "here", there)
            await inside.download(there, back)
            files = (path for path in back.rglob("*") if path.is_file())
            assert {str(path.relative_to(back)): path.read_bytes() for path in files} == made
            await inside.files.remove(there, recursive=True)
            await inside.files.list(".")

    with FaultProxy(server.url, seed=SEED, draw=draw) as proxy:
        storm = Storm(proxy, CUTS // 20, time_box.until(0.1))
        perform(world, proxy.url, work)
    assert proxy.cuts


@pytest.mark.parametrize("world", WORLDS)
def test_connections_that_live_for_a_hundred_kilobytes_bring_everything(
    world: str, server: Server, sandbox: Sandbox, tmp_path: Path
) -> None:
    data = random.Random(SEED).randbytes(3 * MIB)

    def short(chance: random.Random, head: bytes) -> Plan | None:
        line = head.partition(b"\r\n")[0]
        if line.startswith(b"PATCH"):
            return Plan(kind="cut", direction="request", part="body", at=100_000)
        if line.startswith(b"GET") and b"/files?" in line:
            return Plan(kind="cut", part="body", at=100_000)
        return None

    async def body(client: Any) -> None:
        inside = client.sandbox(sandbox.sandbox_id)
        await inside.upload(data, "a")
        await inside.download("a", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == data
        async with aclosing(inside.files.iter_bytes("a")) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == data

    with FaultProxy(server.url, seed=SEED, draw=short) as proxy:
        perform(world, proxy.url, body)
    assert proxy.cuts > 40
