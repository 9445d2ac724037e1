from __future__ import annotations

import json
import select
import socket
import struct
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import httpx
import pytest

from lunette.server._bounded import BoundedProtocol
from lunette.server._connections import Bounds
from lunette.server._problems import Problem

from .bent_engine import BentEngine
from .conftest import Service, running

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"


class Hurried(Protocol):
    def __call__(self, **seconds: float) -> Service: ...


@pytest.fixture
def hurried(engine: BentEngine) -> Iterator[Hurried]:
    """Return what makes a server that waits for less."""
    with ExitStack() as stack:

        def begin(**seconds: float) -> Service:
            bounds: Any = {"tick": 0.02, **seconds}
            return stack.enter_context(running(Service(engine, bounds=Bounds(**bounds))))

        yield begin


def _all(connection: socket.socket) -> bytes:
    """Read until the server cuts the connection, in whichever way."""
    found = b""
    try:
        while data := connection.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


def _problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    problem: dict[str, Any] = json.loads(body)
    assert b"connection: close" in head.lower() and b"problem+json" in head
    assert f"x-request-id: {problem['request_id']}".encode() in head.lower()
    assert head.startswith(f"HTTP/1.1 {problem['status']} ".encode())
    return problem["status"], problem["code"]


def _drip(connection: socket.socket, drop: bytes, seconds: float = 0.02) -> int:
    """Send a drop every moment for as long as the server says nothing; return how many."""
    count = 0
    while not select.select([connection], [], [], seconds)[0]:
        try:
            connection.sendall(drop)
        except (BrokenPipeError, ConnectionResetError):
            break
        count += 1
    return count


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health?q=%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"q" * 33_000), 414),
        (GET + b"A: b\r\n" * 200 + b"\r\n", 431),
        (GET + b"A: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        # These have no end.
        (GET + b"A: " + b"b" * 400_000, 431),
        (GET + b"A: b\r\n" * 70_000, 431),
        (b"GET /" + b"q" * 400_000, 431),
    ],
)
def test_too_much_of_a_head_is_refused(service: Service, head: bytes, status: int) -> None:
    with service.raw() as connection, service.client() as client:
        connection.sendall(head)
        assert _problem(_all(connection)) == (status, "bad_request")
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "junk", [b"zz\r\n", b"1;" + b"x" * 600_000, b"0\r\n" + b"A: b\r\n" * 100_000]
)
@pytest.mark.parametrize("path", [b"/health", b"/sandboxes/stop"])
def test_what_is_no_body_is_not_read_for_ever(service: Service, path: bytes, junk: bytes) -> None:
    with service.raw() as connection, service.client() as client:
        connection.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json" % path)
        connection.sendall(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(junk)
        answer = _all(connection)
        assert answer.count(b"HTTP/1.1 40") == 1, answer
        assert client.get("/health").status_code == 200


def test_what_is_within_the_bounds_is_answered(service: Service) -> None:
    fields = {**{f"Field-{number}": "x" for number in range(100)}, "Long": "x" * 60_000}
    with service.client() as client:
        for _ in range(2):
            answer = client.get("/health", params={"q": "q" * 3000}, headers=fields)
            assert answer.status_code == 200
    with service.raw() as connection:  # many at once are not one that is long
        connection.sendall((GET + b"A: " + b"b" * 10_000 + b"\r\n\r\n") * 15 + GET)
        connection.sendall(b"Connection: close\r\n\r\n")
        assert _all(connection).count(b"HTTP/1.1 200 ") == 16


def test_too_many_requests_at_once_are_cut(service: Service) -> None:
    with service.raw() as connection, service.client() as client:
        connection.sendall((GET + b"\r\n") * 300)
        assert _all(connection).count(b"HTTP/1.1 ") < 300
        assert client.get("/health").status_code == 200


def test_what_comes_behind_a_body_is_no_header(tcp: Service) -> None:
    with tcp.raw() as connection:
        head = b"POST /sandboxes/stop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        connection.sendall(
            head + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        )
        connection.sendall(b'\r\n12\r\n{"sandbox_ids":[]}\r\n0\r\nX-API-Key: right-key\r\n\r\n')
        assert _all(connection).startswith(b"HTTP/1.1 401 ")


def test_a_head_that_takes_too_long_is_refused(hurried: Hurried) -> None:
    service = hurried(head_seconds=0.3)
    with ExitStack() as stack:
        slow = [stack.enter_context(service.raw()) for _ in range(4)]
        for connection, begin in zip(slow, [b"G", GET, GET + b"A", b"\r\n" + GET], strict=True):
            connection.sendall(begin)
        for connection in slow:
            assert _problem(_all(connection)) == (408, "bad_request")


