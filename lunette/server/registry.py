"""The sandboxes of this server: their ids, their states, and what is remembered of the gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any

from lunette.server._draining import Draining
from lunette.server._failures import Failures
from lunette.server._launching import Launching
from lunette.server._lifetimes import ENDLESS, Lifetime, Lifetimes, Reaper
from lunette.server._making import CLOSING, Making
from lunette.server._problems import (
    Problem,
    as_problem,
    file_errors,
    gone,
    gone_code,
    paused,
)
from lunette.server._run import seen
from lunette.server._sandbox import ENDED, Sandbox
from lunette.server.engines.protocol import (
    Engine,
    Handle,
    SandboxGoneError,
    State,
    Status,
)
from lunette.server.runs import Runs
from lunette.server.spec import ServiceSpec
from lunette.server.store import KEY_SECONDS, Store

__all__ = ["Registry", "Sandbox"]

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 20.0
_CHECKPOINT_SECONDS = 5.0
_EXPIRE_AGAIN_SECONDS = 10.0

_CLOSED = Status(state=State.LOST, reason="the server stopped")


class Registry:
    """Ids and states; the engine below does the work, and *store* remembers what was.

    *launch* starts the engine in the background: a request that needs it waits for it. No sandbox
    lives longer than *lifetimes*, unless it is extended.
    """

    def __init__(
        self,
        launch: Callable[[], Awaitable[Engine]],
        store: Store,
        *,
        lifetimes: Lifetimes = ENDLESS,
    ) -> None:
        self._launching = Launching(launch, lambda engine: self._run(self._follow(engine)))
        self.store = store
        self.lifetimes = lifetimes
        self._reaper = Reaper(self._expire)
        self._making = Making(self._check_open)
        self.draining = Draining()
        self._closing = False
        self._sandboxes: dict[str, Sandbox] = {}
        # Sandboxes that ended by themselves, and until when it is said how; the oldest first.
        self._ended_until: dict[str, float] = {}
        self._failures = Failures()
        self._background: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to start the engine, once."""
        if self._launching.has_begun:
            return
        self._launching.begin()
        self._run(self._checkpoints())

    async def aclose(self) -> None:
        """Destroy every sandbox, in bounded time."""
        if not self._launching.has_begun:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                # An engine that is half started is hard to stop; this takes less than a second.
                await self._launching.close()
                self._closing = True
                self._reaper.close()
                for task in self._background:
                    task.cancel()
                for sandbox in self._sandboxes.values():
                    if sandbox.preparing is not None:
                        sandbox.preparing.cancel()
                    sandbox.end_transfers(self._gone(sandbox))
                if self._launching.engine is not None:
                    await self._launching.engine.aclose()
                for sandbox in [*self._sandboxes.values()]:  # some go meanwhile
                    await sandbox.transfers_ended()
        except TimeoutError:
            logger.error("the engine did not close in %d seconds", _CLOSE_SECONDS)

    async def engine(self) -> Engine:
        """Return the engine when it is ready."""
        return self._launching.engine or await self._launching.wait()

    def all(self) -> Iterable[Sandbox]:
        """Return the sandboxes that are there, the oldest first."""
        return [s for s in self._sandboxes.values() if s.status.state not in ENDED]

    def get(self, sandbox_id: str) -> Sandbox:
        """Return a sandbox in whatever state; raise the 410 or 404 of one that is not there."""
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is not None and sandbox.destruction is None:
            return sandbox
        if sandbox is not None:
            raise sandbox.gone()
        self._check_not_gone(sandbox_id)
        raise Problem(404, "sandbox_not_found", f"there is no sandbox '{sandbox_id}'")

    def runs(self, sandbox_id: str) -> Runs:
        """Return the commands of a sandbox, also of one that an earlier server lost; raise the 410
        or 404 of any other that is not there.
        """
        if sandbox_id not in self._sandboxes and self.store.gone_code(sandbox_id) == "sandbox_lost":
            return Runs(self.store, sandbox_id, of_before=True)
        return self.get(sandbox_id).runs

    async def running(self, sandbox_id: str) -> tuple[Engine, Sandbox, Handle]:
        """Return a sandbox that takes commands and files; one that is being made is waited for."""
        engine, sandbox, handle = await self.living(sandbox_id)
        if sandbox.status.state is State.PAUSED:
            raise paused(sandbox_id)
        return engine, sandbox, handle

    async def living(self, sandbox_id: str) -> tuple[Engine, Sandbox, Handle]:
        """As `running`, but it may be paused."""
        sandbox = self.get(sandbox_id)
        if sandbox.handle is None and sandbox.creation is not None:
            await asyncio.wait([sandbox.creation])
            sandbox = self.get(sandbox_id)
        if sandbox.handle is None or sandbox.status.state not in (State.RUNNING, State.PAUSED):
            raise gone(sandbox_id, sandbox.status)
        return await self.engine(), sandbox, sandbox.handle

    async def settled(self, sandbox_id: str, wait: float) -> Sandbox:
        """Return a sandbox that is not being made any more, or as it is after *wait* seconds;
        raise why it could not be made.
        """
        if sandbox_id not in self._sandboxes:
            self._failures.check(sandbox_id)
        sandbox = self.get(sandbox_id)
        await _wait_for_creation(sandbox, wait)
        return self.get(sandbox_id)

    async def create(
        self, spec: ServiceSpec, lifetimes: Lifetimes = ENDLESS, *, wait: float | None = None
    ) -> tuple[Sandbox, bool]:
        """Make a sandbox, or join or return the one of this id; say whether it is new.

        After *wait* seconds it is returned as it is.
        """
        lifetimes = lifetimes.within(self.lifetimes)
        engine = await self.engine()
        self._forget_the_old()
        sandbox_id = spec.sandbox.id
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            self._check_not_gone(sandbox_id)
        if sandbox is not None and not sandbox.is_of(spec, lifetimes):
            detail = f"sandbox '{sandbox_id}' has another specification"
            raise Problem(422, "key_reused", detail, key="sandbox_id")
        is_new = sandbox is None
        if sandbox is None:
            self._check_open()
            self._making.starting.check()
            self._failures.forget(sandbox_id)
            sandbox = Sandbox(spec, Runs(self.store, sandbox_id), Lifetime(lifetimes))
            sandbox.creation = asyncio.create_task(self._make(engine, sandbox))
            sandbox.creation.add_done_callback(seen)  # who asked may have been told by a 202
            self._sandboxes[sandbox_id] = sandbox
        await self._made(sandbox, wait)
        return sandbox, is_new

    async def destroy(self, sandbox_id: str) -> None:
        """Destroy a sandbox; an id that never was cannot be used any more."""
        self._forget_the_old()
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            if self.store.gone_code(sandbox_id) == "sandbox_lost":
                self.store.forget_commands(sandbox_id)  # an earlier server's
            self.store.sandbox_gone(sandbox_id, "sandbox_destroyed")
            return
        if sandbox.destruction is None:
            sandbox.destruction = asyncio.create_task(self._end(sandbox))
        await asyncio.shield(sandbox.destruction)

    def extend(self, sandbox_id: str, seconds: float) -> Sandbox:
        """Let a sandbox live *seconds* from now at least."""
        sandbox = self.get(sandbox_id)
        if sandbox.is_going:
            raise self._gone(sandbox)
        sandbox.lifetime.extend(seconds)
        return sandbox

    def lifetime(self, sandbox_id: str) -> Lifetime | None:
        """Return that of a sandbox which is there."""
        sandbox = self._sandboxes.get(sandbox_id)
        return None if sandbox is None else sandbox.lifetime

    def knows(self, sandbox_id: str) -> bool:
        """Say whether there is or was a sandbox of this id."""
        return sandbox_id in self._sandboxes or self.store.gone_code(sandbox_id) is not None

    @contextlib.contextmanager
    def work_in(self, sandbox: Sandbox) -> Generator[None]:
        """Turn what breaks since the sandbox is gone, or about to go, into its 410."""
        try:
            yield
        except SandboxGoneError as error:
            raise self._ended(sandbox, error) from error
        except OSError as error:
            if not sandbox.is_going and not self._closing:
                raise
            raise self._gone(sandbox) from error

    @contextlib.contextmanager
    def files_of(self, sandbox: Sandbox) -> Generator[None]:
        """As `work_in`, and turn the error of a file into its problem."""
        with self.work_in(sandbox), file_errors():
            yield

    def _ended(self, sandbox: Sandbox, error: SandboxGoneError) -> Problem:
        """Note that a call found the sandbox gone; return its 410."""
        if sandbox.destruction is not None or self._closing:
            return self._gone(sandbox)
        if error.status.state is State.RUNNING or error.status.state is State.PENDING:
            error = SandboxGoneError(Status(state=State.LOST, reason=error.status.reason))
        self._note(sandbox, error.status)
        return gone(sandbox.id, error.status)

    def _gone(self, sandbox: Sandbox) -> Problem:
        """Return the 410 of a sandbox that is going, perhaps with the server."""
        if sandbox.destruction is not None:
            return sandbox.gone()
        return gone(sandbox.id, sandbox.status if sandbox.is_going else _CLOSED)

    async def _follow(self, engine: Engine) -> None:
        async for event in engine.events():
            sandbox = self._sandboxes.get(event.handle.sandbox_id)
            if sandbox is not None:
                self._note(sandbox, event.status)

    def _note(self, sandbox: Sandbox, status: Status) -> None:
        if sandbox.status.state in ENDED:
            return
        sandbox.status = status
        if status.state not in ENDED:
            return
        logger.warning("[%s] %s: %s", sandbox.id, status.state, status.reason)
        self.store.sandbox_gone(sandbox.id, gone_code(status))
        self._ended_until[sandbox.id] = _now() + KEY_SECONDS
        self._reaper.forget(sandbox.lifetime)
        sandbox.end_transfers(gone(sandbox.id, status))
        if sandbox.handle is not None and self._launching.engine is not None:
            self._run(self._launching.engine.destroy(sandbox.handle))

    async def _make(self, engine: Engine, sandbox: Sandbox) -> None:
        try:
            handle = await self._making.make(engine, sandbox)
        except SandboxGoneError as error:
            self._note(sandbox, error.status)
            return
        except BaseException as error:
            del self._sandboxes[sandbox.id]
            self._failures.note(sandbox.id, as_problem(error))
            raise
        sandbox.handle = handle
        self.store.sandbox_made(sandbox.id)
        self._reaper.begin(sandbox.id, sandbox.lifetime)
        if sandbox.status.state is State.PENDING:  # else an event was faster
            sandbox.status = Status(state=State.RUNNING)

    async def _made(self, sandbox: Sandbox, wait: float | None) -> None:
        await _wait_for_creation(sandbox, wait)
        if sandbox.destruction is not None:
            raise sandbox.gone()
        if sandbox.status.state in ENDED:
            raise gone(sandbox.id, sandbox.status)

    def _expire(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.destruction is not None:
            return
        logger.info("[%s] has expired", sandbox_id)
        sandbox.gone_code = "sandbox_expired"
        sandbox.destruction = asyncio.create_task(self._end(sandbox))
        self._run(self._expired(sandbox, sandbox.destruction))

    async def _expired(self, sandbox: Sandbox, destruction: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(destruction)
        except Exception:
            logger.exception("[%s] has expired, and could not be ended", sandbox.id)

    async def _end(self, sandbox: Sandbox) -> None:
        self._reaper.forget(sandbox.lifetime)
        engine = await self.engine()
        if sandbox.preparing is not None:
            sandbox.preparing.cancel()
        if sandbox.creation is not None:
            await asyncio.wait([sandbox.creation])
        sandbox.end_transfers(sandbox.gone())
        try:
            if sandbox.handle is not None:
                await engine.destroy(sandbox.handle)
            await sandbox.transfers_ended()
        except BaseException:
            sandbox.destruction = None  # the next DELETE tries again
            self._reaper.again(sandbox.id, sandbox.lifetime, _EXPIRE_AGAIN_SECONDS)
            raise
        self._sandboxes.pop(sandbox.id, None)
        self._ended_until.pop(sandbox.id, None)
        self.store.sandbox_gone(sandbox.id, sandbox.gone_code)
        sandbox.runs.forget()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("work in the background failed", exc_info=error)

    async def _checkpoints(self) -> None:
        while True:
            await asyncio.sleep(_CHECKPOINT_SECONDS)
            await asyncio.to_thread(self.store.checkpoint)
            self.store.restart_log()

    def _check_open(self) -> None:
        self.draining.check()
        if self._closing:
            raise Problem(503, "engine_unavailable", CLOSING)

    def _check_not_gone(self, sandbox_id: str) -> None:
        code = self.store.gone_code(sandbox_id)
        if code is not None:
            raise gone(sandbox_id, code=code)

    def _forget_the_old(self) -> None:
        now = _now()
        while self._ended_until and self._ended_until[next(iter(self._ended_until))] <= now:
            oldest = next(iter(self._ended_until))
            del self._ended_until[oldest]
            self._sandboxes.pop(oldest).runs.forget()
        self._failures.forget_the_old()


async def _wait_for_creation(sandbox: Sandbox, wait: float | None) -> None:
    """Wait until a sandbox is made, for *wait* seconds at most; raise why it could not be."""
    if sandbox.creation is None:
        return
    await asyncio.wait([sandbox.creation], timeout=wait)
    if sandbox.creation.done():
        sandbox.creation.result()


def _now() -> float:
    return asyncio.get_running_loop().time()
