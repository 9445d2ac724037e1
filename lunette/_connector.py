"""Which server the verbs of a client call, settled when the first of them is called.

Nothing here imports httpx before that: where no server is configured, one is started first, and
starts while this process imports the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from importlib import import_module
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ._io import CLEANUP_SECONDS, IO, off_loop, run, warn_blocking

if TYPE_CHECKING:
    from ._connection import Connection, Server
    from ._io import AsyncIO, BlockingIO
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
    "lunette_api.api.sandboxes.create_sandbox",
    "lunette_api.api.sandboxes.delete_sandbox",
    "lunette_api.api.commands.exec_command",
    "lunette_api.api.commands.kill_process",
    "lunette_api.api.files.download_file",
    "lunette_api.api.files.upload_file",
)


class Connector:
    """How one client, in both its forms, gets to its server."""

    def __init__(self, api_key: str | None, base_url: str | None, timeout: float | None) -> None:
        self._arguments = (api_key, base_url, timeout)
        if any(argument is not None for argument in self._arguments):
            from .config import check_arguments

            check_arguments(*self._arguments)
        self.closed = False
        self.current: Connection | None = None
        self._connections: dict[object, Connection] = {}

    def blocking(self) -> BlockingIO:
        """Return the blocking world, over the server of now."""
        return (self._ready() or self._connect()).blocking()

    async def waiting(self) -> AsyncIO:
        """Return the world of the event loop that runs, over the server of now."""
        connection = self._ready()
        if connection is None:
            connection = await off_loop(self._connect)
        return await connection.waiting()

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
        if self._ready() is None:
            await off_loop(self._connect)

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

    def _connect(self) -> Connection:
        config, url, server = self._settle()
        from ._connection import Connection

        for module in _FOR_THE_VERBS:
            import_module(module)
        # Without a lock, since a fork would copy it locked: of two threads the first one's stays.
        made = Connection(url, api_key=config.api_key, timeout=config.timeout, server=server)
        self.current = self._connections.setdefault(url, made)
        return self.current


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
        return run(operation(self._blocking(), *args, **kwargs))

    async def arun(
        self,
        operation: Callable[Concatenate[IO, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run *operation* on the event loop."""
        return await operation(await self._waiting(), *args, **kwargs)

    async def shielded(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        """Run a *cleanup* that outlives a cancellation, for a while."""
        async with (await self._waiting()).shielded(CLEANUP_SECONDS):
            await cleanup()

    def _blocking(self) -> BlockingIO:
        return self.connector.blocking()

    async def _waiting(self) -> AsyncIO:
        return await self.connector.waiting()


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
        return self._blocking().connection.base_url

    def _blocking(self) -> BlockingIO:
        self._check()
        if self._connection is not None:
            return self._connection.blocking()
        io = super()._blocking()
        self._connection = io.connection
        return io

    async def _waiting(self) -> AsyncIO:
        self._check()
        if self._connection is not None:
            return await self._connection.waiting()
        io = await super()._waiting()
        self._connection = io.connection
        return io

    def _check(self) -> None:
        if not self.destroyed and not self.connector.closed:
            return
        from .errors import ClientClosedError, SandboxDestroyedError

        if self.destroyed:
            raise SandboxDestroyedError(f"sandbox {self.sandbox_id} was destroyed")
        raise ClientClosedError("the client of this sandbox is closed; make another one")
