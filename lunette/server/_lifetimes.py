"""How long sandboxes live: after their `ttl`, or unused for their `idle_timeout`, they expire."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta

from attrs import define, field, frozen
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ENDLESS", "Lifetime", "Lifetimes", "Reaper", "Uses"]

# A use that ends a moment after it was looked for is not looked for again at once.
_PAUSE_SECONDS = 0.05
_FEW = 64
_PREFIX = "/sandboxes/"


@frozen
class Lifetimes:
    """The longest that sandboxes live, in seconds; None is without end."""

    ttl: float | None = None
    idle_timeout: float | None = None

    def within(self, others: Lifetimes) -> Lifetimes:
        """Return these, or where they end sooner *others*."""
        idle_timeout = _sooner(self.idle_timeout, others.idle_timeout)
        return Lifetimes(_sooner(self.ttl, others.ttl), idle_timeout)

    def to_json(self) -> dict[str, float]:
        """Return the `Lifetimes` of the contract."""
        found = {"ttl": self.ttl, "idle_timeout": self.idle_timeout}
        return {name: seconds for name, seconds in found.items() if seconds is not None}


ENDLESS = Lifetimes()


@define(eq=False)
class Lifetime:
    """That of one sandbox; it begins when the sandbox is made, and while it is used it is not idle.

    It goes by the clock of the event loop, which nobody sets.
    """

    limits: Lifetimes = ENDLESS
    is_over: bool = False
    _begun: float | None = None
    _begun_at: datetime = field(factory=lambda: datetime.now(UTC))
    _extended: float = 0.0
    _used: float = 0.0
    _uses: int = 0

    def begin(self) -> None:
        """Let time run."""
        self._begun, self._begun_at = _now(), datetime.now(UTC)

    @contextlib.contextmanager
    def in_use(self) -> Generator[None]:
        """Count a request, or a stream that is open, as a use."""
        self._uses += 1
        try:
            yield
        finally:
            self._uses -= 1
            self._used = _now()

    def extend(self, seconds: float) -> None:
        """Let it last *seconds* from now at least."""
        self._extended = max(self._extended, _now() + seconds)

    def end(self) -> float | None:
        """Return when it ends if nobody uses the sandbox from now on, or None: never."""
        if self._begun is None:
            return None
        ttl, idle_timeout = self.limits.ttl, self.limits.idle_timeout
        end = None if ttl is None else self._begun + ttl
        if idle_timeout is not None:
            used = _now() if self._uses else max(self._used, self._begun)
            end = _sooner(end, used + idle_timeout)
        return end if end is None else max(end, self._extended)

    def expires_at(self) -> datetime | None:
        """Return the same as a date."""
        end = self.end()
        if end is None or self._begun is None:
            return None
        return self._begun_at + timedelta(seconds=end - self._begun)


class Reaper:
    """One timer for all sandboxes; *expire* is called with the id of each whose time is over.

    Of each there is one entry, which is never too late: what makes a lifetime longer leaves it
    where it is, and is seen when its time has come.
    """

    def __init__(self, expire: Callable[[str], None]) -> None:
        self._expire = expire
        self._entries: list[tuple[float, str, Lifetime]] = []
        self._over = 0  # so many are of lifetimes that are over
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, sandbox_id: str, lifetime: Lifetime) -> None:
        """Let the *lifetime* of a sandbox begin; one that is over already may come `again`."""
        lifetime.begin()
        if not lifetime.is_over:
            self._add(sandbox_id, lifetime)

    def again(self, sandbox_id: str, lifetime: Lifetime, seconds: float) -> None:
        """Look at a sandbox that could not be ended once more, in *seconds*."""
        lifetime.is_over = False
        lifetime.extend(seconds)
        self._add(sandbox_id, lifetime)

    def forget(self, lifetime: Lifetime) -> None:
        """Do nothing at the end of a *lifetime* any more."""
        if lifetime.is_over:
            return
        lifetime.is_over = True
        if lifetime.end() is not None:
            self._over += 1
        if self._over > max(_FEW, len(self._entries) // 2):
            self._entries = [entry for entry in self._entries if not entry[2].is_over]
            heapq.heapify(self._entries)
            self._over = 0

    def close(self) -> None:
        """End nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._entries.clear()

    def _add(self, sandbox_id: str, lifetime: Lifetime) -> None:
        if (end := lifetime.end()) is not None:
            heapq.heappush(self._entries, (end, sandbox_id, lifetime))
            self._set()

    def _set(self) -> None:
        first = self._entries[0][0]
        if self._timer is not None:
            if self._timer.when() <= first:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(first, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = _now()
        try:
            while self._entries and self._entries[0][0] <= now:
                _, sandbox_id, lifetime = heapq.heappop(self._entries)
                self._look(sandbox_id, lifetime, now)
        finally:  # one that cannot be ended keeps no other alive
            if self._entries:
                self._set()

    def _look(self, sandbox_id: str, lifetime: Lifetime, now: float) -> None:
        end = lifetime.end()
        if lifetime.is_over or end is None:
            self._over -= 1
        elif end <= now:
            lifetime.is_over = True
            self._expire(sandbox_id)
        else:
            later = max(end, now + _PAUSE_SECONDS)
            heapq.heappush(self._entries, (later, sandbox_id, lifetime))


class Uses:
    """The layer that counts each request to a sandbox as a use of it."""

    def __init__(self, app: ASGIApp, lifetime: Callable[[str], Lifetime | None]) -> None:
        self._app = app
        self._lifetime = lifetime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lifetime = self._lifetime(_sandbox_id(scope)) if scope["type"] == "http" else None
        if lifetime is None:
            await self._app(scope, receive, send)
            return
        with lifetime.in_use():
            await self._app(scope, receive, send)


def _sandbox_id(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(_PREFIX).partition("/")[0]


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _now() -> float:
    return asyncio.get_running_loop().time()
