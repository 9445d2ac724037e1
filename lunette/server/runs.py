"""The commands of one sandbox under the keys that clients gave them: none runs twice."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable
from time import time
from typing import Any

from attrs import define, field

from lunette.server._problems import Problem
from lunette.server.engines.protocol import Process
from lunette.server.output import Outcome
from lunette.server.store import KEY_SECONDS, CommandState, KnownCommand, Store

__all__ = ["Run", "Runs", "seen"]

# Promised in openapi.yaml.
_KEPT_BYTES = 64 * 1024 * 1024
_KEPT_KEYS = 100_000
# What a small outcome takes beside its output.
_OVERHEAD = 512


@define(eq=False)
class Run:
    """A command from its request to its end."""

    key: str
    body: bytes
    process: Process | None = None
    given_up: bool = False
    _ended: asyncio.Future[Outcome] | None = field(default=None, init=False)

    async def started(self, process: Process) -> None:
        """Note the process; kill it if the client gave up while it was being started."""
        self.process = process
        if self.given_up:
            await process.kill()

    async def outcome(self, wait: float | None) -> Outcome | None:
        """Return how the command ended, or None if that takes more than *wait* seconds."""
        ended = self._end()
        await asyncio.wait([ended], timeout=wait)
        return ended.result() if ended.done() else None

    async def kill(self) -> None:
        """Kill the command and return when it has ended."""
        self.given_up = True
        ended = self._end()
        if self.process is not None and not ended.done():
            await self.process.kill()
        await asyncio.wait([ended])

    def end(self, outcome: Outcome) -> None:
        """Tell who waits how the command ended."""
        if self._ended is not None:
            self._ended.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Tell who waits why there is no outcome."""
        if self._ended is None:
            return
        if isinstance(error, Exception):
            self._ended.set_exception(error)
        else:
            self._ended.cancel()

    def _end(self) -> asyncio.Future[Outcome]:
        """Return what tells of the end; most commands have nobody but their own request."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
            self._ended.add_done_callback(seen)  # who waits may leave
        return self._ended


def seen(future: asyncio.Future[Any]) -> None:
    """Note an error whose every reader may have left."""
    if not future.cancelled():
        future.exception()


class Runs:
    """The commands of one sandbox; *of_before*, of one that an earlier server had."""

    def __init__(self, store: Store, sandbox_id: str, *, of_before: bool = False) -> None:
        self._of_before = of_before
        self._store = store
        self._sandbox_id = sandbox_id
        self._running: dict[str, Run] = {}
        # Every key that this server saw, and until when; the oldest first. Of others the store need
        # not be asked.
        self._keys: dict[str, float] = {}
        # What each outcome takes, and the digest of its request; the oldest first.
        self._outcomes: dict[str, tuple[int, bytes]] = {}
        self._kept = 0

    def join(self, key: str, body: bytes) -> Run | KnownCommand | None:
        """Return the command of *key* that runs or has ended; raise the problem of a key that
        cannot be used.
        """
        run = self._running.get(key)
        if run is not None:
            _check_body(key, run.body, body)
            return run
        known = self._known(key)
        if known is None:
            return None
        if known.state is CommandState.GIVEN_UP:
            raise Problem(409, "key_given_up", f"the command of '{key}' was deleted before it came")
        _check_body(key, known.body, body)
        return known

    def find(self, key: str) -> Run | KnownCommand | None:
        """Return the command of *key*, if it came."""
        run = self._running.get(key)
        if run is not None:
            return run
        known = self._known(key)
        return None if known is None or known.state is CommandState.GIVEN_UP else known

    def begin(self, key: str, body: bytes) -> Run:
        """Claim *key* for a command, which the caller has to `follow`."""
        run = Run(key, body)
        if key in self._keys:  # it is a day old, and begins anew
            self._uncount(key)
            self._store.release(self._sandbox_id, key)
            del self._keys[key]
        try:
            self._store.claim(self._sandbox_id, key, body)
        except OSError as error:
            detail = f"the server cannot remember the command: {error.strerror}"
            full = error.errno == errno.ENOSPC
            status, code = (507, "no_space") if full else (503, "no_capacity")
            raise Problem(status, code, detail) from error
        self._note(key)
        self._running[key] = run
        return run

    async def follow(self, run: Run, work: Awaitable[Outcome]) -> Outcome:
        """Let *work* do what the command of *run* takes, and remember how it ended."""
        try:
            outcome = await work
            await self._keep(run, outcome)
        except BaseException as error:
            run.fail(error)
            self._abandon(run)
            raise
        finally:
            run.process = None  # with its pipes and what it was told to read
            del self._running[run.key]
        run.end(outcome)
        return outcome

    async def kill(self, key: str) -> None:
        """Kill the command of *key*; one that has not arrived yet will not start."""
        run = self._running.get(key)
        if run is not None:
            await run.kill()
        elif self._known(key) is None:
            self._store.give_up(self._sandbox_id, key)
            self._note(key)

    def forget(self) -> None:
        """Forget every key: the sandbox is gone."""
        self._store.forget_commands(self._sandbox_id)

    def _abandon(self, run: Run) -> None:
        """What was not started may be sent again; what was, must not."""
        if run.given_up:
            self._store.give_up(self._sandbox_id, run.key)
        elif run.process is None:
            self._store.release(self._sandbox_id, run.key)
        else:
            self._store.drop(self._sandbox_id, run.key, run.body)

    async def _keep(self, run: Run, outcome: Outcome) -> None:
        if run.key not in self._keys:  # it ran longer than keys are remembered
            self._note(run.key)
        try:
            await self._store.keep(self._sandbox_id, run.key, run.body, outcome)
        except OSError:  # the disk is full: who asked has the outcome, who asks again has not
            self._store.drop(self._sandbox_id, run.key, run.body)
            return
        size = outcome.size + _OVERHEAD
        self._outcomes[run.key] = (size, run.body)
        self._kept += size
        while self._kept > _KEPT_BYTES:
            key = next(iter(self._outcomes))
            body = self._uncount(key)
            self._store.drop(self._sandbox_id, key, body)

    def _known(self, key: str) -> KnownCommand | None:
        if self._of_before:
            known = self._store.command(self._sandbox_id, key)
            # Of what had not ended, all that is left to say is that its sandbox was lost.
            return known if known is not None and known.state is CommandState.ENDED else None
        return self._store.command(self._sandbox_id, key) if key in self._keys else None

    def _note(self, key: str) -> None:
        now = time()
        self._keys[key] = now + KEY_SECONDS
        oldest = next(iter(self._keys))
        while self._keys[oldest] <= now or len(self._keys) > _KEPT_KEYS:
            if oldest not in self._running:
                self._uncount(oldest)
                self._store.release(self._sandbox_id, oldest)
            del self._keys[oldest]
            oldest = next(iter(self._keys))

    def _uncount(self, key: str) -> bytes | None:
        """Stop counting the outcome of *key*, if there is one; return the digest of its request."""
        size, body = self._outcomes.pop(key, (0, None))
        self._kept -= size
        return body


def _check_body(key: str, known: bytes | None, body: bytes) -> None:
    if known is not None and known != body:
        detail = f"the key '{key}' belongs to a command with another body"
        raise Problem(422, "key_reused", detail, key="Idempotency-Key")
