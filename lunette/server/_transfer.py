"""What comes into a sandbox, or goes out of it, in many requests."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import ClassVar

from lunette.server._problems import Problem, as_problem
from lunette.server._run import seen

__all__ = ["NOT_FOUND", "Errors", "Transfer"]

logger = logging.getLogger(__name__)

# The code of each kind that is over, or never was.
NOT_FOUND = {"archive": "archive_not_found", "upload": "upload_not_found"}

Errors = Callable[[], AbstractContextManager[None]]
"""Turns what an engine raises into a Problem."""


class Transfer(abc.ABC):
    """One that a *request*, of which this is the fingerprint, began. After a *problem* it answers
    everything by that; when it *is_done* nothing can end it.
    """

    what: ClassVar[str]

    def __init__(self, request: bytes, errors: Errors) -> None:
        self.request = request
        self.problem: Problem | None = None
        self.is_done = False
        self.users = 0
        self._errors = errors
        self._opening = asyncio.create_task(self._opened())
        self._opening.add_done_callback(seen)
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_void(self) -> bool:
        """Whether it could not be begun."""
        opening = self._opening
        return opening.done() and (opening.cancelled() or opening.exception() is not None)

    async def ready(self) -> None:
        """Wait until the engine has begun it; raise what it came to."""
        await asyncio.wait([self._opening])
        self.check()

    def check(self) -> None:
        """Raise what it came to."""
        if self.problem is not None:
            raise self.problem.again()

    def end(self, problem: Problem) -> asyncio.Task[None] | None:
        """Answer by *problem* from now on, and return what leaves nothing of it."""
        if self.is_done:
            return None
        self.problem = problem.again()  # without the frames of its traceback
        if self._closing is None:
            self._closing = asyncio.create_task(self._close_opened())
            self._closing.add_done_callback(seen)
        return self._closing

    @contextlib.contextmanager
    def working(self) -> Generator[None]:
        """End with what goes wrong with the engine; raise what it has come to."""
        try:
            with self._errors():
                yield
        except Exception as error:
            problem = self.problem or self._final(as_problem(error))
            if self.problem is None:
                self.end(problem)
            if problem.status == 500:
                logger.error("a transfer failed", exc_info=error)
            raise problem.again() from error

    def _final(self, problem: Problem) -> Problem:
        """Return what stays true of one that was begun: it does not go on later."""
        if problem.code != "no_capacity" or not self._opening.done():
            return problem
        return Problem(404, NOT_FOUND[self.what], f"the {self.what} failed: {problem.detail}")

    async def _opened(self) -> None:
        with self.working():
            await self._open()

    async def _close_opened(self) -> None:
        self._opening.cancel()
        await asyncio.wait([self._opening])
        with contextlib.suppress(Problem), self._errors():  # the sandbox may be gone
            await self._close()

    @abc.abstractmethod
    async def _open(self) -> None:
        """Have the engine begin."""

    @abc.abstractmethod
    async def _close(self) -> None:
        """Give back what the engine holds for it, if it has begun."""
