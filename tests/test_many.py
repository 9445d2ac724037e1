"""Five hundred commands at once through one client."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from lunette import LunetteClient, Sandbox
from lunette.results import ExecResult

from .embedded import until
from .test_server_dies import sleeping

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")

HOST = {"image": "host"}
MEBIBYTE = 1024 * 1024
LONG, SHORT = 400, 100


def memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def let_go(sandbox: Sandbox, waiting: list[asyncio.Task[ExecResult]]) -> None:
    """Open the gate for a moment, until everyone is through."""
    while any(not call.done() for call in waiting):
        await sandbox.aexec(["timeout", "0.2", "sh", "-c", ": > gate"])


def test_a_hundred_short_commands_among_four_hundred_long_ones() -> None:
    async def main() -> None:
        async with LunetteClient() as client:
            sandbox = await client.create_sandbox(HOST)
            gate = f"/workspace/gate-{os.getpid()}"
            await sandbox.aexec(f"mkfifo {gate} && ln -s {gate} gate", check=True)
            idle, before = memory(), descriptors()

            long = [asyncio.create_task(sandbox.aexec(["cat", gate])) for _ in range(LONG)]
            short = [sandbox.aexec(["echo", str(n)]) for n in range(SHORT)]
            answers = await asyncio.gather(*short)
            assert [answer.stdout for answer in answers] == [f"{n}\n" for n in range(SHORT)]
            await anyio.to_thread.run_sync(until, lambda: sleeping(f"cat {gate}") == LONG)
            assert (await sandbox.aexec("echo one more")).stdout == "one more\n"
            assert not any(call.done() for call in long)
            grown = memory() - idle

            await let_go(sandbox, long)
            assert {call.result().exit_code for call in long} == {0}
            await sandbox.destroy()
            assert descriptors() - before <= 100 + 10  # what is kept idle
        assert grown < 100 * MEBIBYTE
        assert descriptors() <= before

    asyncio.run(main())


def test_five_hundred_at_once() -> None:
    async def main() -> None:
        async with LunetteClient() as client, await client.create_sandbox(HOST) as sandbox:
            calls: list[Any] = [sandbox.aexec(["echo", str(n)]) for n in range(500)]
            results = await asyncio.gather(*calls)
        assert [result.stdout for result in results] == [f"{n}\n" for n in range(500)]

    asyncio.run(main())


def test_a_hundred_cancelled_at_once_leave_nothing() -> None:
    nap = f"sleep 3598.{os.getpid()}"

    async def main() -> None:
        async with LunetteClient() as client, await client.create_sandbox(HOST) as sandbox:
            calls = [asyncio.create_task(sandbox.aexec(nap)) for _ in range(100)]
            await anyio.to_thread.run_sync(until, lambda: sleeping(nap) == 100)
            for call in calls:
                call.cancel()
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(end) for end in ended} == {asyncio.CancelledError}
            # Each was killed, or waits for its turn to be: a clean-up takes two seconds at most.
            await anyio.to_thread.run_sync(until, lambda: sleeping(nap) == 0)
            assert (await sandbox.aexec("echo alive")).stdout == "alive\n"

    asyncio.run(main())
