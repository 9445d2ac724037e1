from __future__ import annotations

from typing import Any

import httpx
import pytest

from lunette import errors
from lunette._io import run
from lunette._operations._input import Input, close_input, write

MIB = 1024 * 1024


def new(taken: int = 0) -> Input:
    return Input("s1", "p1", taken)


def at(offset: int) -> httpx.Response:
    return httpx.Response(200, json={"offset": offset})


def sent(io: Any) -> list[tuple[int, int]]:
    """The offset and the size of each piece."""
    return [(request["params"]["offset"], len(request["content"])) for request in io.requests]


def test_text_goes_as_utf8(scripted: Any) -> None:
    io, input = scripted(at(2), at(5)), new()
    run(write(io, input, "ä"))
    run(write(io, input, b"\x00\xff\n"))
    assert [request["content"] for request in io.requests] == ["ä".encode(), b"\x00\xff\n"]
    assert io.diary == ["put /sandboxes/s1/processes/p1/input"] * 2
    assert io.requests[1]["params"] == {"offset": 2, "wait": 25.0}
    assert input.taken == 5


def test_much_goes_in_pieces(scripted: Any) -> None:
    io = scripted(at(MIB), at(2 * MIB), at(2 * MIB + 1))
    data: Any = memoryview(bytes(2 * MIB + 1))
    run(write(io, new(), data))
    assert sent(io) == [(0, MIB), (MIB, MIB), (2 * MIB, 1)]


def test_what_was_not_taken_is_sent_again(scripted: Any) -> None:
    io, input = scripted(at(10), at(12), at(12), at(15)), new(10)
    run(write(io, input, b"abcde"))
    assert sent(io) == [(10, 5), (10, 5), (12, 3), (12, 3)]
    assert [request["content"] for request in io.requests[2:]] == [b"cde"] * 2


def test_nothing_is_nothing(scripted: Any) -> None:
    run(write(scripted(), new(), ""))


def test_after_a_write_that_was_given_up_the_server_is_asked(scripted: Any) -> None:
    io, input = scripted(KeyboardInterrupt(), at(3), at(5)), new()
    with pytest.raises(KeyboardInterrupt):
        run(write(io, input, b"abcd"))
    run(write(io, input, b"ef"))
    assert sent(io) == [(0, 4), (0, 0), (3, 2)]


def test_another_writer_is_found(scripted: Any) -> None:
    with pytest.raises(errors.APIError, match="is at 9, where 0 bytes were written: somebody else"):
        run(write(scripted(at(9)), new(), b"abc"))
    gap = httpx.Response(409, json={"code": "input_gap", "detail": "input is at 0", "offset": 0})
    with pytest.raises(errors.APIError, match="input is at 0"):
        run(write(scripted(gap), new(5), b"abc"))


def closed() -> httpx.Response:
    return httpx.Response(409, json={"code": "input_closed", "detail": "nobody reads"})


def test_a_closed_input_is_a_broken_pipe(scripted: Any) -> None:
    with pytest.raises(BrokenPipeError, match="nobody reads") as caught:
        run(write(scripted(closed()), new(), b"abc"))
    assert isinstance(caught.value, errors.ProcessInputClosedError)
    assert caught.value.errno == 32


def test_it_is_closed_at_its_end(scripted: Any) -> None:
    io = scripted(at(3), at(3), closed())
    input = new()
    run(write(io, input, b"abc"))
    run(close_input(io, input))
    run(close_input(io, input))
    assert io.requests[1]["params"] == {"offset": 3, "end": True, "wait": 25.0}
    assert io.requests[1]["content"] == b""


@pytest.mark.parametrize("data", [1, None, ["a"]])
def test_what_cannot_be_written(scripted: Any, data: Any) -> None:
    with pytest.raises(TypeError, match="data must be a string or bytes, not "):
        run(write(scripted(), new(), data))
