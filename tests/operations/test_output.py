from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest

from lunette import errors
from lunette._answers import from_transport
from lunette._io import iterate
from lunette._operations._output import Chunk, Output, check_stream, follow, lines

CUT = httpx.ReadError("cut")


class Body(httpx.SyncByteStream):
    """The body of a live answer, which may be cut at its end."""

    def __init__(self, *parts: bytes, cut: bool = False) -> None:
        self.parts = parts
        self.cut = cut
        self.closed = 0

    def __iter__(self) -> Any:
        yield from self.parts
        if self.cut:
            raise from_transport(CUT)

    def close(self) -> None:
        self.closed += 1


def event(kind: str, data: bytes | dict[str, Any], offset: int) -> bytes:
    text = base64.b64encode(data) if isinstance(data, bytes) else json.dumps(data).encode()
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (offset, kind.encode(), text)


def stdout(data: bytes, offset: int) -> bytes:
    return event("stdout", data, offset)


def stderr(data: bytes, offset: int) -> bytes:
    return event("stderr", data, offset)


def exited(offset: int, exit_code: int = 0) -> bytes:
    return event("exit", {"exit_code": exit_code}, offset)


def live(*parts: bytes, cut: bool = False) -> httpx.Response:
    return httpx.Response(200, stream=Body(*parts, cut=cut))


def new() -> Output:
    return Output("s1", "p1")


def everything(io: Any, output: Output | None = None, **options: Any) -> list[Chunk]:
    return list(iterate(follow(io, output or new(), **options)))


def every_line(io: Any, only: Any = None, **options: Any) -> list[str]:
    return list(iterate(lines(io, new(), only, **options)))


def begins(io: Any) -> list[str | None]:
    """Where each of the connections began."""
    return [request["headers"].get("Last-Event-ID") for request in io.requests]


def test_output_comes_until_the_end(scripted: Any) -> None:
    io = scripted(live(stdout(b"a\x00", 2), stderr(b"\xff", 3), exited(3, 7)))
    output = new()

    assert everything(io, output) == [("stdout", b"a\x00"), ("stderr", b"\xff")]

    assert (output.exit_code, output.offset, output.gaps) == (7, 3, 0)
    assert io.diary == ["get /sandboxes/s1/processes/p1/output"]
    assert io.requests[0]["headers"] == {"Accept-Encoding": "identity"}
    assert io.requests[0]["params"] == {}
    assert everything(io, output) == []


def test_a_cut_connection_is_taken_up_where_it_was(scripted: Any) -> None:
    half = stdout(b"lost", 7)[:-1]
    io = scripted(
        live(stdout(b"abc", 3), half, cut=True),
        live(stdout(b"defg", 7), cut=True),
        live(exited(7)),
    )
    assert b"".join(data for _, data in everything(io)) == b"abcdefg"
    assert begins(io) == [None, "3", "7"]
    assert [entry for entry in io.diary if "sleep" in entry] == ["sleep 0", "sleep 0"]


def test_a_stream_that_ends_without_the_end_is_taken_up_again(scripted: Any) -> None:
    io = scripted(live(stdout(b"a", 1)), live(), live(exited(1)))
    assert everything(io) == [("stdout", b"a")]
    assert begins(io) == [None, "1", "1"]


def test_pauses_grow_while_nothing_new_comes(scripted: Any) -> None:
    nothing = [live(cut=True) for _ in range(12)]
    io = scripted(*nothing, live(stdout(b"a", 1), cut=True), live(cut=True), live(exited(1)))
    everything(io)
    pauses = [float(entry.split()[1]) for entry in io.diary if "sleep" in entry]
    assert all(0.05 * 2**n <= pause <= 0.1 * 2**n for n, pause in enumerate(pauses[:6]))
    assert all(2.5 <= pause <= 5 for pause in pauses[6:12])
    assert pauses[12] == 0
    assert pauses[13] <= 0.1


def test_a_cut_after_the_end_is_no_matter(scripted: Any) -> None:
    assert everything(scripted(live(stdout(b"a", 1), exited(1), cut=True))) == [("stdout", b"a")]


@pytest.mark.parametrize(
    "fault",
    [
        from_transport(httpx.ConnectError("refused")),
        from_transport(CUT, errors.SandboxLostError, "it died"),
        httpx.Response(410, json={"code": "sandbox_lost"}),
        httpx.Response(404, json={"code": "process_not_found"}),
    ],
)
def test_what_says_that_nothing_is_left_is_raised(scripted: Any, fault: Any) -> None:
    io = scripted(live(stdout(b"a", 1), cut=True), fault)
    with pytest.raises(errors.LunetteError):
        everything(io)
    assert len(io.requests) == 2


def test_a_server_that_dies_meanwhile_is_not_asked_again(scripted: Any) -> None:
    class Dying(Body):
        def __iter__(self) -> Any:
            raise from_transport(CUT, errors.SandboxLostError, "it died")

    io = scripted(httpx.Response(200, stream=Dying()))
    with pytest.raises(errors.SandboxLostError, match="it died"):
        everything(io)
    assert len(io.requests) == 1


def test_an_error_event_is_raised_as_an_answer_would_be(scripted: Any) -> None:
    problem = {"status": 410, "code": "sandbox_lost", "detail": "it died", "request_id": "r1"}
    io = scripted(live(stdout(b"a", 1), event("error", problem, 1)))
    with pytest.raises(errors.SandboxLostError, match="it died"):
        everything(io)


