"""How long an answer may be held back: `Prefer: respond-async, wait=20` and `?wait=25`, and not
when nobody listens any more.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from lunette.server._run import seen

__all__ = ["disconnected", "preferred_wait", "queried_wait", "while_listened"]

T = TypeVar("T")

# As in openapi.yaml.
_LONGEST_WAIT = 60.0
_WAIT = re.compile(r"wait *= *\"?(\d{1,9})\"?")


def preferred_wait(request: Request) -> float | None:
    """Return after how many seconds 202 may be answered; None for never (RFC 7240)."""
    return _parsed(",".join(request.headers.getlist("prefer")))


@functools.lru_cache(64)
def _parsed(given: str) -> float | None:
    preferences = [part.partition(";")[0].strip() for part in given.lower().split(",")]
    if "respond-async" not in preferences:
        return None
    waits = [int(found[1]) for p in preferences if (found := _WAIT.fullmatch(p))]
    return min(float(waits[0]), _LONGEST_WAIT) if waits else 0.0


def queried_wait(request: Request) -> float:
    """Return the `wait` of the query, which was checked against the contract."""
    return float(request.query_params.get("wait", 0))


async def disconnected(receive: Receive) -> None:
    """Wait until the client has gone, who has nothing more to say."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_listened(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* comes to; end it when nobody listens any more."""
    working, listener = asyncio.create_task(work), asyncio.create_task(disconnected(receive))
    working.add_done_callback(seen)
    try:
        await asyncio.wait([working, listener], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        listener.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait([working])
