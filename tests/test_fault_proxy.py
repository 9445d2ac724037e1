"""What the fault proxy does to a connection, seen from both of its ends."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import warnings
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from attrs import define, field

from .fault_proxy import PLACES, FaultProxy, Plan, faults, script

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n0123\r\n2\r\n45\r\n0\r\n\r\n"
)
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
ANSWERS = {b"/": ANSWER, b"/chunked": CHUNKED, b"/endless": ENDLESS, b"/wait": ANSWER}
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
WAIT = POST.replace(b"/ ", b"/wait ")
SECONDS = 20.0


@define
class Seen:
    """What the server saw of a connection: its bytes and its end."""

    number: int
    received: bytearray = field(factory=bytearray)
    requests: int = 0
    end: str = ""


class Server:
    """A small HTTP server that looks at bytes and at the ways in which connections end."""

    def __init__(self, path: Path | None = None) -> None:
        self.seen: list[Seen] = []
        self.go_on = threading.Event()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(64)
        self.address = self._listener.getsockname()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        self._listener.close()

    def wait(self, number: int, *, requests: int = 0, end: bool = False) -> Seen:
        """Wait for a connection, for so many requests on it, or for its end."""

        def is_there() -> bool:
            seen = self.seen[number] if number < len(self.seen) else None
            return seen is not None and seen.requests >= requests and bool(seen.end or not end)

        with self._changed:
            assert self._changed.wait_for(is_there, SECONDS), self.seen
            return self.seen[number]

    def _start(self, target: Any, *args: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                seen = Seen(len(self.seen))
                with self._changed:
                    self.seen.append(seen)
                    self._changed.notify_all()
                self._start(self._serve, connection, seen)

    def _serve(self, connection: socket.socket, seen: Seen) -> None:
        end = "FIN"
        try:
            self._talk(connection, seen)
        except ConnectionResetError:
            end = "RST"
        except OSError:
            end = "broken pipe"
        connection.close()
        with self._changed:
            seen.end = end
            self._changed.notify_all()

    def _talk(self, connection: socket.socket, seen: Seen) -> None:
        begin = 0
        while data := connection.recv(65536):
            seen.received += data
            while size := _request(bytes(seen.received[begin:])):
                path = bytes(seen.received[begin:]).split()[1]
                begin += size
                with self._changed:
                    seen.requests += 1
                    self._changed.notify_all()
                if path == b"/wait":
                    self.go_on.wait(SECONDS)
                if path.startswith(b"/big"):
                    connection.sendall(_big(int(path[4:])))
                else:
                    connection.sendall(ANSWERS[path])
                if path == b"/endless":
                    return


def _request(data: bytes) -> int:
    """Count the bytes of the request that stands at the beginning, if it is whole."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return 0
    if b": chunked" in head:
        last = body.find(b"0\r\n\r\n")
        return len(head) + len(end) + last + 5 if last >= 0 else 0
    length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0] or 0)
    return len(head) + len(end) + length if len(body) >= length else 0


def _big(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


def end_of(reset: bool) -> str:
    return "RST" if reset else "FIN"


@pytest.fixture
def server() -> Generator[Server]:
    with Server() as server:
        yield server


class Client:
    """A socket that says how its connection ended."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.socket = socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])))
        self.socket.settimeout(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self.socket.recv(size - len(data))):
            data += piece
        return data

    def read_out(self) -> tuple[bytes, str]:
        data = b""
        try:
            while piece := self.socket.recv(65536):
                data += piece
        except ConnectionResetError:
            return data, "RST"
        return data, "FIN"


def ask(proxy: FaultProxy, request: bytes) -> tuple[bytes, str]:
    """Send a request and read until the connection ends."""
    with Client(proxy) as client:
        client.send(request)
        return client.read_out()


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
        assert (data, end) == (_big(size)[: 3 - size], "FIN")
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
