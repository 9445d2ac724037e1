"""However often its connections are cut, what a process writes and reads is whole and in order."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from lunette import PIPE, Sandbox

from .clients import perform
from .draws import Watch, cuts
from .plans import Kind, Plan, faults
from .proxy import FaultProxy
from .server import Server
from .settings import CUTS, SECONDS, SEED, WORLDS, TimeBox
from .test_storms import Storm

# Mostly cuts, and nearly all of them in the streams themselves.
KINDS: tuple[Kind, ...] = ("cut", "cut", "cut", "cut", "cut", "cut", "truncate", "delay")
RATE = 0.9

# Writes each stream's own pattern in pieces of odd sizes, some of them slowly enough to come alone.
WRITER = """
import random, sys, time
chance, sizes = random.Random(sys.argv[1]), [int(n) for n in sys.argv[2:]]
left = {1: sizes[0], 2: sizes[1]}
done = {1: 0, 2: 0}
streams = {1: sys.stdout.buffer, 2: sys.stderr.buffer}
while any(left.values()):
    number = chance.choice([n for n in left if left[n]])
    size = min(left[number], chance.choice((1, 7, 100, 3000, 20_000)))
    first, begin = divmod(done[number], 11)
    numbers = range(first, first + size // 11 + 2)
    piece = b"".join(b"%d:%08d\\n" % (number, n) for n in numbers)
    streams[number].write(piece[begin : begin + size])
    streams[number].flush()
    done[number] += size
    left[number] -= size
    if chance.random() < 0.05:
        time.sleep(0.002)
"""


# No handler and `pause`: a signal just before that would be noticed after the next.
COUNTER = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print("ready")
while True:
    signal.sigwait({signal.SIGUSR1})
    print("got")
"""


def pattern(number: int, size: int) -> bytes:
    return b"".join(b"%d:%08d\n" % (number, n) for n in range(size // 11 + 1))[:size]


async def follow(sandbox: Any, chance: random.Random) -> None:
    """Follow a process of which every byte is known, leaving off now and then."""
    sizes = chance.randrange(200_000), chance.randrange(60_000)
    words = [str(chance.random()), *map(str, sizes)]
    process = await sandbox.start(["python3", "-c", WRITER, *words])
    found = {"stdout": bytearray(), "stderr": bytearray()}
    over = False
    while not over:
        over = True
        async with aclosing(aiter(process)) as chunks:
            async for stream, data in chunks:
                found[stream] += data
                if chance.random() < 0.01:
                    over = False
                    break
    assert bytes(found["stdout"]) == pattern(1, sizes[0])
    assert bytes(found["stderr"]) == pattern(2, sizes[1])
    assert process.gaps == 0
    result = await process.result()
    assert (len(result.stdout_bytes), len(result.stderr_bytes)) == sizes


async def feed(sandbox: Any, chance: random.Random) -> None:
    """Write what comes back the same, each byte once."""
    pieces = [chance.randbytes(chance.choice((0, 1, 100, 5000, 70_000))) for _ in range(6)]
    process = await sandbox.start(["cat"], input=PIPE)
    for piece in pieces:
        await process.write(piece)
    await process.close_input()
    found = b"".join([data async for _, data in process])
    assert found == b"".join(pieces)


async def signal(sandbox: Any, chance: random.Random) -> None:
    """Count signals: each arrives once."""
    process = await sandbox.start(["python3", "-u", "-c", COUNTER])
    lines = process.lines()
    assert await anext(lines) == "ready"
    for _ in range(3):
        await process.signal("SIGUSR1")
        assert await anext(lines) == "got"
    await lines.aclose()
    await process.kill()
    assert [data async for _, data in process] == []
    assert (await process.result()).signal == 9


ERRANDS = (follow, follow, feed, feed, signal)


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize(("world", "share"), [("blocking", 0.4), ("asyncio", 0.5), ("trio", 0.3)])
def test_in_a_storm_streams_are_whole_and_in_order(
    world: str,
    share: float,
    server: Server,
    time_box: TimeBox,
    sandbox: Sandbox,
    report: Callable[[object], None],
) -> None:
    done = 0

    async def work(client: Any, number: int) -> None:
        nonlocal done
        chance = random.Random(f"{SEED}/streams {world} {number}")
        with storm.watched():
            while not storm.over:
                await chance.choice(ERRANDS)(client.sandbox(sandbox.sandbox_id), chance)
                done += 1

    async def together(client: Any) -> None:
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(work, client, number)

    draw = faults(RATE, kinds=KINDS, only="/processes/")
    with FaultProxy(server.url, seed=SEED, draw=draw) as proxy:
        storm = Storm(proxy, round(CUTS * share), time_box.until(share))
        if world == "blocking":
            with ThreadPoolExecutor(6) as pool:
                jobs = [
                    pool.submit(perform, world, proxy.url, lambda c, n=n: work(c, n))
                    for n in range(6)
                ]
                for job in jobs:
                    job.result()
        else:
            perform(world, proxy.url, together)
        proxy.settle()
    report(f"{done} processes, {proxy}")
    assert proxy.cuts >= storm.cuts // 10


@pytest.mark.parametrize("world", WORLDS)
def test_what_says_nothing_for_long_is_followed_through_idle_cuts(
    world: str, server: Server, sandbox: Sandbox
) -> None:
    async def body(client: Any) -> None:
        inside = client.sandbox(sandbox.sandbox_id)
        process = await inside.start("echo begun; sleep 3; echo done >&2; sleep 1; exit 3")
        found = [chunk async for chunk in process]
        assert found == [("stdout", b"begun\n"), ("stderr", b"done\n")]
        assert await process.poll() == 3

    with FaultProxy(server.url, seed=SEED, idle=0.2) as proxy:
        perform(world, proxy.url, body)
    assert proxy.counts["idle"] > 5


@pytest.mark.parametrize("world", WORLDS)
def test_a_start_that_is_cut_starts_once(world: str, server: Server, sandbox: Sandbox) -> None:
    async def body(client: Any) -> None:
        inside = client.sandbox(sandbox.sandbox_id)
        process = await inside.start("echo once >> /workspace/log; echo $$")
        [line] = [line async for line in process.lines()]
        assert int(line) > 1

    places = ("request head", "request body", "delivered", "answered", "answer body", "last byte")
    watch = Watch(cuts(*places, only="^PUT .*/processes/[^/ ]* "))
    with FaultProxy(server.url, seed=SEED, draw=watch) as proxy:
        perform(world, proxy.url, body)
    assert watch.count("^PUT .*/processes/") == len(places) + 1
    assert sandbox.files.read_text("/workspace/log") == "once\n"


@pytest.mark.parametrize("world", WORLDS)
def test_connections_that_live_for_two_kilobytes_bring_everything(
    world: str, server: Server, sandbox: Sandbox
) -> None:
    async def body(client: Any) -> None:
        inside = client.sandbox(sandbox.sandbox_id)
        process = await inside.start(["python3", "-c", WRITER, "seed", "100000", "0"])
        await process.result()  # so that all of it could be sent at once
        assert b"".join([data async for _, data in process]) == pattern(1, 100_000)

    def short(_: random.Random, head: bytes) -> Plan | None:
        followed = b"/output" in head.partition(b"\r\n")[0]
        return Plan(kind="cut", part="body", at=2000) if followed else None

    with FaultProxy(server.url, seed=SEED, draw=short) as proxy:
        perform(world, proxy.url, body)
    assert proxy.cuts > 40
