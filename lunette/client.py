"""The client: makes sandboxes, finds them and stops them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import _leftovers
from ._connector import Caller, Connector
from ._io import DONE
from ._loops import off_loop
from .images import Images

if TYPE_CHECKING:
    from os import PathLike

    from ._compose_service import ComposeService
    from ._connection import Transport
    from ._progress import ShowProgress
    from ._retry import RetryPolicy
    from .results import SandboxInfo, StopResult
    from .sandbox import AsyncSandbox, Sandbox

    Spec = ComposeService | Mapping[str, Any] | str | PathLike[str]

__all__ = ["AsyncLunetteClient", "LunetteClient"]


class LunetteClient:
    """Makes sandboxes, on the server that is configured or else on this machine.

    *base_url* is `https://...`, `unix:///path` or `embedded`; *timeout* is the seconds that one
    HTTP request may take; what takes longer, such as a command, is asked for again. *retry* says
    how often a request that cannot do anything twice is sent again. *transport* is how requests
    travel: `"aiohttp"` (of the extra `lunette-sandbox[aiohttp]`, for asyncio) is the fastest for
    hundreds at once; a transport of httpx's is used for the verbs that block, or for those that
    are awaited, or both, as it is made for.

    Nothing is read, started or sent before the first verb. Opened by `with`, its verbs block and
    those that begin with an `a` are awaited; `async with LunetteClient() as client` gives an
    `AsyncLunetteClient`.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        *,
        retry: RetryPolicy | None = None,
        transport: Transport = None,
    ) -> None:
        self._share(Connector(api_key, base_url, timeout, retry=retry, transport=transport))

    def _share(self, connector: Connector) -> None:
        self._connector = connector
        self._caller = Caller(connector, awaited=isinstance(self, AsyncLunetteClient))
        self.images = Images(connector, self._caller)
        self._opened_async = False

    def create_sandbox(
        self,
        spec: Spec,
        /,
        *,
        service: str | None = None,
        ttl: float | None = None,
        idle_timeout: float | None = None,
        progress: ShowProgress = False,
    ) -> Sandbox:
        """Make a sandbox from a Compose service such as `{"image": "python:3.11-slim"}`.

        *spec* may also be the path of a Compose file, or of a folder with one or with a Dockerfile;
        where it has several services, *service* names the one that is meant. Paths in a Compose
        file start at its folder, those in a mapping here. *progress* is for an image that has to be
        pulled: `True` shows a bar, a function is told the bytes done and in all.

        The server destroys it *ttl* seconds after it was made, and after *idle_timeout* seconds
        without a request or an open stream, whatever runs in it; a server has its own of both,
        which these can only shorten. `sandbox.extend` lets it live longer. One that was not
        destroyed when this process ends is then, with a ResourceWarning, unless it was detached.
        """
        self._refuse_async("create_sandbox")
        self._connector.begin()
        from ._operations import sandboxes
        from ._progress import shown
        from .service import read

        wanted = read(spec, service)
        with shown(progress) as report:
            sandbox_id = self._caller.run(
                sandboxes.create, wanted, report, ttl=ttl, idle_timeout=idle_timeout
            )
        return self._made(sandbox_id, wanted.service)

    async def acreate_sandbox(
        self,
        spec: Spec,
        /,
        *,
        service: str | None = None,
        ttl: float | None = None,
        idle_timeout: float | None = None,
        progress: ShowProgress = False,
    ) -> Sandbox:
        """Make a sandbox from a Compose service such as `{"image": "python:3.11-slim"}`.

        *spec* may also be the path of a Compose file, or of a folder with one or with a Dockerfile;
        where it has several services, *service* names the one that is meant. Paths in a Compose
        file start at its folder, those in a mapping here. *progress* is for an image that has to be
        pulled: `True` shows a bar, a function is told the bytes done and in all.

        The server destroys it *ttl* seconds after it was made, and after *idle_timeout* seconds
        without a request or an open stream, whatever runs in it; a server has its own of both,
        which these can only shorten. `sandbox.extend` lets it live longer. One that was not
        destroyed when this process ends is then, with a ResourceWarning, unless it was detached.
        """
        await self._connector.abegin()
        from ._operations import sandboxes
        from ._progress import shown
        from .service import read, reads_files

        if reads_files(spec):
            wanted = await off_loop(lambda: read(spec, service))
        else:
            wanted = read(spec, service)
        with shown(progress) as report:
            sandbox_id = await self._caller.arun(
                sandboxes.create, wanted, report, ttl=ttl, idle_timeout=idle_timeout
            )
        return self._made(sandbox_id, wanted.service)

    def get_sandbox(self, sandbox_id: str) -> Sandbox:
        """Find a sandbox by its id."""
        self._connector.begin()
        from ._operations import sandboxes

        info = self._caller.run(sandboxes.get, sandbox_id)
        return self._sandbox(info.sandbox_id, info.service)

    async def aget_sandbox(self, sandbox_id: str) -> Sandbox:
        """Find a sandbox by its id."""
        await self._connector.abegin()
        from ._operations import sandboxes

        info = await self._caller.arun(sandboxes.get, sandbox_id)
        return self._sandbox(info.sandbox_id, info.service)

    def list_sandboxes(self) -> list[SandboxInfo]:
        """Look at every sandbox that the key can see, the oldest first."""
        self._connector.begin()
        from ._operations import sandboxes

        return self._caller.run(sandboxes.list_all)

    async def alist_sandboxes(self) -> list[SandboxInfo]:
        """Look at every sandbox that the key can see, the oldest first."""
        await self._connector.abegin()
        from ._operations import sandboxes

        return await self._caller.arun(sandboxes.list_all)

    def stop_sandboxes(self, sandbox_ids: Iterable[str]) -> StopResult:
        """Destroy many sandboxes, and say which could not be."""
        self._refuse_async("stop_sandboxes")
        self._connector.begin()
        from ._operations import sandboxes

        return self._caller.run(sandboxes.stop, sandbox_ids)

    async def astop_sandboxes(self, sandbox_ids: Iterable[str]) -> StopResult:
        """Destroy many sandboxes, and say which could not be."""
        await self._connector.abegin()
        from ._operations import sandboxes

        return await self._caller.arun(sandboxes.stop, sandbox_ids)

    def close(self) -> Awaitable[None]:
        """Close the connections; no sandbox ends by that."""
        self._connector.close()
        return DONE

    async def aclose(self) -> None:
        """Close the connections; no sandbox ends by that."""
        await self._connector.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connector.close()

    async def __aenter__(self) -> AsyncLunetteClient:
        self._opened_async = True
        client = AsyncLunetteClient.__new__(AsyncLunetteClient)
        client._share(self._connector)
        return client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connector.aclose()

    def _made(self, sandbox_id: str, service: Mapping[str, Any]) -> Sandbox:
        _leftovers.note(sandbox_id, self._connector)
        return self._sandbox(sandbox_id, service)

    def _sandbox(self, sandbox_id: str, service: Mapping[str, Any]) -> Sandbox:
        from .sandbox import Sandbox

        return Sandbox(self, sandbox_id, service)

    def _refuse_async(self, verb: str) -> None:
        if not self._opened_async:
            return
        raise RuntimeError(
            f"{verb}() of a client that `async with` opened would block the event loop: write"
            " `async with LunetteClient() as client` and use that client"
        )


