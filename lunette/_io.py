"""The outside world, blocking or async, behind one set of methods.

Operations are written once, as coroutines over `IO`. Over `AsyncIO` they run on the event loop.
Over `BlockingIO` no method ever suspends, so `run` can take a coroutine from start to end in one
step: no event loop, no threads.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    import httpx

    from ._connection import Connection

__all__ = [
    "CLEANUP_SECONDS",
    "DONE",
    "IO",
    "AsyncIO",
    "BlockingIO",
    "Body",
    "Incoming",
    "Request",
    "current_loop",
    "off_loop",
    "run",
    "warn_awaited",
    "warn_blocking",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Request = dict[str, Any]
"""What the generated `_get_kwargs` give, and httpx takes."""

# As long as a clean-up may hold up a cancellation or a Ctrl-C.
CLEANUP_SECONDS = 2

# Larger is slower: httpcore copies what is left of a chunk at each blocking write.
_BLOCKING_CHUNK = 64 * 1024
# Larger pays for the hop to the worker thread that reads or writes each chunk.
_ASYNC_CHUNK = 256 * 1024


class Body:
    """A request's body, read from *file* while it is sent; at most *size* bytes of it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, limit: int) -> bytes:
        """Read the next chunk; nothing when the declared size is reached."""
        chunk = self._file.read(min(limit, self._left))
        self._left -= len(chunk)
        return chunk


class Incoming:
    """A successful answer whose body is still on its way."""

    def __init__(self, response: httpx.Response, chunks: AsyncIterator[bytes]) -> None:
        self.response = response
        self.chunks = chunks


class IO(Protocol):
    """All that an operation may do to the outside world."""

    async def send(
        self, request: Request, *, body: Body | None = None, patient: bool = False
    ) -> httpx.Response:
        """Send *request* and return a successful answer; raise what any other answer means.

        A *patient* request waits for its answer as long as it takes, unless the client has a
        timeout of the user's.
        """
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[Incoming]:
        """Send *request* and hand out the body of a successful answer as it comes."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Do nothing for *seconds*."""
        ...

    async def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a *function* that waits for this machine, such as for its disk."""
        ...

    def shielded(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """Let a clean-up outlive a cancellation, but no longer than *seconds*."""
        ...


def run(operation: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over `BlockingIO` to its end, here and now."""
    try:
        operation.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        operation.close()
    raise RuntimeError(f"{operation!r} waited on something other than BlockingIO")


class BlockingIO:
    """`IO` over blocking calls. Its methods are `async` in name only."""

    def __init__(self, client: httpx.Client, connection: Connection) -> None:
        self.connection = connection
        self._client = client
        self._limit: float | None = None

    async def send(
        self, request: Request, *, body: Body | None = None, patient: bool = False
    ) -> httpx.Response:
        request = self.connection.addressed(request)
        if body is not None:
            request = request | {"content": _blocking_chunks(body)}
        if self._limit is not None:
            request = request | {"timeout": self._limit}
        elif patient:
            request = request | {"timeout": self.connection.patience}
        async with _faults(self):
            response = self._client.request(**request)
        return _succeeded(response)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Incoming]:
        request = self.connection.addressed(request)
        async with _faults(self):
            with self._client.stream(**request) as response:
                if not response.is_success:
                    response.read()
                yield Incoming(_succeeded(response), _never_waits(response.iter_bytes()))

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - async in name only

    async def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return function(*args)

    @asynccontextmanager
    async def shielded(self, seconds: float) -> AsyncGenerator[None]:
        self._limit = seconds
        try:
            yield
        finally:
            self._limit = None


