"""What the fault proxy passes on, what it refuses, and what a seed repeats."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from .plans import PLACES, Plan, faults, script
from .proxy import FaultProxy
from .raw import ANSWER, ANSWERS, CHUNKED, ENDLESS, GET, POST, WAIT, Client, Server, ask
from .raw import server as server


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED])
def test_without_a_fault_bytes_pass_unchanged_on_one_connection(
    server: Server, answer: bytes
) -> None:
    path = next(path for path, what in ANSWERS.items() if what == answer)
    chunked = b"PUT %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % path
    with FaultProxy(server.address) as proxy, Client(proxy) as client:
        for _ in range(3):
            for request in (chunked, GET.replace(b"/ ", path + b" ")):
                client.send(request)
                assert client.read(len(answer)) == answer
        assert (proxy.requests, proxy.connections, proxy.cuts) == (6, 1, 0)
        assert not proxy.counts
    seen = server.wait(0, end=True)
    assert (seen.requests, len(server.seen)) == (6, 1)


def test_two_requests_in_one_piece_are_two(server: Server) -> None:
    with FaultProxy(server.address) as proxy, Client(proxy) as client:
        client.send(GET + POST)
        assert client.read(2 * len(ANSWER)) == ANSWER + ANSWER
        assert proxy.requests == 2


def test_a_request_in_single_bytes_passes(server: Server) -> None:
    with FaultProxy(server.address) as proxy, Client(proxy) as client:
        for byte in POST:
            client.send(bytes([byte]))
        assert client.read(len(ANSWER)) == ANSWER
    assert server.seen[0].received == POST


def test_the_end_of_either_side_reaches_the_other(server: Server) -> None:
    with FaultProxy(server.address) as proxy:
        assert ask(proxy, GET.replace(b"/ ", b"/endless ")) == (ENDLESS, "FIN")
        with Client(proxy) as client:
            client.send(POST[:20])
        assert server.wait(1, end=True).end == "FIN"
        assert server.seen[1].received == POST[:20]
        with Client(proxy) as client:
            client.send(POST)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.read_out() == (ANSWER, "FIN")


def test_a_unix_socket_is_a_target(tmp_path: Path) -> None:
    with Server(tmp_path / "socket") as server:
        for target in (tmp_path / "socket", f"unix://{tmp_path}/socket", str(tmp_path / "socket")):
            with FaultProxy(target) as proxy:
                assert httpx.get(proxy.url, trust_env=False).text == "0123456789"
        assert len(server.seen) == 3


def test_refused_connections_never_reach_the_server(server: Server) -> None:
    with FaultProxy(server.address, seed=3, refuse=1.0) as proxy:
        with Client(proxy) as client:
            assert client.read_out() == (b"", "FIN")
        proxy.refuse = 0.0
        assert httpx.get(proxy.url, trust_env=False).status_code == 200
        assert (proxy.counts, proxy.connections, proxy.requests) == ({"refuse": 1}, 2, 1)
    assert len(server.seen) == 1


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = free.getsockname()
    with FaultProxy(address) as proxy, Client(proxy) as client:
        assert client.read_out() == (b"", "FIN")
        assert proxy.counts == {"unreachable": 1}


def test_a_connection_on_which_nothing_passes_is_cut(server: Server) -> None:
    with FaultProxy(server.address, idle=0.2) as proxy:
        begun = time.monotonic()
        data, end = ask(proxy, WAIT)
        assert time.monotonic() - begun >= 0.2
        assert data == b""
        assert end in {"FIN", "RST"}
        assert (proxy.cuts, proxy.counts) == (1, {"idle": 1})
        server.go_on.set()
        assert server.wait(0, end=True).requests == 1


def test_a_byte_now_and_then_keeps_a_connection(server: Server) -> None:
    with FaultProxy(server.address, idle=0.5) as proxy, Client(proxy) as client:
        begun = time.monotonic()
        for byte in POST[:6]:
            client.send(bytes([byte]))
            time.sleep(0.1)  # what is tested is time
        client.send(POST[6:])
        assert client.read(len(ANSWER)) == ANSWER
        assert time.monotonic() - begun > 0.5
        assert proxy.cuts == 0


def test_a_draw_sees_the_head_and_hits_what_it_chooses(server: Server) -> None:
    heads = []

    def draw(chance: random.Random, head: bytes) -> Plan | None:
        heads.append(head)
        return Plan(kind="cut", at=0) if head.startswith(b"POST") else None

    with FaultProxy(server.address, draw=draw) as proxy, Client(proxy) as client:
        client.send(GET)
        assert client.read(len(ANSWER)) == ANSWER
        client.send(POST)
        assert client.read_out()[0] == b""
    assert heads == [GET, POST[:-5]]


def test_the_error_of_a_draw_is_not_lost(server: Server) -> None:
    proxy = FaultProxy(server.address, draw=lambda chance, head: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ExceptionGroup) as raised, proxy:
        assert ask(proxy, GET)[0] == b""
    assert raised.group_contains(ZeroDivisionError)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "cut"},
        {"kind": "cut", "at": 1, "fraction": 0.5},
        {"kind": "truncate", "direction": "request", "at": 1},
    ],
)
def test_a_plan_without_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at|truncated"):
        Plan(**wrong)


def test_the_drawer_draws_each_kind_and_place_at_its_rate() -> None:
    chance, draw = random.Random(4), faults(0.5, only="^GET ")
    drawn = [draw(chance, GET) for _ in range(2000)]
    plans = [plan for plan in drawn if plan is not None]
    assert 900 < len(plans) < 1100
    assert {plan.kind for plan in plans} == {"cut", "delay", "truncate", "duplicate"}
    assert {plan.note for plan in plans if plan.kind == "cut"} == set(PLACES)
    assert all(plan.direction == "answer" for plan in plans if plan.kind == "truncate")
    assert not any(draw(chance, POST) for _ in range(100))


def test_a_seed_repeats_a_run(server: Server) -> None:
    def run(seed: int) -> tuple[list[tuple[bytes, str]], str]:
        with FaultProxy(server.address, seed=seed, rate=0.8) as proxy:
            end = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
            seen = []
            for _ in range(30):
                with Client(proxy) as client:
                    client.send(end)
                    with suppress(OSError):  # it may be cut before
                        client.socket.shutdown(socket.SHUT_WR)
                    seen.append(client.read_out())
            proxy.settle()
            return seen, repr(proxy)

    first = run(5)
    assert first == run(5)
    assert first != run(6)
    assert first[1].startswith("FaultProxy(seed=5, requests=30, counts={'cut': ")


def test_in_chaos_an_answer_is_right_or_an_error(server: Server) -> None:
    def work(proxy: FaultProxy, outcomes: list[bool]) -> None:
        with httpx.Client(trust_env=False) as client:
            for _ in range(40):
                try:
                    outcomes.append(client.post(proxy.url, content=b"hello").text == "0123456789")
                except httpx.TransportError:
                    continue

    right: list[bool] = []
    with FaultProxy(server.address, seed=11, rate=0.4, refuse=0.1) as proxy:
        threads = [threading.Thread(target=work, args=(proxy, right)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        proxy.settle()
    assert all(right)
    assert len(right) > 60
    assert min(proxy.counts[k] for k in ("cut", "delay", "truncate", "duplicate", "refuse")) > 0


def test_a_failure_prints_the_seed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), FaultProxy(server.address, seed=77):
        raise KeyError
    assert "FaultProxy(seed=77, requests=0" in capsys.readouterr().out


def test_closing_cuts_everything_and_leaves_nothing(server: Server) -> None:
    before = descriptors(), threading.active_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with FaultProxy(server.address, draw=script(Plan(kind="duplicate"))) as proxy:
            clients = [Client(proxy) for _ in range(5)]
            clients[0].send(WAIT)
            for n in range(6):
                server.wait(n)
            assert threading.active_count() > before[1]
        for client in clients:
            with client:
                assert client.read_out() == (b"", "RST")
        proxy.close()
    server.go_on.set()
    for n in range(6):
        server.wait(n, end=True)
    assert descriptors() == before[0]
    assert not [thread for thread in threading.enumerate() if "fault proxy" in thread.name]


def descriptors() -> set[str]:
    """The sockets of this process."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(fd))  # noqa: PTH115  # no path, but the name of a socket
    return {name for name in found if name.startswith("socket:")}
