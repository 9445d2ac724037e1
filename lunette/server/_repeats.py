"""Requests that may come twice, since the answer to the first was lost: done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define, field

from lunette.server._problems import Problem, as_problem

__all__ = ["Repeats"]

Do = Callable[[], Coroutine[Any, Any, None]]

# As in openapi.yaml.
_KNOWN_KEYS = 1000


@define(eq=False)
class _Known:
    """A request, the *work* that it takes while it is done, and what it came to."""

    request: object
    work: asyncio.Task[None] | None = None
    problem: Problem | None = None


@define
class Repeats:
    """What was asked of one sandbox under an `Idempotency-Key`, the oldest first."""

    _known: dict[str, _Known] = field(factory=dict[str, _Known], init=False)

    async def once(self, key: str | None, request: object, do: Do) -> None:
        """Do what *request* asks for, or be told what became of that under the same *key*."""
        if key is None:
            await do()
        elif key in self._known:
            await self._again(key, request)
        else:
            work = self._begin(key, request, do)
            await asyncio.wait([work])
            work.result()

    async def _again(self, key: str, request: object) -> None:
        known = self._known[key]
        if known.request != request:
            detail = f"the key '{key}' belongs to another request"
            raise Problem(422, "key_reused", detail, key="Idempotency-Key")
        if known.work is not None:
            await asyncio.wait([known.work])
        if known.problem is not None:
            raise known.problem.again()

    def _begin(self, key: str, request: object, do: Do) -> asyncio.Task[None]:
        def done(task: asyncio.Task[None]) -> None:
            known.work, known.problem = None, _problem_of(task)
            if known.problem is not None and not _is_answer(known.problem):
                self._known.pop(key, None)

        known = self._known[key] = _Known(request)
        known.work = asyncio.create_task(do())
        known.work.add_done_callback(done)
        while len(self._known) > _KNOWN_KEYS:
            del self._known[next(iter(self._known))]
        return known.work


def _problem_of(task: asyncio.Task[None]) -> Problem | None:
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    return None if error is None else as_problem(error).again()  # without its frames


def _is_answer(problem: Problem) -> bool:
    """Say whether a repeat would come to the same: a server that could not may the next time."""
    return problem.status < 500
