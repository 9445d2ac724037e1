"""The verbs in every world: one body, run blocking, on asyncio and on trio."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest

from lunette import LunetteClient, Sandbox
from lunette._io import run

__all__ = ["Body", "Facade", "perform"]


class Facade:
    """A client or a sandbox whose verbs are all awaited, whichever spelling is under them."""

    def __init__(self, target: Any, spelling: str) -> None:
        self._target = target
        self._spelling = spelling

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name == "files":
            return Facade(found, self._spelling)
        if not callable(found):
            return found
        return self._verb(getattr(self._target, self._spelling + name))

    def __repr__(self) -> str:
        return repr(self._target)

    def _verb(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def verb(*args: Any, **kwargs: Any) -> Any:
            value = function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = await value
            return Facade(value, self._spelling) if isinstance(value, Sandbox) else value

        return verb


Body = Callable[[Facade], Coroutine[Any, Any, None]]


@pytest.fixture(params=["blocking", "asyncio", "trio"])
def perform(request: pytest.FixtureRequest) -> Callable[[Body], None]:
    """Run a test's body in one of the worlds, with a client of the embedded server."""

    def blocking(body: Body) -> None:
        with LunetteClient() as client:
            run(body(Facade(client, "")))

    async def awaited(body: Body) -> None:
        async with LunetteClient() as client:
            await body(Facade(client, "a"))

    if request.param == "blocking":
        return blocking
    return lambda body: anyio.run(awaited, body, backend=request.param)
