"""Which server the verbs of a client call, settled when the first of them is called.

Nothing here imports httpx before that: where no server is configured, one is started first, and
starts while this process imports the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextlib import aclosing
from importlib import import_module
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ._io import IO, iterate, run
from ._loops import in_trio, off_loop, warn_blocking

if TYPE_CHECKING:
    from ._connection import Connection, Server, Transport
    from ._retry import RetryPolicy
    from .config import Config

__all__ = ["Caller", "Connector", "Link"]

P = ParamSpec("P")
T = TypeVar("T")

# What the verbs import. It is done when the first connection is made: there it holds up no event
# loop, and an embedded server starts meanwhile.
_FOR_THE_VERBS = (
    "anyio.to_thread",
    "httpcore",
    "lunette.sandbox",
    "xxhash",
    "lunette_api.api.sandboxes.create_sandbox",
    "lunette_api.api.sandboxes.delete_sandbox",
    "lunette_api.api.commands.exec_command",
    "lunette_api.api.commands.kill_process",
    "lunette_api.api.files.download_file",
    "lunette_api.api.files.upload_file",
)
# And those that are awaited; the last is what anyio would else import on the event loop.
_FOR_AWAITED_VERBS = (
    "lunette._transports",
    "lunette.service",
    "lunette_api.api.commands.follow_process",
    "lunette_api.api.commands.get_process",
    "lunette_api.api.commands.start_process",
    "lunette_api.api.sandboxes.get_sandbox",
    "lunette_api.api.server.get_capabilities",
)
_BACKENDS = {False: "anyio._backends._asyncio", True: "anyio._backends._trio"}


class Connector:
    """How one client, in both its forms, gets to its server."""

    def __init__(
        self,
        api_key: str | None,
        base_url: str | None,
        timeout: float | None,
        *,
        retry: RetryPolicy | None = None,
        transport: Transport = None,
    ) -> None:
        self._arguments = (api_key, base_url, timeout)
        self._retry = retry
        self._transport: Transport = transport
        if retry is not None or transport is not None:
            from .config import check_options

            check_options(retry, transport)
        if any(argument is not None for argument in self._arguments):
            from .config import check_arguments

            check_arguments(*self._arguments)
        self.closed = False
        self.current: Connection | None = None
        self._connections: dict[object, Connection] = {}

    def connection(self) -> Connection:
        """Return the way to the server of now."""
        return self._ready() or self._connect()

    async def aconnection(self) -> Connection:
        """Return the way to the server of now, found off the event loop."""
        connection = self._ready()
        if connection is None:
            modules = (*_FOR_AWAITED_VERBS, _BACKENDS[in_trio()])
            connection = await off_loop(lambda: self._connect(modules))
        return connection

    def close(self) -> None:
        """Close every connection; what other event loops hold is closed when they end."""
        self.closed = True
        for connection in self._connections.values():
            connection.close()

    async def aclose(self) -> None:
        """Close every connection; what other event loops hold is closed when they end."""
        self.closed = True
        for connection in self._connections.values():
            await connection.aclose()

    def begin(self) -> None:
        """Start the embedded server if it will be needed, and return before it is up."""
        if self._ready() is None:
            self._settle()

    async def abegin(self) -> None:
        """Do all that a first verb has to do, off the event loop: also what it imports."""
        await self.aconnection()

    def _ready(self) -> Connection | None:
        if self.closed:
            from .errors import ClientClosedError

            raise ClientClosedError("the client is closed; make another one")
        if self.current is None or self.current.lost:
            return None
        return self.current

    def _settle(self) -> tuple[Config, str, Server | None]:
        """Read the configuration, and start the embedded server if it says so."""
        from .config import EMBEDDED, resolve

        config = resolve(*self._arguments)
        if config.base_url != EMBEDDED:
            return config, config.base_url, None
        from . import _embedded

        server = _embedded.ensure()
        return config, f"unix://{server.socket_path}", server

    def _connect(self, more_modules: Iterable[str] = ()) -> Connection:
        config, url, server = self._settle()
        from ._connection import Connection

        for module in (*_FOR_THE_VERBS, *more_modules):
            import_module(module)
        # Without a lock, since a fork would copy it locked: of two threads the first one's stays.
        made = Connection(
            url,
            api_key=config.api_key,
            timeout=config.timeout,
            server=server,
            retry=self._retry,
            transport=self._transport,
        )
        found = self._connections.setdefault(url, made)
        self.current = found
        return found


class Caller:
    """Runs operations in both worlds; those of an *awaited* object should not block a loop."""

    def __init__(self, connector: Connector, *, awaited: bool) -> None:
        self.connector = connector
        self._awaited = awaited

    def run(
        self,
        operation: Callable[Concatenate[IO, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run *operation* to its end, here and now."""
        if self._awaited:
            warn_blocking()
        return run(operation(self._connect().blocking(), *args, **kwargs))

    async def arun(
        self,
        operation: Callable[Concatenate[IO, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run *operation* on the event loop."""
        connection = await self._aconnect()
        return await operation(await connection.waiting(), *args, **kwargs)

    def iterate(
        self,
        operation: Callable[Concatenate[IO, P], AsyncGenerator[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Generator[T]:
        """Iterate over what *operation* yields, here and now."""
        if self._awaited:
            warn_blocking()
        return iterate(operation(self._connect().blocking(), *args, **kwargs))

    async def aiterate(
        self,
        operation: Callable[Concatenate[IO, P], AsyncGenerator[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncGenerator[T]:
        """Iterate over what *operation* yields, on the event loop."""
        connection = await self._aconnect()
        async with aclosing(operation(await connection.waiting(), *args, **kwargs)) as items:
            async for item in items:
                yield item

    def _connect(self) -> Connection:
        return self.connector.connection()

    async def _aconnect(self) -> Connection:
        return await self.connector.aconnection()


class Link(Caller):
    """One sandbox's `Caller`: bound to the server that it was made on, until it is destroyed."""

    def __init__(self, connector: Connector, sandbox_id: str, *, awaited: bool) -> None:
        super().__init__(connector, awaited=awaited)
        self.sandbox_id = sandbox_id
        self.destroyed = False
        self._connection = connector.current

    @property
    def base_url(self) -> str:
        """Where the sandbox is; settles it, if no verb has done so."""
        return self._connect().base_url

    def _connect(self) -> Connection:
        self._check()
        if self._connection is None:
            self._connection = super()._connect()
        return self._connection

    async def _aconnect(self) -> Connection:
        self._check()
        if self._connection is None:
            self._connection = await super()._aconnect()
        return self._connection

    def _check(self) -> None:
        if not self.destroyed and not self.connector.closed:
            return
        from .errors import ClientClosedError, SandboxDestroyedError

        if self.destroyed:
            raise SandboxDestroyedError(f"sandbox {self.sandbox_id} was destroyed")
        raise ClientClosedError("the client of this sandbox is closed; make another one")
