from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

import pytest

from lunette._operations._overlap import Ahead, Behind

MIB = bytes(1 << 20)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Generator[None]:
    yield
    assert "lunette-tree" not in [thread.name for thread in threading.enumerate()]


def test_what_is_taken_ahead_comes_in_order() -> None:
    items = [b"%d" % number for number in range(1000)]
    ahead = Ahead(iter(items))
    assert list(ahead) == items
    assert list(ahead) == []
    ahead.close()


def test_an_error_comes_behind_what_came_before_it() -> None:
    def items() -> Iterator[bytes]:
        yield b"1"
        yield b"2"
        raise PermissionError("no")

    ahead = Ahead(items())
    assert [next(ahead), next(ahead)] == [b"1", b"2"]
    with pytest.raises(PermissionError, match="no"):
        next(ahead)
    ahead.close()


def test_no_more_than_a_piece_is_taken_ahead() -> None:
    taken: list[int] = []
    is_full = threading.Event()

    def items() -> Iterator[bytes]:
        while True:
            taken.append(1)
            if len(taken) == 6:  # four and the one that was asked for are held, one waits
                is_full.set()
            yield MIB

    ahead = Ahead(items())
    next(ahead)
    assert is_full.wait(30)
    ahead.close()
    ahead.close()
    assert len(taken) == 6


def test_nothing_is_taken_unless_it_is_asked_for() -> None:
    Ahead(iter([b"1"])).close()
    Behind(lambda chunk: None).close()
    Behind(lambda chunk: None).finish()


def test_what_is_put_is_taken_in_order() -> None:
    taken: list[bytes] = []
    behind = Behind(taken.append)
    for number in range(1000):
        behind.put(b"%d" % number)
    behind.finish()
    assert taken == [b"%d" % number for number in range(1000)]
    behind.close()


def test_an_error_of_what_was_put_is_raised_later() -> None:
    def take(chunk: bytes) -> None:
        raise ValueError("damaged")

    behind = Behind(take)
    with pytest.raises(ValueError, match="damaged"):
        for _ in range(10):  # more than there is room for
            behind.put(MIB)
    behind.close()
    behind = Behind(take)
    behind.put(b"1")
    with pytest.raises(ValueError, match="damaged"):
        behind.finish()


def test_what_is_given_up_is_not_taken() -> None:
    taken: list[bytes] = []
    begun, go_on = threading.Event(), threading.Event()

    def take(chunk: bytes) -> None:
        taken.append(chunk)
        begun.set()
        assert go_on.wait(30)

    behind = Behind(take)
    behind.put(b"1")
    behind.put(b"2")
    assert begun.wait(30)
    closing = threading.Thread(target=behind.close)
    closing.start()
    behind._passage.forget()  # as the other thread does, at some time
    go_on.set()
    closing.join()
    assert taken == [b"1"]
