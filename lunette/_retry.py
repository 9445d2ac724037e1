"""Sending a request again where that cannot do anything twice.

A library would do less: tenacity and stamina know neither `Retry-After` nor which of our requests
may be repeated, their loops would stand around every `IO.send` in two forms, and what is left of
them, the pause, is one line.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar, TypeVarTuple
from weakref import WeakSet

import httpx
from attrs import evolve, field, frozen
from attrs.validators import ge, gt

from . import errors
from ._io import IO, Body, Cleanup, Incoming, Profile, Request

__all__ = ["Resuming", "RetryPolicy", "Retrying", "may_have_acted"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger(__name__)

_IDEMPOTENT = frozenset({"get", "put", "delete"})
_NEVER_MADE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LATER = frozenset({408, 502, 503, 504})
# Said for good: this machine cannot run sandboxes; a registry has had the server's own patience.
_FINAL = frozenset({"engine_unavailable", "registry_error"})
_SHORTEST = 0.001
_WAIT = re.compile(r"wait=(\d+)")


# Errors whose request was sent before, too, and may have arrived then.
_acted: WeakSet[BaseException] = WeakSet()


def may_have_acted(error: BaseException) -> bool:
    """Whether the server may have done what it was asked although *error* came of it."""
    if error in _acted:
        return True
    if isinstance(error, errors.APIError):
        # A refusal did nothing; a broken answer, or that of a proxy that gave up, says nothing.
        return not 400 <= error.status_code < 500 or error.status_code == 408
    return not isinstance(error, _NEVER_MADE)


@frozen(kw_only=True)
class RetryPolicy:
    """How often one request is sent, and when.

    At most *attempts* times, for at most *deadline* seconds after the first failed (not after it
    began: an answer may have been held back until then). Before the second attempt there is a pause
    of up to *first_delay* seconds, which doubles each time up to *longest_delay*, less a random
    part of up to a half; a server's `Retry-After` makes it longer.
    `RetryPolicy(attempts=1)` sends everything once.

    Only what cannot do anything twice is repeated: GET, PUT and DELETE, commands (which have a key
    by which the server knows them again), what a server refused by 429, and what was never sent
    since no connection was made.

    An upload or a download that was cut goes on where it was. What counts is how often and for how
    long nothing has come of it: whenever something has, attempts and deadline begin anew.
    """

    attempts: int = field(default=6, validator=ge(1))
    deadline: float = field(default=60.0, validator=ge(0))
    first_delay: float = field(default=0.1, validator=gt(0))
    longest_delay: float = field(default=5.0, validator=gt(0))

    def pause(self, attempt: int, retry_after: float | None) -> float:
        """Return the seconds between *attempt*, counted from 1, and the next."""
        longest = min(self.longest_delay, self.first_delay * 2.0 ** min(attempt - 1, 32))
        # Of many clients that were refused together, not all must come back together.
        pause = longest * random.uniform(0.5, 1)
        return pause if retry_after is None else retry_after + pause


class Retrying:
    """An `IO` that sends again what another could not."""

    def __init__(self, io: IO, policy: RetryPolicy, *, bound: float | None = None) -> None:
        self.profile = io.profile
        self.timeout: float = io.timeout if bound is None else min(io.timeout, bound)
        self.policy = policy
        self._io = io
        self._is_bound = bound is not None

    def alone(self) -> AbstractAsyncContextManager[None]:
        return self._io.alone()

    async def send(
        self, request: Request, *, body: Body | None = None, patient: bool = False
    ) -> httpx.Response:
        begun = time.monotonic()
        attempts: _Attempts | None = None
        if self._is_bound:
            request = request | {"timeout": self.timeout}
        while True:
            try:
                return await self._io.send(request, body=body, patient=patient)
            except errors.LunetteError as error:
                attempts = attempts or self._attempts(request, begun)
                pause = attempts.pause_after(error)
                if pause is None:
                    attempts.tell(error)
                    raise
            await self.sleep(pause)
            request = request | {"timeout": min(self.timeout, attempts.seconds_left())}
            if body is not None:
                await self.call(body.rewind)

    @asynccontextmanager
    async def stream(self, request: Request, *, live: bool = False) -> AsyncGenerator[Incoming]:
        begun = time.monotonic()
        attempts: _Attempts | None = None
        async with AsyncExitStack() as stack:
            while True:
                try:
                    incoming = await stack.enter_async_context(self._io.stream(request, live=live))
                    break
                except errors.LunetteError as error:
                    attempts = attempts or self._attempts(request, begun)
                    pause = attempts.pause_after(error)
                    if pause is None:
                        raise
                await self.sleep(pause)
            yield incoming

    def _attempts(self, request: Request, begun: float) -> _Attempts:
        start = begun if self._is_bound else time.monotonic()
        return _Attempts(self.policy, self.profile, request, start + self.policy.deadline)

    async def sleep(self, seconds: float) -> None:
        await self._io.sleep(seconds)

    async def call(self, function: Callable[[*Ts], T], *args: *Ts, abandon: bool = False) -> T:
        return await self._io.call(function, *args, abandon=abandon)

    async def outlive(self, cleanup: Cleanup, seconds: float) -> None:
        policy = evolve(self.policy, deadline=min(self.policy.deadline, seconds))

        async def soon(io: IO) -> None:
            await cleanup(Retrying(io, policy, bound=seconds))

        await self._io.outlive(soon, seconds)


def _held_back(request: Request) -> float:
    """Return the seconds for which *request* allows its answer to be held back."""
    preferred = _WAIT.search(request.get("headers", {}).get("Prefer", ""))
    return float(preferred[1] if preferred else request.get("params", {}).get("wait", 0))


def _may_pass(error: errors.LunetteError) -> bool:
    """Whether the same may go well later."""
    if isinstance(error, errors.APIError):
        return error.status_code in _LATER and error.code not in _FINAL
    return isinstance(error, errors.TransportError)


class Resuming:
    """How often a transfer that was cut goes on: as often as *policy* says, which begins anew
    whenever something has come.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.begin_anew()

    def begin_anew(self) -> None:
        """Take note that something has come."""
        self._failed = 0
        self._until: float | None = None

    def may_go_on(self, error: errors.LunetteError) -> bool:
        """Whether *error* is a cut; what was never sent is none, since that was tried again."""
        if isinstance(error, (errors.SandboxDestroyedError, *_NEVER_MADE)):
            return False
        return self._policy.attempts > 1 and _may_pass(error)

    def pause_after(self, error: errors.LunetteError, *, progress: bool) -> float | None:
        """Return the seconds until it goes on, or None if it does not."""
        if not self.may_go_on(error):
            return None
        retry_after = error.retry_after if isinstance(error, errors.APIError) else None
        if progress:
            self.begin_anew()
            return retry_after or 0.0
        self._failed += 1
        if self._failed >= self._policy.attempts:
            return None
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._policy.deadline
        pause = self._policy.pause(self._failed, retry_after)
        return pause if now + pause < self._until else None


