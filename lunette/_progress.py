"""Showing how far something is: a bar, or a function of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lunette_api.models import Progress

__all__ = ["LOOK_SECONDS", "Report", "ShowProgress", "shown"]

ShowProgress = bool | Callable[[int, int], object]
"""`True` for a bar of tqdm's, or a function that is told the bytes done and in all."""

Report = Callable[["Progress"], None]

# As often as a server is asked for something to show.
LOOK_SECONDS = 1


@contextmanager
def shown(progress: ShowProgress) -> Generator[Report | None]:
    """Yield what is to be told how far it is; None where nobody wants to know."""
    if callable(progress):
        tell = progress
        yield lambda found: _tell(tell, found)
    elif progress:
        bar = _Bar()
        try:
            yield bar.show
        finally:
            bar.close()
    else:
        yield None


def _tell(tell: Callable[[int, int], object], found: Progress) -> None:
    tell(found.done, found.total)


class _Bar:
    """One bar a stage; in a notebook it is the notebook's."""

    def __init__(self) -> None:
        self._kind = _tqdm()
        self._bar: Any = None
        self._stage = ""

    def show(self, found: Progress) -> None:
        if self._bar is None or found.stage.value != self._stage:
            self.close()
            self._stage = found.stage.value
            self._bar = self._kind(
                desc=self._stage, unit="B", unit_scale=True, unit_divisor=1024, leave=False
            )
        self._bar.total = found.total or None
        self._bar.n = found.done
        self._bar.refresh()

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