def test_a_head_in_drops_gets_no_more_time(hurried: Hurried) -> None:
    service = hurried(head_seconds=0.3)
    for in_time in (0, 1):
        with service.raw() as connection:
            if in_time:
                connection.sendall(GET + b"\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            connection.sendall(GET + b"A: ")
            assert _drip(connection, b"b") > 3
            assert _problem(_all(connection)) == (408, "bad_request")


def test_a_connection_without_a_request_is_cut(hurried: Hurried) -> None:
    service = hurried(idle_seconds=1.0)
    with service.raw() as fresh, service.raw() as used:
        used.sendall(GET + b"\r\n")
        assert used.recv(65536).startswith(b"HTTP/1.1 200 ")
        _drip(used, b"\r\n")  # which is no request either
        assert _all(used) == _all(fresh) == b""


@pytest.mark.parametrize("length", [10, 3_000_000])
def test_a_body_that_stops_is_cut(hurried: Hurried, length: int) -> None:
    service = hurried(body_seconds=0.5)
    with service.client() as client:
        path = _sandbox(client)
        with service.raw() as connection:
            _begin_file(connection, path, length)
            connection.sendall(b"x" * (length // 4))
            assert _all(connection) == b""
        assert client.get(f"{path}/files", params={"path": "f"}).status_code == 404


def test_a_body_in_drops_is_read(hurried: Hurried) -> None:
    service = hurried(body_seconds=1.0)
    with service.client() as client, service.raw() as connection:
        path = _sandbox(client)
        _begin_file(connection, path, 60)
        for _ in range(60):  # for longer than a body may be silent
            assert not select.select([connection], [], [], 0.02)[0]
            connection.sendall(b"x")
        assert connection.recv(65536).startswith(b"HTTP/1.1 20")
        assert client.get(f"{path}/files", params={"path": "f"}).content == b"x" * 60


def test_who_waits_for_the_server_is_not_cut(hurried: Hurried) -> None:
    service = hurried(head_seconds=0.5, body_seconds=0.5, idle_seconds=0.5)
    with service.client() as client:
        answer = client.post(f"{_sandbox(client)}/exec", json={"command": "sleep 0.8; echo there"})
        assert answer.json()["stdout"] == "there\n"


def test_a_running_request_is_not_answered_for_the_next(service: Service) -> None:
    with service.client() as client, service.raw() as connection:
        body = b'{"command": "sleep 1"}'
        head = f"POST {_sandbox(client)}/exec HTTP/1.1\r\nHost: x\r\n".encode()
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body + b"no http at all\r\n\r\n")
        assert _all(connection) == b""


def test_who_only_holds_a_connection_makes_room(engine: BentEngine) -> None:
    with running(Service(engine, bounds=Bounds(connections=16))) as service, ExitStack() as stack:
        held = [stack.enter_context(service.raw()) for _ in range(16)]
        held[0].sendall(GET)  # a slow one is no better
        with service.client() as client:
            assert client.get("/health").status_code == 200
        assert _all(held[0]) == b""
        held[-1].sendall(GET + b"\r\n")
        assert held[-1].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_no_more_requests_run_than_may(engine: BentEngine) -> None:
    with running(Service(engine, bounds=Bounds(connections=16))) as service, ExitStack() as stack:
        client = stack.enter_context(service.client())
        path = _sandbox(client)
        held = [stack.enter_context(service.raw()) for _ in range(15)]
        for connection in held[1:]:
            _begin_file(connection, path, 10)
        service.until(lambda: len(service.tasks()) == 14)
        assert client.get("/health").status_code == 200
        _begin_file(held[0], path, 10)
        service.until(lambda: len(service.tasks()) == 15)
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert answer.headers["retry-after"] == "1"
        held[0].sendall(b"x" * 10)
        assert held[0].recv(65536).startswith(b"HTTP/1.1 20")
        assert client.get("/health").status_code == 200


def test_a_client_that_is_gone_before_its_refusal(tcp: Service) -> None:
    for head in (b"G", b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"):
        with tcp.raw() as connection:
            connection.sendall(head)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            tcp.until(lambda: bool(tcp.connections()))
            tcp.call(_leave_and_refuse, connection, *tcp.connections())
        tcp.until(lambda: not tcp.connections())


def _leave_and_refuse(connection: socket.socket, accepted: BoundedProtocol) -> None:
    connection.close()  # by a reset, which the loop has not seen
    accepted.refuse(Problem(400, "bad_request", "too late"))


def test_the_system_finds_out_about_clients_that_are_gone(tcp: Service) -> None:
    with tcp.raw() as connection:
        connection.sendall(b"\r\n")
        tcp.until(lambda: bool(tcp.connections()))
        (found,) = tcp.connections()
        accepted = found.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_a_bound_is_made_of_what_the_system_allows(few_descriptors: int) -> None:
    bounds = Bounds()
    assert 16 <= bounds.connections <= 512 and bounds.requests < bounds.connections


def _sandbox(client: httpx.Client) -> str:
    path = f"/sandboxes/{uuid.uuid4()}"
    assert client.put(path, json={"service": {"image": "host"}}).status_code == 201
    return path


def _begin_file(connection: socket.socket, path: str, length: int) -> None:
    head = f"PUT {path}/files?path=f HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
    connection.sendall(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n")
