"""The outside world, blocking or async, behind one set of methods.

Operations are written once, as coroutines over `IO`. Over `AsyncIO` they run on the event loop.
Over `BlockingIO` no method ever suspends, so `run` can take a coroutine from start to end in one
step: no event loop, no threads.
"""

from __future__ import annotations

import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, TypeVarTuple

from ._body import Body
from ._loops import in_trio

if TYPE_CHECKING:
    import httpx

    from ._connection import Connection
    from ._retry import RetryPolicy

__all__ = [
    "CLEANUP_SECONDS",
    "DONE",
    "IO",
    "AsyncIO",
    "BlockingIO",
    "Body",
    "Cleanup",
    "Incoming",
    "Profile",
    "Request",
    "iterate",
    "run",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Request = dict[str, Any]
"""What the generated `_get_kwargs` give, and httpx takes."""

# As long as a clean-up may hold up a cancellation or a Ctrl-C.
CLEANUP_SECONDS = 2

# Three times the silence after which the server of a live stream says that it is there.
_LIVE_SECONDS = 45.0

# What a blocking write takes at once, where the socket holds as much.
_BLOCKING_CHUNK = 256 * 1024
# Each pays for the hop to the worker thread that reads or writes it.
_ASYNC_CHUNK = 1024 * 1024


class Incoming:
    """A successful answer whose body is still on its way."""

    def __init__(self, response: httpx.Response, chunks: AsyncIterator[bytes]) -> None:
        self.response = response
        self.chunks = chunks


class Profile:
    """What a server speaks: our contract, or the *published* wire alone; None until it is asked."""

    def __init__(self, published: bool | None = None) -> None:
        self.published = published


class IO(Protocol):
    """All that an operation may do to the outside world."""

    @property
    def profile(self) -> Profile:
        """What the server speaks."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that one request may take."""
        ...

    @property
    def policy(self) -> RetryPolicy:
        """How often what was cut is begun again, or gone on with."""
        ...

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Keep every other operation of this client out that asks for the same."""
        ...

    async def send(
        self, request: Request, *, body: Body | None = None, patient: bool = False
    ) -> httpx.Response:
        """Send *request* and return a successful answer; raise what any other answer means.

        A *patient* request waits for its answer as long as it takes, unless the client has a
        timeout of the user's. The *body* is sent from its beginning.
        """
        ...

    def stream(
        self, request: Request, *, live: bool = False
    ) -> AbstractAsyncContextManager[Incoming]:
        """Send *request* and hand out the body of a successful answer.

        Of a *live* one each byte is handed out when it is there, and it may take as long as
        something comes now and then; others come in large chunks.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Do nothing for *seconds*."""
        ...

    async def call(self, function: Callable[[*Ts], T], *args: *Ts, abandon: bool = False) -> T:
        """Call a *function* that waits for this machine, such as for its disk.

        Cancelled, one to *abandon* is left to itself: it may wait for ever.
        """
        ...

    async def outlive(self, cleanup: Cleanup, seconds: float) -> None:
        """Run a *cleanup* that outlives a cancellation, but takes no longer than *seconds*.

        It is given the world to act on, and may be begun a second time.
        """
        ...


Cleanup = Callable[[IO], Coroutine[Any, Any, None]]


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


def iterate(source: AsyncGenerator[T]) -> Generator[T]:
    """Iterate over what a generator over `BlockingIO` yields, here and now."""
    try:
        while True:
            try:
                item = run(source.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(source.aclose())


class BlockingIO:
    """`IO` over blocking calls. Its methods are `async` in name only."""

    def __init__(self, client: httpx.Client, connection: Connection) -> None:
        self.connection = connection
        self.profile = connection.profile
        self.timeout = connection.timeout
        self.policy = connection.policy
        self._client = client

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        with self.connection.lock():
            yield

    async def send(
        self, request: Request, *, body: Body | None = None, patient: bool = False
    ) -> httpx.Response:
        request = self.connection.addressed(request)
        if body is not None:
            request = request | {"content": _blocking_chunks(body)}
        if patient:
            request = request | {"timeout": self.connection.patience}
        async with _faults(self):
            response = self._client.request(**request)
        return _succeeded(response)

    @asynccontextmanager
    async def stream(self, request: Request, *, live: bool = False) -> AsyncGenerator[Incoming]:
        request = self.connection.addressed(request)
        if live:
            request = request | {"timeout": _while_it_lives(self.timeout)}
        async with _faults(self):
            with self._client.stream(**request) as response:
                if not response.is_success:
                    response.read()
                yield Incoming(_succeeded(response), _NeverWaits(response.iter_bytes()))

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - async in name only

    async def call(self, function: Callable[[*Ts], T], *args: *Ts, abandon: bool = False) -> T:
        return function(*args)

    async def outlive(self, cleanup: Cleanup, seconds: float) -> None:
        # A blocked call is interrupted once, and a second time means it.
        if not self._client.is_closed:
            await cleanup(self)
            return
        with self.connection.spare_client() as client:
            await cleanup(BlockingIO(client, self.connection))


class AsyncIO:
    """`IO` on the event loop; files are read and written in worker threads."""

    def __init__(self, client: httpx.AsyncClient, connection: Connection) -> None:
        self.connection = connection
        self.profile = connection.profile
        self.timeout = connection.timeout
        self.policy = connection.policy
        self._client = client

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        async with self.connection.async_lock():
            yield

    async def send(
        self, request: Request, *, body: Body | None = None, patient: bool = False
    ) -> httpx.Response:
        request = self.connection.addressed(request)
        if patient:
            request = request | {"timeout": self.connection.patience}
        from ._outgoing import Chunks, Whole

        chunks = None if body is None else Chunks(_reading(body))
        if chunks is not None:
            request = request | {"content": chunks}
        built = self._client.build_request(**request)
        built.stream = chunks or Whole(built.content)
        async with _faults(self):
            response = await self._client.send(built)
        return _succeeded(response)

    @asynccontextmanager
    async def stream(self, request: Request, *, live: bool = False) -> AsyncGenerator[Incoming]:
        request = self.connection.addressed(request)
        if live:
            request = request | {"timeout": _while_it_lives(self.timeout)}
        from ._incoming import chunks_of, gathered

        async with _faults(self), self._client.stream(**request) as response:
            if not response.is_success:
                await response.aread()
            found = chunks = response.aiter_bytes()
            if not live:
                chunks = gathered(chunks_of(response, found), _ASYNC_CHUNK)
            try:
                yield Incoming(_succeeded(response), chunks)
            finally:
                await _finish(response, chunks, found)

    async def sleep(self, seconds: float) -> None:
        import anyio  # with asyncio a tenth of the import of httpx, and not needed to block

        await anyio.sleep(seconds)

    async def call(self, function: Callable[[*Ts], T], *args: *Ts, abandon: bool = False) -> T:
        import anyio.to_thread

        return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=abandon)

    async def outlive(self, cleanup: Cleanup, seconds: float) -> None:
        import anyio

        async def work() -> None:
            await self._clean_up(cleanup)

        with anyio.CancelScope(shield=True):
            if not in_trio():
                await self.connection.cleanups.run(work, seconds)
                return
            with anyio.move_on_after(seconds):
                await work()

    async def _clean_up(self, cleanup: Cleanup) -> None:
        if not self._client.is_closed:
            await cleanup(self)
            return
        async with self.connection.spare_async_client() as client:
            await cleanup(AsyncIO(client, self.connection))


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

        from .errors import LunetteError

        if isinstance(error, LunetteError):  # of what was done with the answer
            return
        # httpx's own error for a client that was closed meanwhile is a plain RuntimeError.
        if self._io.connection.closed and isinstance(error, httpx.RequestError | RuntimeError):
            from .errors import ClientClosedError

            raise ClientClosedError("the client was closed during the call") from error
        if isinstance(error, httpx.RequestError):
            raise await self._io.call(self._io.connection.fault, error) from error


def _succeeded(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        from ._answers import from_answer

        raise from_answer(response)
    return response


def _blocking_chunks(body: Body) -> Generator[bytes]:
    while chunk := body.read(_BLOCKING_CHUNK):
        yield chunk
        body.tell_sent()


def _reading(body: Body) -> Callable[[], Awaitable[bytes]]:
    import anyio.to_thread

    async def read() -> bytes:
        body.tell_sent()
        return await anyio.to_thread.run_sync(body.read, _ASYNC_CHUNK)

    return read


def _while_it_lives(timeout: float) -> httpx.Timeout:
    import httpx

    return httpx.Timeout(timeout, read=_LIVE_SECONDS)


class _NeverWaits(Generic[T]):
    """Asynchronous in name only; no generator, which an event loop around it would take as its."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        for item in self._items:
            return item
        raise StopAsyncIteration


async def _finish(response: httpx.Response, *generators: AsyncIterator[bytes]) -> None:
    """Close *response*, and end its *generators* and those below: trio warns of what is left."""
    await response.aclose()
    if not in_trio():
        return
    import anyio

    with anyio.CancelScope(shield=True):  # nothing waits on what is closed
        for chunks in generators:
            with suppress(Exception):  # each ends by the error that nothing more can be read
                async for _ in chunks:
                    pass


class _Done:
    """What a blocking verb answers that may also be awaited: nothing is left to wait for."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield

    def __repr__(self) -> str:
        return "done"


DONE = _Done()
