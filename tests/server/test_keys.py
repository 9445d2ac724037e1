from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lunette.server import keys
from lunette.server._problems import Problem

DAY = 24 * 3600.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(keys, "monotonic", found)
    return found


class Taken:
    async def kill(self) -> None: ...


def _is_taken(found: keys.Keys, key: str) -> bool:
    try:
        run = found.claim(key)
    except Problem as problem:
        assert (problem.status, problem.code) == (409, "key_in_use")
        return True
    found.end(run)
    return False


def _give_up(found: keys.Keys, key: str) -> None:
    asyncio.run(found.kill(key))


@pytest.mark.parametrize("given_up", [True, False])
def test_a_key_is_remembered_for_a_day(clock: Clock, given_up: bool) -> None:
    found = keys.Keys()
    if given_up:
        _give_up(found, "k")
    else:
        found.end(found.claim("k"))
    clock.now += DAY - 1
    assert _is_taken(found, "k")
    clock.now += 1
    assert not _is_taken(found, "k")


def test_a_command_that_runs_is_never_forgotten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_REMEMBER_KEYS", 2)
    found = keys.Keys()
    running = found.claim("running")
    clock.now += 2 * DAY
    for name in ("a", "b", "c"):
        found.end(found.claim(name))
    assert _is_taken(found, "running") and not running.ended.is_set()
    assert [_is_taken(found, name) for name in ("c", "b", "a")] == [True, True, False]


def test_used_keys_are_forgotten_before_those_that_were_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "_REMEMBER_KEYS", 2)
    found = keys.Keys()
    _give_up(found, "early")
    for name in ("a", "b", "c"):
        found.end(found.claim(name))
    assert _is_taken(found, "early") and _is_taken(found, "c")
    for name in ("x", "y"):
        _give_up(found, name)
    assert not _is_taken(found, "early")
    assert _is_taken(found, "x") and _is_taken(found, "y")


def test_a_command_that_has_ended_holds_nothing() -> None:
    found = keys.Keys()
    run = found.claim("k")
    process: Any = Taken()
    asyncio.run(run.started(process))
    assert run.process is process
    found.end(run)
    assert run.process is None
    asyncio.run(run.kill())  # by one who waited meanwhile
