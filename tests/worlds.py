"""The verbs in every world: one body, run blocking, on asyncio and on trio."""

from __future__ import annotations

import inspect
import io
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from lunette import LunetteClient, Process, Sandbox
from lunette._io import run

__all__ = ["Body", "Facade", "perform"]


class Facade:
    """A client, a sandbox or a process whose verbs are all awaited, whichever spelling is under
    them, and whose iterations are asynchronous.
    """

    def __init__(self, target: Any, spelling: str) -> None:
        self._target = target
        self._spelling = spelling

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name == "files":
            return Facade(found, self._spelling)
        if not callable(found) or name == "detach":
            return found
        return self._verb(getattr(self._target, self._spelling + name))

    def __aiter__(self) -> AsyncGenerator[Any]:
        return _awaited(self._target if self._spelling else iter(self._target))

    def __repr__(self) -> str:
        return repr(self._target)

    def _verb(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def verb(value: Any) -> Any:
            if inspect.iscoroutine(value):
                value = await value
            if isinstance(value, Sandbox | Process):
                return Facade(value, self._spelling)
            return FileFacade(value) if isinstance(value, io.IOBase) else value

        def called(*args: Any, **kwargs: Any) -> Any:
            value = function(*args, **kwargs)
            is_iteration = inspect.isgenerator(value) or inspect.isasyncgen(value)
            return _awaited(value) if is_iteration else verb(value)

        return called


class FileFacade:
    """An open file of Python's whose methods are awaited, as those of an `AsyncFile`."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        if not callable(found):
            return found

        async def method(*args: Any) -> Any:
            return found(*args)

        return method

    def __aiter__(self) -> AsyncGenerator[Any]:
        return _awaited(self._file)

    async def __aenter__(self) -> FileFacade:
        self._file.__enter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._file.__exit__(*error)


async def _awaited(items: Any) -> AsyncGenerator[Any]:
    if not hasattr(items, "__aiter__"):
        for item in items:
            yield item
        return
    async with aclosing(aiter(items)) as iteration:
        async for item in iteration:
            yield item


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
