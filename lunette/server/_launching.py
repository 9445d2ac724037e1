"""The engine, which starts in the background while the first requests come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from lunette.server._problems import Problem
from lunette.server.engines.protocol import Engine, EngineUnavailableError

__all__ = ["Launching"]

logger = logging.getLogger(__name__)

# What was in the way may be over: who comes after so many seconds has it launched once more.
_AGAIN_SECONDS = 5.0


class Launching:
    """What becomes of *launch*: an engine, which *ready* is told, or why there is none."""

    def __init__(
        self, launch: Callable[[], Awaitable[Engine]], ready: Callable[[Engine], None]
    ) -> None:
        self._launch = launch
        self._ready = ready
        self._task: asyncio.Task[Problem | None] | None = None
        self._begun_at = 0.0
        self._closed = False
        self.engine: Engine | None = None

    @property
    def has_begun(self) -> bool:
        return self._task is not None

    def begin(self) -> None:
        """Launch the engine in the background."""
        self._begun_at = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Launch no other engine, and wait until there is one, or will be none."""
        self._closed = True
        if self._task is not None:
            await self._task

    async def wait(self) -> Engine:
        """Return the engine when it is ready; raise why it cannot be."""
        if self.engine is not None:
            return self.engine
        if self._task is None:
            raise Problem(503, "engine_unavailable", "the server is not started")
        if self._task.done() and self._is_time() and not self._closed:
            self.begin()
        problem = await asyncio.shield(self._task)
        if problem is not None:
            raise problem.again()
        assert self.engine is not None
        return self.engine

    def _is_time(self) -> bool:
        """Whether one that failed may be tried again."""
        return asyncio.get_running_loop().time() - self._begun_at > _AGAIN_SECONDS

    async def _run(self) -> Problem | None:
        try:
            self.engine = await self._launch()
        except EngineUnavailableError as error:
            logger.error("the engine cannot start: %s", error)
            return Problem(503, "engine_unavailable", str(error))
        except Exception as error:
            logger.exception("the engine failed to start")
            detail = f"the engine failed to start: {type(error).__name__}: {error}"
            return Problem(503, "engine_unavailable", detail)
        self._ready(self.engine)
        return None
