"""How long an answer may be held back: `Prefer: respond-async, wait=20` and `?wait=25`, and not
when nobody listens any more.
"""

from __future__ import annotations

import functools
import re

from starlette.requests import Request
from starlette.types import Receive

__all__ = ["disconnected", "preferred_wait", "queried_wait"]

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
