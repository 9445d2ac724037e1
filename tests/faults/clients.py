"""Clients in each world, whose verbs are awaited."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from lunette import LunetteClient, RetryPolicy, Sandbox
from lunette._connection import Transport
from lunette._io import run

from ..worlds import Facade
from .settings import PATIENT

T = TypeVar("T")


class Client(Facade):
    """A client whose verbs are awaited, whichever spelling is under them."""

    def sandbox(self, sandbox_id: str) -> Facade:
        return Facade(Sandbox(self._target, sandbox_id), self._spelling)


def perform(
    world: str,
    url: str,
    body: Callable[[Any], Coroutine[Any, Any, T]],
    *,
    timeout: float | None = None,
    retry: RetryPolicy | None = PATIENT,
    transport: Transport = None,
    api_key: str | None = None,
) -> T:
    """Run *body* with a client, blocking or in an event loop."""
    made = LunetteClient(api_key, url, timeout, retry=retry, transport=transport)
    if world == "blocking":
        with made as client:
            return run(body(Client(client, "")))

    async def awaited() -> T:
        async with made as client:
            return await body(Client(client, "a"))

    return anyio.run(awaited, backend=world)


def ids(client: LunetteClient) -> list[str]:
    return [info.sandbox_id for info in client.list_sandboxes()]
