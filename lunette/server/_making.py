"""How sandboxes are made: who waits for an image, and how many at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from lunette.server._load import STARTING_SANDBOXES, WAITING_SANDBOXES, Gate
from lunette.server._problems import Problem, host_problem
from lunette.server._sandbox import Sandbox
from lunette.server.engines.protocol import Engine, Handle
from lunette.server.images.image import Progress

__all__ = ["CLOSING", "Making"]

logger = logging.getLogger(__name__)

CLOSING = "the server is closing"


class Making:
    """Makes sandboxes by an engine, unless *check_open* raises that no more begin."""

    def __init__(self, check_open: Callable[[], None]) -> None:
        self._check_open = check_open
        self.starting = Gate(STARTING_SANDBOXES, "sandboxes that are being made")
        self._waiting = Gate(WAITING_SANDBOXES, "sandboxes that wait for an image")
        # Who has waited for an image waits on for its turn.
        self._turns = asyncio.Semaphore(STARTING_SANDBOXES)

    async def make(self, engine: Engine, sandbox: Sandbox) -> Handle:
        """Make a sandbox, perhaps of an image that has to be pulled first."""
        spec = sandbox.spec.sandbox
        try:
            if spec.image in engine.capabilities.images:
                with self.starting.entered():
                    await self._prepare(engine, sandbox)
                    return await engine.create(spec)
            with self._waiting.entered():
                await self._prepare(engine, sandbox)
            async with self._turns:
                return await engine.create(spec)
        except OSError as error:  # of the host: inside there is nothing yet
            logger.exception("[%s] could not be made", sandbox.id)
            raise host_problem(error) from error

    async def _prepare(self, engine: Engine, sandbox: Sandbox) -> None:
        """Get what takes long; a DELETE meanwhile ends it."""

        def report(progress: Progress) -> None:
            if sandbox.preparing is not None:
                sandbox.progress = progress

        if sandbox.destruction is not None:
            raise sandbox.gone()
        self._check_open()
        preparing = engine.prepare(sandbox.spec.sandbox, report)
        sandbox.preparing = asyncio.create_task(preparing)
        try:
            await sandbox.preparing
        except asyncio.CancelledError:
            if sandbox.destruction is not None:
                raise sandbox.gone() from None
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise Problem(503, "engine_unavailable", CLOSING) from None
        finally:
            sandbox.progress = sandbox.preparing = None
