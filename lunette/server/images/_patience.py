"""Trying again what may be over at the next attempt, with growing pauses."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from attrs import field, frozen
from attrs.validators import ge, gt

from .errors import ImageError, RegistryError

__all__ = ["PassingError", "Patience", "Tries", "persistently"]

T = TypeVar("T")
Pause = Callable[[float], object]

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Patience:
    """How often a request is made that fails.

    At most *attempts* times in a row, and *unanswered* times while there is no connection to the
    registry at all; the last begins at most *total* seconds after the first failed. Each pause, in
    seconds, is up to twice the last; a registry's `Retry-After` makes it longer, and one of over
    *longest_wait* seconds ends the pull. A download that got *progress* bytes counts anew.
    """

    attempts: int = field(default=6, validator=ge(1))
    unanswered: int = field(default=3, validator=ge(1))
    total: float = field(default=300.0, validator=ge(0))
    first_pause: float = field(default=0.5, validator=gt(0))
    longest_pause: float = field(default=15.0, validator=gt(0))
    longest_wait: float = field(default=60.0, validator=ge(0))
    progress: int = field(default=64 * 1024, validator=gt(0))


class PassingError(Exception):
    """What may be over soon; *final* is what it means if it is not.

    *retry_after* are the seconds after which the registry wants to be asked again.
    """

    def __init__(
        self, final: ImageError, *, retry_after: float | None = None, connected: bool = True
    ) -> None:
        super().__init__(str(final))
        self.final = final
        self.retry_after = retry_after
        self.connected = connected


class Tries:
    """The attempts of one thing; *pause* waits, and raises when there is no use in it any more."""

    def __init__(self, patience: Patience, pause: Pause) -> None:
        self._patience = patience
        self._pause = pause
        self.progressed()

    def progressed(self) -> None:
        """Count anew."""
        self._made = 0
        self._until: float | None = None
        self._connected = False

    def failed(self, error: PassingError) -> None:
        """Pause before the next attempt; raise what *error* means if there is none."""
        self._made += 1
        self._connected = self._connected or error.connected
        wait = self._seconds(error)
        if self._until is None:
            self._until = time.monotonic() + self._patience.total
        if time.monotonic() + wait > self._until:
            raise error.final
        logger.info("%s; again in %.1f s", error, wait)
        self._pause(wait)

    def _seconds(self, error: PassingError) -> float:
        patience = self._patience
        most = patience.attempts if self._connected else patience.unanswered
        asked = error.retry_after or 0.0
        if asked > patience.longest_wait:
            raise RegistryError(f"{error.final}, for another {asked:.0f} s") from error
        if self._made >= most:
            raise error.final
        pause = min(patience.longest_pause, patience.first_pause * 2.0 ** (self._made - 1))
        return asked + pause * random.uniform(0.5, 1)


def persistently(work: Callable[[], T], patience: Patience, pause: Pause) -> T:
    """Return what *work* returns, once it does so without a PassingError."""
    tries = Tries(patience, pause)
    while True:
        try:
            return work()
        except PassingError as error:
            tries.failed(error)
