"""What a thousand sandboxes cost that live at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from measuring import Baseline, Row, Times, in_turns, timed
from transfers import serving

from lunette import AsyncLunetteClient, LunetteClient, Sandbox

__all__ = ["crowd"]

_HOST = {"image": "host"}
_SANDBOXES = 1000
_CALLERS = 32
_MIB = 1 << 20
_MOST_EACH = 4.0


def crowd(rounds: int) -> Iterator[Row | str]:
    """Make them by 32 callers, and run a command in one that was there before."""
    with (
        serving("Unix socket") as server,
        LunetteClient(base_url=server.base_url) as client,
        client.create_sandbox(_HOST) as sandbox,
    ):
        alone = _exec(sandbox, rounds)
        before = _available()
        taken = asyncio.run(_make(server.base_url))
        each = (before - _available()) / _SANDBOXES / _MIB
        among = _exec(sandbox, rounds)
        client.stop_sandboxes([found.sandbox_id for found in client.list_sandboxes()])
    yield Row(f"`exec` among {_SANDBOXES} sandboxes", among, Baseline("one", alone), most_ratio=2)
    verdict = "met" if each <= _MOST_EACH else "missed"
    row = f"| memory of each of {_SANDBOXES} sandboxes | {each:.1f} MiB | - | -"
    yield f"{row} | <= {_MOST_EACH:.0f} MiB: {verdict} |"
    yield f"| {_SANDBOXES} made by {_CALLERS} callers | {taken:.1f} s | - | - | no error: met |"


def _exec(sandbox: Sandbox, rounds: int) -> Times:
    command = {"exec": timed(lambda: sandbox.exec(("true",)))}
    return in_turns(command, rounds=rounds, warm_up=20)["exec"]


async def _make(base_url: str) -> float:
    """Raise where one of them cannot be made."""
    left = iter(range(_SANDBOXES))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with AsyncLunetteClient(base_url=base_url) as client:

        async def call() -> None:
            for _ in left:
                await client.create_sandbox(_HOST)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CALLERS):
                group.create_task(call())
    return loop.time() - begun


def _available() -> int:
    """Return the memory that this machine has to spare, in bytes."""
    fields = Path("/proc/meminfo").read_text().split()
    return int(fields[fields.index("MemAvailable:") + 1]) * 1024
