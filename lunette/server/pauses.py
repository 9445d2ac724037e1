"""Sandboxes that are paused and resumed, and what they use: the rest of the tag `sandboxes`."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
from starlette.requests import Request
from starlette.responses import Response

from lunette.server import _contract
from lunette.server._json import answer
from lunette.server._resource import Resource
from lunette.server._run import seen
from lunette.server.engines.protocol import State, Status
from lunette.server.registry import Registry

__all__ = ["Pauses"]


class Pauses:
    """Pause and resume sandboxes, and measure them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._changing: set[asyncio.Task[None]] = set()

    def resources(self) -> dict[str, Resource]:
        """Return the paths."""
        return {
            "/sandboxes/{sandbox_id}/pause": Resource(PUT=self._pause, DELETE=self._resume),
            "/sandboxes/{sandbox_id}/stats": Resource(GET=self._stats),
        }

    async def _pause(self, request: Request) -> Response:
        _contract.check_parameters("pause_sandbox", request.path_params)
        await self._change(request, State.PAUSED)
        return Response(status_code=204)

    async def _resume(self, request: Request) -> Response:
        _contract.check_parameters("resume_sandbox", request.path_params)
        await self._change(request, State.RUNNING)
        return Response(status_code=204)

    async def _change(self, request: Request, wanted: State) -> None:
        """Do it in a task: who leaves meanwhile must not leave a sandbox between the two."""
        task = asyncio.create_task(self._become(request.path_params["sandbox_id"], wanted))
        self._changing.add(task)
        task.add_done_callback(self._changing.discard)
        task.add_done_callback(seen)
        await asyncio.shield(task)

    async def _become(self, sandbox_id: str, wanted: State) -> None:
        engine, sandbox, handle = await self._registry.living(sandbox_id)
        with self._registry.work_in(sandbox):
            async with sandbox.pausing:
                before = sandbox.status
                change = engine.pause if wanted is State.PAUSED else engine.resume
                await change(handle)
                if sandbox.status is before:  # else it has ended meanwhile
                    sandbox.status = Status(state=wanted)

    async def _stats(self, request: Request) -> Response:
        _contract.check_parameters("get_stats", request.path_params)
        engine, sandbox, handle = await self._registry.living(request.path_params["sandbox_id"])
        with self._registry.work_in(sandbox):
            found: dict[str, Any] = attrs.asdict(await engine.stats(handle))
        return answer({name: value for name, value in found.items() if value is not None})
