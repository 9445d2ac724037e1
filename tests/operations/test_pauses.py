from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from lunette import NotSupportedError, SandboxPausedError, SandboxStats
from lunette._operations import pauses

STATS = {"memory": 1024, "cpu_seconds": 1.5, "processes": 3, "disk": 4096}


def test_each_is_one_request(scripted: Any) -> None:
    io = scripted(httpx.Response(204), httpx.Response(204), httpx.Response(200, json=STATS))
    asyncio.run(pauses.pause(io, "s1"))
    asyncio.run(pauses.resume(io, "s1"))
    found = asyncio.run(pauses.stats(io, "s1"))
    assert found == SandboxStats(memory=1024, cpu_seconds=1.5, processes=3, disk=4096)
    assert io.diary == [
        "put /sandboxes/s1/pause",
        "delete /sandboxes/s1/pause",
        "get /sandboxes/s1/stats",
    ]


def test_stats_with_all_that_an_engine_can_tell(scripted: Any) -> None:
    more = {"memory_peak": 2048, "memory_limit": 4096}
    io = scripted(httpx.Response(200, json={**STATS, **more}))
    found = asyncio.run(pauses.stats(io, "s1"))
    assert (found.memory_peak, found.memory_limit) == (2048, 4096)


def test_what_a_paused_sandbox_answers(scripted: Any) -> None:
    problem = {"code": "sandbox_paused", "detail": "resume it first", "status": 409}
    io = scripted(httpx.Response(409, json=problem))
    with pytest.raises(SandboxPausedError, match="resume it first"):
        asyncio.run(pauses.stats(io, "s1"))


@pytest.mark.parametrize("verb", [pauses.pause, pauses.resume, pauses.stats])
def test_the_published_wire_has_none_of_it(scripted: Any, verb: Callable[..., Any]) -> None:
    io = scripted()
    io.profile.published = True
    with pytest.raises(NotSupportedError, match=verb.__name__):
        asyncio.run(verb(io, "s1"))
    assert io.diary == []
