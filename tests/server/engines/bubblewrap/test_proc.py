"""What is read of processes, by a process that may have no descriptor left."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lunette.server.engines.bubblewrap._proc import HUNTS, Proc, Process, Reserve
from lunette.server.engines.bubblewrap.inside.wire import MARKER

from .descriptors import no_descriptors

MINE = "0123456789abcdef" * 2
GUARD = 30.0


@pytest.fixture
def reserve() -> Iterator[Reserve]:
    made = Reserve()
    yield made
    made.close()


@pytest.fixture
def proc(reserve: Reserve) -> Proc:
    return Proc(time.monotonic() + GUARD, reserve)


@contextmanager
def started(env: dict[str, str], proc: Proc) -> Generator[Process]:
    pipe = subprocess.PIPE
    with subprocess.Popen(["/bin/cat"], env=env, stdin=pipe, stdout=pipe, bufsize=0) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(b"up\n")
            child.stdout.readline()  # within an exec there is a moment without an environment
            (found,) = (p for p in proc.descendants(os.getpid()) if p.pid == child.pid)
            yield found
        finally:
            child.kill()


@pytest.mark.parametrize("before", [0, 1, 3, 65_000, 65_480, 65_490, 65_536, 131_000])
@pytest.mark.parametrize("behind", [0, 70_000])
def test_a_marker_is_found_wherever_it_is(proc: Proc, before: int, behind: int) -> None:
    env = {f"B{n}": "b" * min(65_000, left) for n, left in enumerate(range(before, 0, -65_000))}
    env |= {MARKER: MINE} | ({"C": "c" * behind} if behind else {})
    with started(env, proc) as found:
        assert proc.is_marked(found, [MINE])
        assert proc.is_marked(found, ["f" * 32, MINE])
        assert not proc.is_marked(found, ["f" * 32])


@pytest.mark.parametrize(
    "env",
    [
        {f"X{MARKER}": MINE},
        {MARKER: MINE + "0"},
        {MARKER: MINE[:-1]},
        {"A": f"{MARKER}={MINE}"},
        {},
    ],
)
def test_what_only_looks_like_a_marker_is_none(proc: Proc, env: dict[str, str]) -> None:
    with started(env, proc) as found:
        assert not proc.is_marked(found, [MINE])


def test_nothing_is_read_after_the_deadline(proc: Proc, reserve: Reserve) -> None:
    late = Proc(time.monotonic(), reserve)
    with started({MARKER: MINE}, proc) as found:
        assert not late.is_marked(found, [MINE])
        assert late.descendants(os.getpid()) == []
        assert late.is_alive(found)


def test_who_is_gone_is_nobody(proc: Proc) -> None:
    with started({MARKER: MINE}, proc) as found:
        pass
    assert not proc.is_alive(found)
    assert not proc.is_marked(found, [MINE])
    proc.signal(found, 9)


def test_without_a_descriptor_nobody_is_taken_for_gone(proc: Proc) -> None:
    soon = Proc(time.monotonic() + 0.05, Reserve())
    with started({}, proc) as found, no_descriptors():
        for look in (lambda: soon.is_alive(found), lambda: soon.signal(found, 0)):
            with pytest.raises(OSError) as caught:
                look()
            assert caught.value.errno == errno.EMFILE


def test_the_reserve_is_given_up_and_held_again(proc: Proc, reserve: Reserve) -> None:
    reserve.refill()
    with started({MARKER: MINE}, proc) as found, no_descriptors():
        for _ in range(50):
            assert proc.is_marked(found, [MINE])
            proc.signal(found, 0)
            assert proc.is_alive(found)
        left = given_up(reserve)
    reserve.refill()
    assert left == given_up(reserve) > 0


def given_up(reserve: Reserve) -> int:
    return sum(iter(reserve.give_up, False))


def test_nobody_else_takes_what_is_given_up(proc: Proc, reserve: Reserve) -> None:
    reserve.refill()
    over = threading.Event()
    with started({MARKER: MINE}, proc) as found, no_descriptors() as held:

        def take() -> None:
            while not over.wait(0.001):
                with contextlib.suppress(OSError):
                    held.append(os.open(os.devnull, os.O_RDONLY))

        taking = threading.Thread(target=take)
        taking.start()
        try:
            for _ in range(2000):
                proc.signal(found, 0)
        finally:
            over.set()
            taking.join()


def test_hunts_do_not_wait_for_each_other(proc: Proc, reserve: Reserve) -> None:
    reserve.refill()
    with started({}, proc) as found, ThreadPoolExecutor(HUNTS) as threads, no_descriptors():
        list(threads.map(lambda _: proc.signal(found, 0), range(500)))


def test_a_descriptor_is_waited_for(proc: Proc) -> None:
    waiting = Proc(proc.end, Reserve())
    with started({}, proc) as found, no_descriptors() as held:
        giving = threading.Timer(0.05, lambda: os.close(held.pop()))
        giving.start()
        assert waiting.is_alive(found)
        giving.join()