class AsyncIO:
    """`IO` on the event loop; files are read and written in worker threads."""

    def __init__(self, client: httpx.AsyncClient, connection: Connection) -> None:
        self.connection = connection
        self._client = client

    async def send(
        self, request: Request, *, body: Body | None = None, patient: bool = False
    ) -> httpx.Response:
        request = self.connection.addressed(request)
        if body is not None:
            request = request | {"content": _async_chunks(body)}
        if patient:
            request = request | {"timeout": self.connection.patience}
        async with _faults(self):
            response = await self._client.request(**request)
        return _succeeded(response)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Incoming]:
        request = self.connection.addressed(request)
        async with _faults(self), self._client.stream(**request) as response:
            if not response.is_success:
                await response.aread()
            yield Incoming(_succeeded(response), response.aiter_bytes(_ASYNC_CHUNK))

    async def sleep(self, seconds: float) -> None:
        import anyio  # with asyncio a tenth of the import of httpx, and not needed to block

        await anyio.sleep(seconds)

    async def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        import anyio.to_thread

        return await anyio.to_thread.run_sync(function, *args)

    @asynccontextmanager
    async def shielded(self, seconds: float) -> AsyncGenerator[None]:
        import anyio

        with anyio.move_on_after(seconds, shield=True):
            yield


class _faults:
    """Turns httpx's errors into ours; no generator, since it is around every request."""

    def __init__(self, io: BlockingIO | AsyncIO) -> None:
        self._io = io

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        import httpx

        if isinstance(error, httpx.RequestError):
            raise await self._io.call(self._io.connection.fault, error) from error


def _succeeded(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        from .errors import from_answer

        raise from_answer(response)
    return response


def _blocking_chunks(body: Body) -> Generator[bytes]:
    while chunk := body.read(_BLOCKING_CHUNK):
        yield chunk


async def _async_chunks(body: Body) -> AsyncGenerator[bytes]:
    import anyio.to_thread

    while chunk := await anyio.to_thread.run_sync(body.read, _ASYNC_CHUNK):
        yield chunk


async def _never_waits(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item


class _Done:
    """What a blocking verb answers that may also be awaited: nothing is left to wait for."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield

    def __repr__(self) -> str:
        return "done"


DONE = _Done()


def current_loop() -> object | None:
    """Return what stands for the event loop that runs this code, if one does."""
    # Neither library is imported to ask it: one that nobody imported runs nothing.
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        token: object = trio.lowlevel.current_trio_token()
        return token
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    with suppress(RuntimeError):
        loop: object = asyncio.get_running_loop()
        return loop
    return None


async def off_loop(function: Callable[[], T]) -> T:
    """Call *function* in a thread, without anyio, whose import would hold up the event loop."""
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        answer: T = await trio.to_thread.run_sync(function)
        return answer
    import asyncio

    return await asyncio.to_thread(function)


def warn_blocking() -> None:
    """Warn if an event loop runs: the verb of an Async object that was called blocks it."""
    if current_loop() is None:
        return
    level, verb = _caller()
    message = f"{verb}() blocks the event loop; await a{verb}() instead"
    if verb == "__exit__":
        message = "`with` blocks the event loop; write `async with` instead"
    _warn(message, level)


def warn_awaited(verb: str) -> None:
    """Warn that *verb* of a plain client was awaited: it had blocked the event loop already."""
    _warn(
        f"{verb}() blocked the event loop before it was awaited; open the client by"
        f" `async with LunetteClient() as client`, or write `await client.a{verb}()`",
        _caller()[0],
    )


def _warn(message: str, level: int) -> None:
    from .errors import AsyncUsageWarning

    warnings.warn(message, AsyncUsageWarning, stacklevel=level + 1)


def _caller() -> tuple[int, str]:
    """Return the stack level, seen from our caller, of the user's line, and the verb it called."""
    frame, level, verb = sys._getframe(1), 1, ""  # pyright: ignore[reportPrivateUsage] - no public way
    while frame.f_back and frame.f_globals.get("__package__") in {"lunette", "lunette._operations"}:
        verb = frame.f_code.co_name
        frame, level = frame.f_back, level + 1
    return level, verb
