"""Showing how far something is: a bar, or a function of the caller's."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lunette_api.models import Progress

__all__ = [
    "LOOK_SECONDS",
    "Advance",
    "Report",
    "ShowProgress",
    "ShowTransfer",
    "shown",
    "transferring",
]

ShowProgress = bool | Callable[[int, int], object]
"""`True` for a bar of tqdm's, or a function that is told the bytes done and in all."""

ShowTransfer = bool | Callable[[int, int | None], object]
"""The same of a transfer, of which nobody may know how many bytes there are in all."""

Advance = Callable[[int, int | None], None]
Report = Callable[["Progress"], None]

# As often as a server is asked for something to show.
LOOK_SECONDS = 1


@contextmanager
def shown(progress: ShowProgress) -> Generator[Report | None]:
    """Yield what is to be told how far it is; None where nobody wants to know."""
    if callable(progress):
        _refuse_awaited(progress)
        tell = progress
        yield lambda found: _tell(tell, found)
    elif progress:
        with closing(_Bar()) as bar:
            yield bar.follow
    else:
        yield None


@contextmanager
def transferring(progress: ShowTransfer, what: str) -> Generator[Advance]:
    """Yield what is to be told how far a transfer is; what comes again is not told again."""
    if callable(progress):
        _refuse_awaited(progress)
        yield _forwards(progress)
    elif progress:
        with closing(_Bar()) as bar:
            yield _forwards(lambda done, total: bar.show(what, done, total))
    else:
        yield lambda done, total: None


def _refuse_awaited(tell: Callable[..., object]) -> None:
    """Refuse a function that nobody would await."""
    called = getattr(tell, "__call__", None)  # noqa: B004 - of an object, it may be asynchronous
    if inspect.iscoroutinefunction(tell) or inspect.iscoroutinefunction(called):
        name = getattr(tell, "__name__", type(tell).__name__)
        raise TypeError(f"progress must be a plain function, and {name} is asynchronous")


def _forwards(tell: Callable[[int, int | None], object]) -> Advance:
    last: tuple[int, int | None] = (-1, None)

    def advance(done: int, total: int | None) -> None:
        nonlocal last
        if done >= last[0] and (done, total) != last:
            last = done, total
            tell(done, total)

    return advance


def _tell(tell: Callable[[int, int], object], found: Progress) -> None:
    tell(found.done, found.total)


class _Bar:
    """One bar a stage; in a notebook it is the notebook's."""

    def __init__(self) -> None:
        self._kind = _tqdm()
        self._bar: Any = None
        self._stage = ""

    def follow(self, found: Progress) -> None:
        self.show(found.stage.value, found.done, found.total)
        self._bar.refresh()

    def show(self, stage: str, done: int, total: int | None) -> None:
        if self._bar is None or stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = self._kind(
                desc=self._stage,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                leave=False,
                # None is tqdm's word for where there is no terminal; a notebook has none either.
                disable=False if "ipykernel" in sys.modules else None,
            )
        self._bar.total = total or None
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        from ._embedded import distribution

        raise ImportError(
            f"progress=True needs tqdm: pip install '{distribution()}[progress]'"
        ) from error
    return tqdm