class AsyncLunetteClient(LunetteClient):
    """A `LunetteClient` for asynchronous code: every verb that makes or ends something is awaited.

    `async with LunetteClient() as client` gives one.
    """

    # Not what a `LunetteClient` promises, and meant so: these two follow the `with` of the client,
    # and a type checker that knows the class finds a forgotten `await`.
    async def create_sandbox(  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        spec: Spec,
        /,
        *,
        service: str | None = None,
        ttl: float | None = None,
        idle_timeout: float | None = None,
        progress: ShowProgress = False,
    ) -> AsyncSandbox:
        """Make a sandbox from a Compose service such as `{"image": "python:3.11-slim"}`.

        *spec* may also be the path of a Compose file, or of a folder with one or with a Dockerfile;
        where it has several services, *service* names the one that is meant. Paths in a Compose
        file start at its folder, those in a mapping here. *progress* is for an image that has to be
        pulled: `True` shows a bar, a function is told the bytes done and in all.

        The server destroys it *ttl* seconds after it was made, and after *idle_timeout* seconds
        without a request or an open stream, whatever runs in it; a server has its own of both,
        which these can only shorten. `sandbox.extend` lets it live longer. One that was not
        destroyed when this process ends is then, with a ResourceWarning, unless it was detached.
        """
        return await self.acreate_sandbox(
            spec, service=service, ttl=ttl, idle_timeout=idle_timeout, progress=progress
        )

    async def stop_sandboxes(  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        self, sandbox_ids: Iterable[str]
    ) -> StopResult:
        """Destroy many sandboxes, and say which could not be."""
        return await self.astop_sandboxes(sandbox_ids)

    async def close(self) -> None:
        """Close the connections; no sandbox ends by that."""
        await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    if TYPE_CHECKING:
        # `Sandbox` gives an `AsyncSandbox` where the client is one of these.
        async def acreate_sandbox(
            self,
            spec: Spec,
            /,
            *,
            service: str | None = None,
            ttl: float | None = None,
            idle_timeout: float | None = None,
            progress: ShowProgress = False,
        ) -> AsyncSandbox: ...
        def get_sandbox(self, sandbox_id: str) -> AsyncSandbox: ...
        async def aget_sandbox(self, sandbox_id: str) -> AsyncSandbox: ...
