"""The commands of one sandbox under the keys that clients gave them: none runs twice."""

from __future__ import annotations

import errno
from collections.abc import Awaitable
from time import time

from lunette.server._log import Log
from lunette.server._logs import Logs
from lunette.server._problems import Problem
from lunette.server._run import Run
from lunette.server._started import Started
from lunette.server.output import Outcome
from lunette.server.store import KEY_SECONDS, CommandState, KnownCommand, Store

__all__ = ["Runs"]

# Promised in openapi.yaml.
_KEPT_BYTES = 64 * 1024 * 1024
_KEPT_KEYS = 100_000
# What a small outcome takes beside its output.
_OVERHEAD = 512
# What an ended process takes beside its command and its log.
_PROCESS_OVERHEAD = 4096


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
        # Those that were started by PUT, also when they have ended; the oldest first.
        self._started: dict[str, Started] = {}
        self._logs = Logs(store)

    def join(self, key: str, body: bytes) -> Run | KnownCommand | None:
        """Return the command of *key* that runs or has ended; raise the problem of a key that
        cannot be used.
        """
        run = self._running.get(key)
        if run is not None:
            _check_body(key, run.body, body)
            return run
        self._check_failure(key)
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
        self._check_failure(key)
        known = self._known(key)
        return None if known is None or known.state is CommandState.GIVEN_UP else known

    def started(self, key: str) -> Started | None:
        """Return the process of *key*, if one was started."""
        return self._started.get(key)

    def all(self) -> list[Run]:
        """Return what runs, and what was started and is known, the oldest first."""
        found = {**self._started, **self._running}
        return sorted(found.values(), key=lambda run: run.begun)

    def begin(self, key: str, body: bytes, command: str | list[str] = "") -> Run:
        """Claim *key* for a command, which the caller has to `follow`."""
        run = Run(key, body, command)
        self._claim(run)
        return run

    def start(self, run: Started) -> None:
        """Claim its key for a process, which the caller has to `follow`."""
        self._claim(run)
        self._started[run.key] = run

    def new_log(self) -> Log:
        """Return the log of another process."""
        return self._logs.new()

    def _claim(self, run: Run) -> None:
        key = run.key
        if key in self._keys:  # it is a day old, and begins anew
            self._uncount(key)
            self._forget_started(key)
            self._store.release(self._sandbox_id, key)
            del self._keys[key]
        try:
            self._store.claim(self._sandbox_id, key, run.body)
        except OSError as error:
            detail = f"the server cannot remember the command: {error.strerror}"
            full = error.errno == errno.ENOSPC
            status, code = (507, "no_space") if full else (503, "no_capacity")
            raise Problem(status, code, detail) from error
        self._note(key)
        self._running[key] = run

    async def follow(self, run: Run, work: Awaitable[Outcome]) -> Outcome:
        """Let *work* do what the command of *run* takes, and remember how it ended."""
        try:
            outcome = await work
            await self._keep(run, outcome)
        except BaseException as error:
            run.fail(error)
            self._abandon(run)
            self._count_log(run.key)
            raise
        finally:
            run.process = None  # with its pipes and what it was told to read
            del self._running[run.key]
        run.end(outcome)
        self._count_log(run.key)
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
        for key in list(self._started):
            self._forget_started(key)
        self._logs.close()

    def _abandon(self, run: Run) -> None:
        """What was not started may be sent again; what was, must not."""
        if run.given_up:
            self._store.give_up(self._sandbox_id, run.key)
        elif run.process is None:
            self._store.release(self._sandbox_id, run.key)
        else:
            self._store.drop(self._sandbox_id, run.key, run.body)
            return
        self._forget_started(run.key)

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
                self._forget_started(oldest)
                self._store.release(self._sandbox_id, oldest)
            del self._keys[oldest]
            oldest = next(iter(self._keys))

    def _uncount(self, key: str) -> bytes | None:
        """Stop counting the outcome of *key*, if there is one; return the digest of its request."""
        size, body = self._outcomes.pop(key, (0, None))
        self._kept -= size
        return body

    def _check_failure(self, key: str) -> None:
        """Raise what a process came to that has no outcome."""
        started = self._started.get(key)
        if started is not None and started.problem is not None:
            raise started.problem.again()

    def _count_log(self, key: str) -> None:
        """Count the log of a process that has ended."""
        started = self._started.get(key)
        if started is not None:
            self._logs.ended(started.log, _PROCESS_OVERHEAD + started.command_size)

    def _forget_started(self, key: str) -> None:
        if key in self._started:
            self._logs.drop(self._started.pop(key).log)


def _check_body(key: str, known: bytes | None, body: bytes) -> None:
    if known is not None and known != body:
        detail = f"the key '{key}' belongs to a command with another body"
        raise Problem(422, "key_reused", detail, key="Idempotency-Key")
