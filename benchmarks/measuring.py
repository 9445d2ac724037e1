"""Times that can be compared: taken in turns, shown as quartiles."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from attrs import field, frozen

__all__ = ["Baseline", "Row", "Times", "in_turns", "timed"]

Measure = Callable[[], float]


@frozen
class Times:
    """The quartiles of some measurements, in seconds."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        unit, factor = ("s", 1) if self.median >= 1 else ("ms", 1000)
        low, median, high = (f"{t * factor:.3g}" for t in (self.low, self.median, self.high))
        return f"{median} {unit} ({low} to {high})"


@frozen
class Baseline:
    """What somebody would do without lunette."""

    name: str
    times: Times


@frozen
class Row:
    """What was measured, beside its baseline and its goal: seconds or a ratio at most."""

    what: str
    times: Times
    baseline: Baseline
    most_seconds: float | None = field(default=None, kw_only=True)
    most_ratio: float | None = field(default=None, kw_only=True)

    @property
    def ratio(self) -> float:
        return self.times.median / self.baseline.times.median

    def __str__(self) -> str:
        return (
            f"| {self.what} | {self.times} | {self.baseline.name}: {self.baseline.times}"
            f" | {self.ratio:.2f} | {self._verdict()} |"
        )

    def _verdict(self) -> str:
        if self.most_ratio is not None:
            met = self.ratio <= self.most_ratio
            return f"ratio <= {self.most_ratio:g}: {'met' if met else 'missed'}"
        if self.most_seconds is not None:
            met = self.times.median <= self.most_seconds
            return f"<= {self.most_seconds * 1000:g} ms: {'met' if met else 'missed'}"
        return "-"


def timed(function: Callable[[], object]) -> Measure:
    """Measure a call of *function*."""

    def measure() -> float:
        begin = time.perf_counter()
        function()
        return time.perf_counter() - begin

    return measure


def in_turns(measures: Mapping[str, Measure], *, rounds: int, warm_up: int = 2) -> dict[str, Times]:
    """Take each measure once a round, so that what else the machine does falls on all alike."""
    for _ in range(warm_up):
        for measure in measures.values():
            measure()
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
    return {name: Times(*statistics.quantiles(times, n=4)) for name, times in taken.items()}
