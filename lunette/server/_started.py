"""A process that was started to live on by itself: it is followed, written to and signalled."""

from __future__ import annotations

import asyncio
from typing import Any

from attrs import define, evolve, field

from lunette.server._input import Input
from lunette.server._log import Log
from lunette.server._problems import Problem, as_problem
from lunette.server._pump import with_output
from lunette.server._run import Run, seen
from lunette.server.engines.protocol import Process
from lunette.server.output import Outcome

__all__ = ["Started"]

# As in openapi.yaml.
_KNOWN_SIGNALS = 64


def _future() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(seen)
    return future


@define(eq=False)
class Started(Run):
    """A process from its request to the end of its key; *log* is what it writes."""

    log: Log = field(kw_only=True)
    input: Input = field(kw_only=True)
    name: str | None = field(kw_only=True)
    takes_input: bool = field(kw_only=True)
    has_terminal: bool = field(kw_only=True)
    output_limit: int = field(kw_only=True)
    ending: Outcome | None = field(default=None, init=False)  # without what it wrote
    problem: Problem | None = field(default=None, init=False)
    _ready: asyncio.Future[None] = field(factory=_future, init=False)
    _signals: dict[str, None] = field(factory=dict[str, None], init=False)

    @property
    def is_over(self) -> bool:
        return self.ending is not None or self.problem is not None

    def describe(self) -> dict[str, Any]:
        found = {
            **super().describe(),
            "state": "ended" if self.is_over else "running",
            "tty": self.has_terminal,
            "started": True,
            "input_offset": self.input.offset,
            "output_offset": self.log.end,
        }
        if self.name is not None:
            found["name"] = self.name
        if self.ending is not None:
            found["exit_code"] = self.ending.exit_code
        return found

    async def ready(self) -> None:
        """Wait until the process has started; raise why it could not."""
        await asyncio.shield(self._ready)

    async def started(self, process: Process) -> None:
        self.input.open(process)
        self.is_ready()
        await super().started(process)

    def is_ready(self) -> None:
        """Tell who waits that there is nothing more to wait for."""
        if not self._ready.done():
            self._ready.set_result(None)
            self.log.readers.expect_first()

    async def outcome(self, wait: float | None) -> Outcome | None:
        if wait == 0:
            return await super().outcome(wait)
        with self.log.awaited():
            return await super().outcome(wait)

    async def with_output(self, outcome: Outcome) -> Outcome:
        """Return *outcome* with what the process wrote."""
        return await with_output(outcome, self.log, self.output_limit)

    async def outcome_again(self) -> Outcome | None:
        """Return the outcome once more, for as long as there is a log to make it from."""
        if self.ending is None or self.log.is_dropped:
            return None
        return await self.with_output(self.ending)

    def end(self, outcome: Outcome) -> None:
        super().end(outcome)
        self.ending = evolve(outcome, stdout=b"", stderr=b"")
        self.is_ready()
        self._close()

    def fail(self, error: BaseException) -> None:
        super().fail(error)
        self.problem = as_problem(error).again()  # without the frames of its traceback
        if not self._ready.done():
            self._ready.set_exception(self.problem.again())
        self._close()

    async def signal(self, number: int, key: str | None) -> None:
        """Send a signal, once for each *key*."""
        if key is not None and key in self._signals:
            return
        if key is not None:
            self._signals[key] = None
            while len(self._signals) > _KNOWN_SIGNALS:
                del self._signals[next(iter(self._signals))]
        try:
            if self.process is not None:
                await self.process.signal(number)
        except BaseException:
            if key is not None:
                self._signals.pop(key, None)
            raise

    def _close(self) -> None:
        self._ended = None  # which holds all that the process wrote
        self.input.close()
        self.log.finish()
