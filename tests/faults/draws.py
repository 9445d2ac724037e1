"""Draws of the tests: who watches requests, and who cuts them at chosen places."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import anyio
import anyio.to_thread

from ..embedded import until
from .plans import PLACES, Draw, Plan, script
from .settings import SEED

KILLS = "^DELETE .*/processes/"
REQUESTS = {
    "exec": "^POST .*/exec ",
    "create": "^PUT /sandboxes/[^/]* ",
    "destroy": "^DELETE /sandboxes/[^/]* ",
    "kill": KILLS,
    "list": "^GET /sandboxes ",
    "upload": "^PUT .*/files",
    "read": "^GET .*/files",
}


class Watch:
    """A draw that keeps the heads of requests, and when they came."""

    def __init__(self, draw: Draw | None = None, seen: Callable[[], object] = int) -> None:
        self.heads: list[tuple[float, str]] = []
        self._draw = draw or script()
        self._seen = seen

    def __call__(self, chance: random.Random, head: bytes) -> Plan | None:
        self.heads.append((time.monotonic(), head.decode("latin-1")))
        self._seen()
        return self._draw(chance, head)

    def found(self, pattern: str) -> list[re.Match[str]]:
        return [found for _, head in self.heads if (found := re.search(pattern, head))]

    def count(self, pattern: str) -> int:
        return len(self.found(pattern))

    async def saw(self, pattern: str) -> None:
        await anyio.to_thread.run_sync(until, lambda: self.count(pattern) > 0)


def cuts(*places: str, only: str) -> Draw:
    """Cut the first requests that match *only*, each at one of PLACES."""
    chance = random.Random(f"{SEED}/{places}")
    return script(
        *(Plan(kind="cut", note=place, **PLACES[place](chance)) for place in places), only=only
    )


def first_of(*draws: Draw) -> Draw:
    """Do what the first draw says that says anything."""

    def draw(chance: random.Random, head: bytes) -> Plan | None:
        return next((plan for draw in draws if (plan := draw(chance, head))), None)

    return draw
