from __future__ import annotations

import pytest

from lunette.server.images._patience import PassingError, Patience, Tries, persistently
from lunette.server.images.errors import RegistryError

FINAL = RegistryError("over")


class Paused(list[float]):
    """Notes each pause instead of waiting."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def failing(times: int, **details: float | bool) -> object:
    left = iter(range(times))

    def work() -> str:
        if next(left, None) is not None:
            raise PassingError(FINAL, **details)  # type: ignore[arg-type]
        return "done"

    return work


def run(times: int, patience: Patience = Patience(), **details: float | bool) -> list[float]:  # noqa: B008
    paused = Paused()
    work = failing(times, **details)
    assert callable(work)
    assert persistently(work, patience, paused) == "done"
    return paused


def test_pauses_grow_up_to_the_longest() -> None:
    patience = Patience(attempts=8, first_pause=1, longest_pause=8, total=1000)
    paused = run(7, patience)
    for pause, longest in zip(paused, [1, 2, 4, 8, 8, 8, 8], strict=True):
        assert longest / 2 <= pause <= longest


def test_attempts_are_counted() -> None:
    assert len(run(5)) == 5
    with pytest.raises(RegistryError, match="over"):
        run(6)


def test_a_registry_that_never_answered_gets_fewer() -> None:
    assert len(run(2, connected=False)) == 2
    with pytest.raises(RegistryError):
        run(3, connected=False)


def test_retry_after_comes_on_top() -> None:
    (pause,) = run(1, retry_after=20)
    assert 20 < pause <= 21


def test_a_longer_retry_after_is_the_end() -> None:
    with pytest.raises(RegistryError, match="over, for another 61 s"):
        run(1, retry_after=61)


def test_no_attempt_begins_after_the_total() -> None:
    with pytest.raises(RegistryError):
        run(1, Patience(total=10), retry_after=20)


def test_progress_counts_anew() -> None:
    paused = Paused()
    tries = Tries(Patience(attempts=2), paused)
    for _ in range(10):
        tries.failed(PassingError(FINAL))
        tries.progressed()
    tries.failed(PassingError(FINAL))
    with pytest.raises(RegistryError):
        tries.failed(PassingError(FINAL))
    assert len(paused) == 11


def test_what_will_not_pass_is_raised_at_once() -> None:
    def work() -> None:
        raise RegistryError("no")

    paused = Paused()
    with pytest.raises(RegistryError, match="no"):
        persistently(work, Patience(), paused)
    assert paused == []


@pytest.mark.parametrize("field", ["attempts", "first_pause", "longest_pause", "progress"])
def test_nonsense_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Patience(**{field: 0})
