"""The uploads or the archives of one sandbox, by the names that clients gave them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from attrs import define, frozen

from lunette.server._load import Gate
from lunette.server._problems import Problem
from lunette.server._transfer import NOT_FOUND, Transfer

__all__ = ["ARCHIVES", "UPLOADS", "Transfers", "directory_gate", "fingerprint"]

# All as in openapi.yaml.
UPLOADS, ARCHIVES = 64, 16
IDLE_SECONDS = 600.0
_REMEMBERED = 1000

T = TypeVar("T", bound=Transfer)


@define
class _Opened(Generic[T]):
    """An open transfer, its places in the gates, and what ends it when nobody goes on with it."""

    transfer: T
    places: contextlib.ExitStack
    timer: asyncio.TimerHandle | None = None


@frozen
class _Over(Generic[T]):
    """What is kept of one: itself if it was done, else only the *problem* that it came to; without
    a *request* it was given up before it came.
    """

    request: bytes | None = None
    transfer: T | None = None
    problem: Problem | None = None


class Transfers(Generic[T]):
    """Those that are open, and the last others; *what* says what they are."""

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._gate = Gate(limit, f"{what}s of a sandbox at the same time")
        self._open: dict[str, _Opened[T]] = {}
        self._over: dict[str, _Over[T]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._ended: Problem | None = None

    def begin(self, name: str, request: bytes, make: Callable[[], T], *gates: Gate) -> None:
        """Begin one, in *gates* too, unless it is there already; *request* is its fingerprint."""
        self._check(name)
        known = self._open[name].transfer if name in self._open else self._over.get(name)
        if known is None:
            with contextlib.ExitStack() as places:
                for gate in (self._gate, *gates):
                    places.enter_context(gate.entered())
                self._open[name] = _Opened(make(), places.pop_all())
        elif known.request != request:
            detail = f"'{name}' is an {self._what} that another request began"
            raise Problem(422, "key_reused", detail, key=f"{self._what}_id")

    @contextlib.contextmanager
    def using(self, name: str) -> Generator[T]:
        """Let one not be idle; raise that there is none."""
        transfer = self._find(name)
        self._stop_timer(name)
        transfer.users += 1
        try:
            yield transfer
        finally:
            transfer.users -= 1
            if transfer.users == 0 and name in self._open:
                self._is_unused(name, transfer)

    async def give_up(self, name: str) -> None:
        """Leave nothing of one; one that has not come will not begin."""
        closing = self._end(name, self._not_found(f"the {self._what} '{name}' was given up"))
        if closing is not None:
            await asyncio.wait([closing])
        elif name not in self._over:
            self._remember(name, _Over())

    def end(self, problem: Problem) -> None:
        """Begin to end all, since their sandbox ends."""
        self._ended = problem
        for name in list(self._open):
            self._end(name, problem)
        self._over.clear()

    async def ended(self) -> None:
        """Wait until nothing is left of those that were ended."""
        if self._closing:
            await asyncio.wait(self._closing)

    def _check(self, name: str) -> None:
        """Raise why there will be none, if that is known."""
        if self._ended is not None:
            raise self._ended.again()
        if name in self._over and self._over[name].request is None:
            raise self._not_found(f"the {self._what} '{name}' was given up before it came")

    def _find(self, name: str) -> T:
        """Return one; raise what one that is over came to, or that there is none."""
        self._check(name)
        if name in self._open:
            return self._open[name].transfer
        over = self._over.get(name, _Over[T]())
        if over.problem is not None:
            raise over.problem.again()
        if over.transfer is None:
            raise self._not_found(f"the sandbox has no {self._what} '{name}'")
        return over.transfer

    def _is_unused(self, name: str, transfer: T) -> None:
        if transfer.is_void:  # the next to begin it may have more luck
            self._let_go(name)
        elif transfer.is_done:
            self._let_go(name)
            self._remember(name, _Over(transfer.request, transfer))
        else:
            loop = asyncio.get_running_loop()
            self._open[name].timer = loop.call_later(IDLE_SECONDS, self._is_idle, name)

    def _is_idle(self, name: str) -> None:
        why = f"nobody went on with it for {IDLE_SECONDS:.0f} seconds"
        self._end(name, self._not_found(f"the {self._what} '{name}' was given up: {why}"))

    def _end(self, name: str, problem: Problem) -> asyncio.Task[None] | None:
        if name not in self._open:
            return None
        transfer = self._let_go(name)
        self._remember(name, _Over(transfer.request, transfer))
        closing = transfer.end(problem)
        if closing is not None:
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            closing.add_done_callback(lambda _: self._has_ended(name, transfer))
        return closing

    def _has_ended(self, name: str, transfer: T) -> None:
        """Forget all but its problem, unless a commit that was under way has done it."""
        over = self._over.get(name)
        if over is not None and over.transfer is transfer and not transfer.is_done:
            self._over[name] = _Over(transfer.request, problem=transfer.problem)

    def _let_go(self, name: str) -> T:
        self._stop_timer(name)
        opened = self._open.pop(name)
        opened.places.close()
        return opened.transfer

    def _stop_timer(self, name: str) -> None:
        opened = self._open.get(name)
        if opened is not None and opened.timer is not None:
            opened.timer.cancel()
            opened.timer = None

    def _remember(self, name: str, over: _Over[T]) -> None:
        self._over[name] = over
        while len(self._over) > _REMEMBERED:
            del self._over[next(iter(self._over))]

    def _not_found(self, detail: str) -> Problem:
        return Problem(404, NOT_FOUND[self._what], detail)


def directory_gate() -> Gate:
    """Return the gate for the directories that come and go, of both kinds of transfers."""
    return Gate(ARCHIVES, "directories that come and go at the same time")


def fingerprint(asked: object) -> bytes:
    """Return what tells a request from another, and is small however much was *asked*."""
    return hashlib.sha256(repr(asked).encode()).digest()
