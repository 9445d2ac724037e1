"""What each kind of plan does to a connection, seen from both of its ends."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from .plans import Plan, script
from .proxy import FaultProxy
from .raw import ANSWER, CHUNKED, GET, POST, WAIT, Client, Seen, Server, ask, big, end_of
from .raw import server as server


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("where", "passed"),
    [
        ({"at": 0}, 0),
        ({"at": 7}, 7),
        ({"part": "head", "fraction": 0.5}, (len(WAIT) - 5) // 2),
        ({"part": "body", "at": 2}, len(WAIT) - 3),
        ({"at": -1}, len(WAIT) - 1),
        ({"fraction": 1.0}, len(WAIT)),
    ],
)
def test_a_cut_in_a_request(
    server: Server, where: dict[str, Any], passed: int, reset: bool
) -> None:
    plan = Plan(kind="cut", direction="request", reset=reset, **where)
    with FaultProxy(server.address, draw=script(plan)) as proxy:
        assert ask(proxy, WAIT) == (b"", end_of(reset))
        server.go_on.set()
        seen = server.wait(0, end=True)
        assert seen.received == WAIT[:passed]
        assert (proxy.cuts, proxy.counts) == (1, {"cut": 1})
    # A server that had answered by then finds its pipe broken.
    assert seen.requests == (passed == len(WAIT))
    assert seen.requests or seen.end == end_of(reset)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("where", "passed"),
    [
        ({"at": 0}, 0),
        ({"part": "head", "at": 9}, 9),
        ({"part": "body", "fraction": 0.5}, len(ANSWER) - 5),
        ({"at": -1}, len(ANSWER) - 1),
        ({"fraction": 1.0}, len(ANSWER)),
    ],
)
def test_a_cut_in_an_answer(
    server: Server, where: dict[str, Any], passed: int, reset: bool
) -> None:
    with FaultProxy(server.address, draw=script(None, Plan(kind="cut", reset=reset, **where))) as p:
        with Client(p) as client:
            client.send(GET)
            assert client.read(len(ANSWER)) == ANSWER
            client.send(POST)
            assert client.read_out() == (ANSWER[:passed], "RST" if reset else "FIN")
        assert server.wait(0, end=True) == Seen(0, bytearray(GET + POST), 2, end_of(reset))
        assert p.faults[0][:2] == (2, "POST / HTTP/1.1")


def test_a_cut_in_chunks_is_before_the_last_byte(server: Server) -> None:
    request = GET.replace(b"/ ", b"/chunked ")
    with FaultProxy(server.address, draw=script(Plan(kind="cut", at=-1, reset=False))) as proxy:
        assert ask(proxy, request) == (CHUNKED[:-1], "FIN")


def test_a_cut_of_a_large_answer_is_exact_whoever_reads_slowly(server: Server) -> None:
    at, request = 3_000_000, GET.replace(b"/ ", b"/big32000000 ")
    with FaultProxy(server.address, draw=script(Plan(kind="cut", at=at, reset=False))) as proxy:
        data, end = ask(proxy, request)
        assert (len(data), end) == (at, "FIN")
        assert server.wait(0, end=True).end in {"RST", "broken pipe"}


def test_chance_says_how_a_connection_is_cut(server: Server) -> None:
    def ends(seed: int) -> list[str]:
        cut = Plan(kind="cut", at=0)
        with FaultProxy(server.address, seed=seed, draw=lambda chance, head: cut) as proxy:
            return [ask(proxy, GET)[1] for _ in range(12)]

    assert set(ends(1)) == {"FIN", "RST"}
    assert ends(1) == ends(1) != ends(2)


def test_what_lies_behind_the_end_is_missed(server: Server) -> None:
    plan = Plan(kind="cut", at=len(ANSWER) + 1)
    with FaultProxy(server.address, draw=script(plan)) as proxy, Client(proxy) as client:
        client.send(GET + GET)
        assert client.read(2 * len(ANSWER)) == ANSWER + ANSWER
        assert proxy.counts == {"missed": 1}


@pytest.mark.parametrize("direction", ["request", "answer"])
def test_a_delay_is_a_pause_at_a_byte(server: Server, direction: Any) -> None:
    plan = Plan(kind="delay", direction=direction, at=5, pause=0.1)
    with FaultProxy(server.address, draw=script(plan)) as proxy, Client(proxy) as client:
        begun = time.monotonic()
        client.send(POST)
        assert client.read(len(ANSWER)) == ANSWER
        assert time.monotonic() - begun >= 0.1
        assert proxy.counts == {"delay": 1}
    assert server.seen[0].received == POST


def test_a_truncated_answer_ends_with_a_fin_and_its_server_sees_nothing(server: Server) -> None:
    size = 8_000_000
    plan = Plan(kind="truncate", part="body", at=3)
    with FaultProxy(server.address, draw=script(plan)) as proxy:
        data, end = ask(proxy, GET.replace(b"/ ", b"/big%d " % size))
        assert (data, end) == (big(size)[: 3 - size], "FIN")
        proxy.settle()
        assert server.wait(0, end=True).end == "FIN"
        assert (proxy.counts, proxy.cuts) == ({"truncate": 1}, 0)


def test_httpx_finds_an_answer_truncated(server: Server) -> None:
    plan = Plan(kind="truncate", at=-1)
    with (
        FaultProxy(server.address, draw=script(plan)) as proxy,
        httpx.Client(trust_env=False) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message"):
            client.get(proxy.url)
        assert client.get(proxy.url).text == "0123456789"


@pytest.mark.parametrize("answer", ["first", "second"])
@pytest.mark.parametrize("later", [False, True])
def test_a_duplicate_is_delivered_whole_on_another_connection(
    server: Server, later: bool, answer: Any
) -> None:
    plan = Plan(kind="duplicate", later=later, answer=answer)
    with FaultProxy(server.address, draw=script(plan)) as proxy, Client(proxy) as client:
        client.send(POST)
        assert client.read(len(ANSWER)) == ANSWER
        proxy.settle()
        client.send(GET)
        assert client.read(len(ANSWER)) == ANSWER
        assert (proxy.requests, proxy.counts) == (2, {"duplicate": 1})
        assert list(proxy.thrown_away) == [ANSWER[:-10]]
    assert [server.wait(n, end=True).received for n in (0, 1)] == [POST + GET, POST]


def test_a_later_duplicate_comes_after_the_first_answer(server: Server) -> None:
    """Of its two connections the client's is the first to be opened."""
    request = WAIT
    for turn, answered in (("first", 0), ("second", 1)):
        server.go_on.clear()
        server.seen.clear()
        plan = Plan(kind="duplicate", later=True, answer=turn)  # type: ignore[arg-type]
        with FaultProxy(server.address, draw=script(plan)) as proxy, Client(proxy) as client:
            client.send(request)
            server.wait(answered, requests=1)
            assert sum(seen.requests for seen in server.seen) == 1
            server.go_on.set()
            assert client.read(len(ANSWER)) == ANSWER
            proxy.settle()
            assert [server.wait(n, requests=1).received for n in (0, 1)] == [request] * 2


