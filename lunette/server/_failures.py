"""Why sandboxes could not be made, for those who ask later."""

from __future__ import annotations

import asyncio

from lunette.server._problems import Problem

__all__ = ["Failures"]

# As in openapi.yaml.
_SECONDS = 3600.0
_MOST = 1000


class Failures:
    """The problems of the sandboxes that are not there because of them; the oldest first."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Problem, float]] = {}

    def note(self, sandbox_id: str, problem: Problem) -> None:
        """Remember why *sandbox_id* could not be made."""
        self._known[sandbox_id] = problem, _now() + _SECONDS

    def check(self, sandbox_id: str) -> None:
        """Raise the problem of *sandbox_id*, if it had one."""
        if sandbox_id in self._known:
            raise self._known[sandbox_id][0].again()

    def forget(self, sandbox_id: str) -> None:
        """Forget what was: it is tried again."""
        self._known.pop(sandbox_id, None)

    def forget_the_old(self) -> None:
        """Forget what nobody may ask for any more."""
        now = _now()
        while self._known:
            oldest = next(iter(self._known))
            if self._known[oldest][1] > now and len(self._known) <= _MOST:
                return
            del self._known[oldest]


def _now() -> float:
    return asyncio.get_running_loop().time()
