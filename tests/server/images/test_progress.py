from __future__ import annotations

import time

import pytest

from lunette.server.images._progress import Meter
from lunette.server.images.image import Progress


def test_progress_is_told_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told: list[Progress] = []
    meter = Meter(told.append)
    meter.begin("pulling", 100)
    for n in range(100):
        now[0] += 0.01
        meter.report("a", n)
        meter.report("b", 2 * n)
    assert 9 <= len(told) <= 11
    assert told[0] == Progress("pulling", 0, 100)
    assert all(progress.done <= 100 for progress in told)
    meter.begin("unpacking", 7)
    now[0] += 1
    meter.report("a", 3)
    assert told[-1] == Progress("unpacking", 3, 7)