def test_a_duplicate_at_once_does_not_wait_for_an_answer(server: Server) -> None:
    plan = Plan(kind="duplicate")
    with FaultProxy(server.address, draw=script(plan)) as proxy, Client(proxy) as client:
        client.send(WAIT)
        server.wait(0, requests=1)
        server.wait(1, requests=1)
        server.go_on.set()
        assert client.read(len(ANSWER)) == ANSWER


@pytest.mark.parametrize("later", [False, True])
def test_a_duplicate_of_half_a_request_is_never_whole(server: Server, later: bool) -> None:
    plan = Plan(kind="duplicate", later=later)
    with FaultProxy(server.address, draw=script(plan)) as proxy:
        with Client(proxy) as client:
            client.send(POST[:-2])
            server.wait(0)
        server.wait(0, end=True)
        proxy.settle()
        assert [server.wait(n, end=True).requests for n in range(len(server.seen))] == (
            [0] if later else [0, 0]
        )


def test_a_duplicate_outlives_a_client_that_hangs_up(server: Server) -> None:
    with FaultProxy(server.address, draw=script(Plan(kind="duplicate", later=True))) as proxy:
        with Client(proxy) as client:
            client.send(WAIT)
            server.wait(0, requests=1)
        server.go_on.set()
        proxy.settle()
        assert server.wait(1, end=True).requests == 1
