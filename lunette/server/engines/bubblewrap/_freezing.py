"""Stopping all that runs in a sandbox: for a moment, to end some of it, or until it is resumed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from lunette.server.engines.bubblewrap._freezer import Freezer
from lunette.server.engines.bubblewrap._hunting import Hunting
from lunette.server.engines.bubblewrap._killing import Hunt
from lunette.server.engines.bubblewrap._threads import to_the_end
from lunette.server.engines.bubblewrap._worker import Worker
from lunette.server.engines.protocol import SandboxGoneError, SandboxPausedError

__all__ = ["Freezing"]

logger = logging.getLogger(__name__)

_FREEZE_SECONDS = 20.0
_HOLD_SECONDS = 2.0
_LOOK_SECONDS = 0.2
_MOST_WAKES = 4


class Freezing:
    """What is frozen, signalled and killed in the sandbox of *worker*; *hunting* is where it is
    worked at, *spawn* runs something until the sandbox goes.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        hunting: Hunting,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._worker = worker
        self._hunting = hunting
        self._spawn = spawn
        self._turn = asyncio.Lock()  # one freeze at a time
        self._doomed: dict[int, str] = {}  # who the next one ends: pid and marker
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._pause: Hunt | None = None
        self._watching: asyncio.Task[None] | None = None
        self._freezer: Freezer | None = None
        self._held = False

    @property
    def paused(self) -> bool:
        """Whether the sandbox is paused, or about to be."""
        return self._pause is not None

    def check(self) -> None:
        """Raise SandboxPausedError if the sandbox is paused."""
        if self.paused:
            self._worker.check()
            raise SandboxPausedError("the sandbox is paused: resume it first")

    async def thawed(self) -> None:
        """Wait until nothing is frozen any more; raise SandboxPausedError if that may last."""
        await self._thawed.wait()
        self.check()

    async def signal(self, pid: int, marker: str, number: int) -> None:
        """Signal a command and all that it started."""
        async with self._turn:  # a signal could undo a freeze
            self.check()
            await self._hunting.run(self._hunt({pid: marker}).signal, number)

    async def kill(self, pid: int, marker: str) -> None:
        """Kill a command and all that it started, also while the sandbox is paused."""
        self._doomed[pid] = marker
        async with self._turn:
            if pid not in self._doomed:  # the one before took it along
                return
            doomed, self._doomed = self._doomed, {}
            hunt = self._hunt(doomed)
            await self._hunting.run(hunt.before)
            # To stop it once more takes a process, of which it may have as many as it can.
            stopped = self._held or (self.paused and await self._hunting.run(hunt.is_frozen))
            # A command that is sent before the freeze is started before it: the worker does one
            # thing after the other. One that is sent later would not be frozen, so it waits.
            self._thawed.clear()
            try:
                failure = "a command could not be ended"
                await to_the_end(self._freeze(hunt.kill_and_thaw, failure, stopped=stopped))
            except SandboxGoneError:
                pass  # and the command with it
            finally:
                if not self.paused:
                    self._worker.signal_first(signal.SIGCONT)
                self._thawed.set()

    async def pause(self) -> None:
        """Freeze everything until `resume`; idempotent."""
        async with self._turn:
            self._worker.check()
            if not self.paused:
                await to_the_end(self._begin_pause())

    async def resume(self) -> None:
        """Let go on what `pause` has frozen; idempotent."""
        async with self._turn:
            self._worker.check()
            if self._pause is not None:
                await to_the_end(self._end_pause(self._pause))

    async def _begin_pause(self) -> None:
        hunt = self._pause = self._hunt({})  # from now on nothing begins
        await self._hunting.run(hunt.before)
        await self._freeze(hunt.freeze, "it could not be paused")
        self._worker.check()
        self._held = await self._hunting.run(self._hold, hunt)
        if not self._held:
            self._watching = self._spawn(self._watch(hunt))

    def _hold(self, hunt: Hunt) -> bool:
        """Let nothing run that wakes; False where there are no control groups for it."""
        freezer = self._freezer or self._hunting.freezers.freezer(self._worker.pid1)
        if freezer is None:
            return False
        self._freezer = freezer
        try:
            if hunt.hold(freezer, _HOLD_SECONDS):
                return True
        except OSError as error:
            logger.warning("a control group does not hold what is paused: %s", error)
        with contextlib.suppress(OSError):  # what it has taken so far; `resume` tries again
            freezer.let_go()
        return False

    def _let_go(self) -> None:
        if self._freezer is not None:
            self._freezer.let_go()
        self._held = False

    def close(self) -> None:
        """Give back what a pause took, when nothing lives any more; blocking."""
        if self._freezer is not None:
            self._freezer.close()

    async def _end_pause(self, hunt: Hunt) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await self._hunting.run(self._let_go)
        if not await self._hunting.run(hunt.thaw, _FREEZE_SECONDS):
            self._worker.fail("it could not be resumed")
        self._worker.check()
        self._worker.signal_first(signal.SIGCONT)
        self._pause = None

    async def _watch(self, hunt: Hunt) -> None:
        """Freeze again what moves in a paused sandbox, since nothing holds it, see `Freezer`."""
        wakes = 0
        with contextlib.suppress(SandboxGoneError):
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                async with self._turn:
                    if await self._hunting.run(hunt.is_frozen):
                        continue
                    wakes += 1
                    if wakes > _MOST_WAKES:
                        self._worker.fail("it does not stay paused, but wakes itself")
                    await self._freeze(hunt.freeze, "it does not stay paused")

    def _hunt(self, markers: Mapping[int, str]) -> Hunt:
        return Hunt(
            markers=markers,
            root=self._worker.pid,
            pid1=self._worker.pid1,
            reserve=self._hunting.reserve,
            paused=self.paused,
            held=self._held,
        )

    async def _freeze(
        self, then: Callable[[float], bool], failure: str, *, stopped: bool = False
    ) -> None:
        """Stop everything, unless it is *stopped*, and do *then*; where that does not succeed, the
        sandbox fails.
        """
        done = False
        try:
            if stopped or await self._stop():
                done = await self._hunting.run(then, _FREEZE_SECONDS)
        finally:
            if not done:  # nothing stays frozen: with its first process all of it dies
                self._worker.fail(failure)

    async def _stop(self) -> bool:
        """Send SIGSTOP to everything, at once; False if that cannot be done."""
        # Beside a fork storm, the one fork that it takes needs seconds.
        answer, _ = await self._worker.ask({"op": "freeze"}, deadline=_FREEZE_SECONDS)
        self._worker.signal_first(signal.SIGSTOP)
        return bool(answer.get("frozen"))