class _Attempts:
    """The attempts of one request, the first of which has been made; none begins after *until*."""

    def __init__(
        self, policy: RetryPolicy, profile: Profile, request: Request, until: float
    ) -> None:
        self._policy = policy
        self._profile = profile
        self._request = request
        self._until = until
        self._made = 1
        self._may_have_acted = False

    def tell(self, error: errors.LunetteError) -> None:
        """Let the last *error* know that an attempt before may have done something."""
        if self._may_have_acted:
            _acted.add(error)

    def seconds_left(self) -> float:
        """Return how long another attempt may take, whose answer may be held back."""
        return max(_SHORTEST, self._until - time.monotonic()) + _held_back(self._request)

    def pause_after(self, error: errors.LunetteError) -> float | None:
        """Return the seconds until the next attempt, or None if there is none."""
        self._may_have_acted = self._may_have_acted or may_have_acted(error)
        if self._made >= self._policy.attempts or not self._may_repeat(error):
            return None
        retry_after = error.retry_after if isinstance(error, errors.APIError) else None
        pause = self._policy.pause(self._made, retry_after)
        if time.monotonic() + pause >= self._until:
            return None
        logger.info(
            "%s %s: %s; attempt %d of %d in %.2f s",
            str(self._request["method"]).upper(),
            self._request["url"],
            error,
            self._made + 1,
            self._policy.attempts,
            pause,
        )
        self._made += 1
        return pause

    def _may_repeat(self, error: errors.LunetteError) -> bool:
        if isinstance(error, errors.SandboxDestroyedError):
            return False
        if isinstance(error, _NEVER_MADE):
            return True
        if isinstance(error, errors.APIError) and error.status_code == 429:
            # Refused, so that nothing was done.
            return self._is_idempotent or not self._profile.published
        return _may_pass(error) and self._is_idempotent

    @property
    def _is_idempotent(self) -> bool:
        if str(self._request["method"]).lower() in _IDEMPOTENT:
            return True
        return "Idempotency-Key" in self._request.get("headers", {})
