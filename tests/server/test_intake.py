"""Large bodies, which are read from the socket by the thread that writes them."""

from __future__ import annotations

import base64
import errno
import os
import socket
from collections.abc import Iterator

import httpx
import pytest
import xxhash

from lunette.server import _http
from lunette.server._intake import Intake

from .bent_engine import BentEngine
from .conftest import Service
from .transfers import begin, code, commit, read_file, send

LARGE = 20_000_000
FULL = OSError(errno.ENOSPC, "full", "f")


@pytest.fixture
def intakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Intake]]:
    """See each that is begun."""
    begun: list[Intake] = []
    plain = Intake.__init__

    def noting(self: Intake, *arguments: object) -> None:
        plain(self, *arguments)  # type: ignore[arg-type]
        begun.append(self)

    monkeypatch.setattr(Intake, "__init__", noting)
    yield begun
    assert all(intake._sock.fileno() == -1 for intake in begun)


def xxh3(content: bytes) -> str:
    return f"xxh3-64=:{base64.b64encode(xxhash.xxh3_64(content).digest()).decode()}:"


def head(sandbox: str, size: int, *more: str) -> bytes:
    lines = [f"PUT {sandbox}/files?path=f HTTP/1.1", "Host: x", f"Content-Length: {size}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def answers(connection: socket.socket, count: int) -> list[bytes]:
    """Return the status lines of so many answers without bodies."""
    found = b""
    while found.count(b"\r\n\r\n") < count:
        found += connection.recv(65536)
    return [part.partition(b"\r\n")[0] for part in found.split(b"\r\n\r\n") if part]


def test_the_digest_is_of_all_that_came(client: httpx.Client, sandbox: str) -> None:
    content = os.urandom(LARGE)
    upload = begin(client, sandbox, digest="xxh3-64")
    assert send(client, upload, 0, content).json()["offset"] == LARGE
    assert commit(client, upload, content, digest=xxh3(content)).status_code == 204
    assert read_file(client, sandbox) == content
    found = client.get(f"{sandbox}/files/stat", params={"path": "f", "digest": "xxh3-64"}).json()
    assert found["digest"] == xxh3(content)


def test_another_algorithm_than_that_of_the_upload_is_refused(
    client: httpx.Client, sandbox: str
) -> None:
    upload = begin(client, sandbox, digest="sha-256")
    answer = commit(client, upload, b"", digest=xxh3(b""))
    assert code(answer) == (422, "invalid_request")
    assert commit(client, upload, b"").status_code == 204


def test_what_the_server_has_is_left_out(client: httpx.Client, sandbox: str) -> None:
    content = os.urandom(LARGE)
    upload = begin(client, sandbox, digest="xxh3-64")
    send(client, upload, 0, content[:7_000_000])
    assert send(client, upload, 5_000_000, content[5_000_000:]).json()["offset"] == LARGE
    assert commit(client, upload, content, digest=xxh3(content)).status_code == 204
    assert read_file(client, sandbox) == content


def test_what_comes_behind_a_body_is_the_next_request(
    service: Service, client: httpx.Client, sandbox: str, intakes: list[Intake]
) -> None:
    content = os.urandom(LARGE)
    with service.raw() as connection:
        for _ in range(2):
            connection.sendall(head(sandbox, LARGE) + content + head(sandbox, 3) + b"abc")
        assert answers(connection, 4) == [b"HTTP/1.1 204 No Content"] * 4
    assert len(intakes) == 2
    assert read_file(client, sandbox) == b"abc"


def test_a_client_may_wait_for_a_word_before_it_sends(
    service: Service, client: httpx.Client, sandbox: str, intakes: list[Intake]
) -> None:
    content = os.urandom(LARGE)
    with service.raw() as connection:
        connection.sendall(head(sandbox, LARGE, "Expect: 100-continue"))
        assert answers(connection, 1) == [b"HTTP/1.1 100 Continue"]
        connection.sendall(content)
        assert answers(connection, 1) == [b"HTTP/1.1 204 No Content"]
    assert len(intakes) == 1
    assert read_file(client, sandbox) == content


def test_after_an_error_the_rest_is_not_taken_for_a_request(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    with service.raw() as connection:
        connection.sendall(head(sandbox, LARGE) + b"x" * 2_000_000)
        service.until(lambda: sum(engine.given[-1].sizes) >= 2_000_000)
        engine.write_error = FULL
        connection.sendall(b"GET / " * 500_000)
        assert answers(connection, 1)[0].startswith(b"HTTP/1.1 507 ")
        engine.write_error = None
        connection.sendall(b"x" * (LARGE - 5_000_000) + head(sandbox, 3) + b"abc")
        assert answers(connection, 1) == [b"HTTP/1.1 204 No Content"]
    assert read_file(client, sandbox) == b"abc"


@pytest.fixture
def kept() -> Iterator[list[socket.socket]]:
    """Connections that are closed when the server has ended, where it comes behind this."""
    found: list[socket.socket] = []
    yield found
    for connection in found:
        assert not connection.recv(1)  # the server has closed it
        connection.close()


def test_a_server_that_stops_does_not_wait_for_a_body(
    kept: list[socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    service: Service,
    engine: BentEngine,
    sandbox: str,
) -> None:
    monkeypatch.setattr(_http, "_LAST_ANSWERS_SECONDS", 0.2)
    kept.append(service.raw())
    kept[0].sendall(head(sandbox, LARGE) + b"x" * 5_000_000)
    service.until(lambda: sum(engine.given[-1].sizes) >= 5_000_000)


def test_nothing_is_left_of_one_that_is_cut(
    service: Service, client: httpx.Client, engine: BentEngine, sandbox: str
) -> None:
    client.put(f"{sandbox}/files", content=b"old", params={"path": "f"})
    with service.raw() as connection:
        connection.sendall(head(sandbox, LARGE) + b"x" * 5_000_000)
        service.until(lambda: sum(engine.given[-1].sizes) >= 5_000_000)
    service.wait(engine.given[-1].aborted.wait())
    assert read_file(client, sandbox) == b"old"