@pytest.mark.parametrize(
    "broken",
    [
        stdout(b"abc", 4),
        stdout(b"abc", 2),
        b"event: stdout\ndata: YWJj\n\n",
        b"id: x\nevent: stdout\ndata: YWJj\n\n",
        b"id: 3\nevent: stdout\ndata: Y\n\n",
        event("exit", {}, 0),
        event("exit", {"exit_code": "0"}, 0),
        b"event: exit\ndata: [0]\n\n",
        b"event: exit\ndata: {\n\n",
        b"event: error\ndata: {}\n\n",
        event("gap", {"bytes": 1}, 2),
    ],
)
def test_a_broken_stream_is_an_api_error(scripted: Any, broken: bytes) -> None:
    with pytest.raises(errors.APIError, match="not by a Lunette server"):
        everything(scripted(live(broken)))


def test_a_gap_is_counted_and_logged(scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    output = new()
    io = scripted(live(stdout(b"a", 1), event("gap", {"bytes": 9}, 10), stdout(b"b", 11), cut=True))
    io.answers.append(live(exited(11)))

    assert everything(io, output) == [("stdout", b"a"), ("stdout", b"b")]

    assert (output.gaps, output.offset, begins(io)) == (9, 11, [None, "11"])
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "[s1] process p1: 9 bytes of its output were dropped before they were read",
        )
    ]


def test_what_is_unknown_is_passed_over(scripted: Any) -> None:
    io = scripted(live(b": alive\n\n", b"event: news\ndata: x\n\n", exited(0)))
    assert everything(io) == []


def test_without_follow_it_ends_with_what_there_is(scripted: Any) -> None:
    io = scripted(live(stdout(b"a", 1), cut=True), live(stdout(b"b", 2)))
    assert everything(io, follow=False) == [("stdout", b"a"), ("stdout", b"b")]
    assert io.requests[0]["params"] == {"follow": False}
    assert begins(io) == [None, "1"]


def test_leaving_early_closes_the_answer_at_once(scripted: Any) -> None:
    response = live(stdout(b"a", 1), stdout(b"b", 2))
    io, output = scripted(response, live(stdout(b"b", 2), exited(2))), new()

    for chunk in iterate(follow(io, output)):
        assert chunk == ("stdout", b"a")
        break

    assert io.closed == 1
    assert output.offset == 1
    assert everything(io, output) == [("stdout", b"b")]
    assert begins(io) == [None, "1"]


def test_two_loops_at_once_are_refused(scripted: Any) -> None:
    parts = stdout(b"a", 1), stdout(b"b", 2), exited(2)
    output = new()
    one = iterate(follow(scripted(live(*parts)), output))
    other = iterate(follow(scripted(live(*parts[1:])), output))
    assert next(one) == ("stdout", b"a")
    assert next(other) == ("stdout", b"b")
    with pytest.raises(RuntimeError, match="iterated twice at once"):
        next(one)
    assert list(other) == []
    assert output.offset == 2


# Lines


def test_lines_come_in_the_order_of_their_ends(scripted: Any) -> None:
    io = scripted(
        live(
            stdout(b"one\ntw", 6),
            stderr(b"err\r\n\n", 12),
            stdout(b"o\r\nth", 17),
            stderr(b"no end", 23),
            stdout(b"ree", 26),
            exited(26),
        )
    )
    assert every_line(io) == ["one", "err", "", "two", "three", "no end"]


def test_lines_of_one_stream(scripted: Any) -> None:
    parts = stdout(b"a\nb", 3), stderr(b"x\n", 5), stdout(b"\n", 6), exited(6)
    assert every_line(scripted(live(*parts)), "stdout") == ["a", "b"]
    assert every_line(scripted(live(*parts)), "stderr") == ["x"]


def test_what_is_no_stream() -> None:
    for stream in (None, "stdout", "stderr"):
        check_stream(stream)
    with pytest.raises(ValueError, match="stream must be 'stdout' or 'stderr', not 'out'"):
        check_stream("out")


def test_characters_that_are_cut_are_whole_again(scripted: Any) -> None:
    data = "ä€😀\r\n".encode()
    parts = [stdout(data[n : n + 1], n + 1) for n in range(len(data))]
    size = len(data)
    io = scripted(live(*parts, stdout(b"\xff\n\xe2\x82", size + 4), exited(size + 4)))
    assert every_line(io) == ["ä€😀", "\ufffd", "\ufffd"]


def test_no_byte_is_lost_between_loops(scripted: Any) -> None:
    first = live(stdout(b"one\ntwo\nthree\nfo", 16), stderr(b"x", 17))
    rest = live(stdout(b"ur\n", 20), exited(20))
    io, output = scripted(first, rest), new()

    for line in iterate(lines(io, output, None)):
        assert line == "one"
        break
    assert output.offset == 4
    for line in iterate(lines(io, output, None)):
        assert line == "two"
        break

    assert everything(scripted(rest_after(16, b"!")), output)[0] == ("stdout", b"three\nfo")


def rest_after(offset: int, data: bytes) -> httpx.Response:
    return live(stdout(data, offset + len(data)), exited(offset + len(data)))


def test_a_line_that_has_not_ended_waits_for_its_end(scripted: Any) -> None:
    output = new()
    io = scripted(live(stdout(b"a\nhal", 5)), live(stdout(b"f\n", 7), exited(7)))
    assert list(iterate(lines(io, output, None, follow=False))) == ["a"]
    assert output.offset == 2
    assert list(iterate(lines(io, output, None))) == ["half"]


@pytest.mark.parametrize("operation", [follow, lambda io, output: lines(io, output, None)])
def test_a_loop_that_was_never_begun_sends_nothing(
    scripted: Any, operation: Callable[..., AsyncGenerator[Any]]
) -> None:
    iterate(operation(scripted(), new())).close()
