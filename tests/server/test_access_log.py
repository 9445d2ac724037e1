from __future__ import annotations

import logging
import re
import uuid

import pytest

from .conftest import Service

NUMBER = r"\d+\.\d"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "lunette.access")
    return caplog


def _lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.name == "lunette.access"]


def test_a_request_is_one_line(tcp: Service, log: pytest.LogCaptureFixture) -> None:
    name = str(uuid.uuid4())
    with tcp.client(headers={"X-API-Key": "right-key"}) as client:
        made = client.put(f"/sandboxes/{name}", json={"service": {"image": "host"}})
        read = client.get(f"/sandboxes/{name}/read", params={"path": "/secret-path"})
    tcp.until(lambda: len(_lines(log)) == 2)
    expected = [
        ("PUT /sandboxes/{sandbox_id} 201", made.headers["x-request-id"]),
        ("GET /sandboxes/{sandbox_id}/read 404", read.headers["x-request-id"]),
    ]
    for line, (what, request_id) in zip(_lines(log), expected, strict=True):
        assert re.fullmatch(
            rf"127\.0\.0\.1 {re.escape(what)} {NUMBER}ms {request_id} \[{name}\]", line
        )
    assert "secret-path" not in log.text


def test_what_a_client_made_up_is_in_no_line(
    service: Service, log: pytest.LogCaptureFixture
) -> None:
    with service.client() as client:
        for path in ("/right-key", "/sandboxes/a%0Ab%0Asecret", "/images/secret%2Fimage"):
            client.get(path)
    with service.raw() as connection:
        connection.sendall(b"GET /secret\xff HTTP/1.1\r\nsecret\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    service.until(lambda: len(_lines(log)) == 4)
    found = [re.sub(rf"{NUMBER}ms|[0-9a-f]{{16}}", "*", line) for line in _lines(log)]
    assert found == [
        "unix GET (unknown) 404 * *",
        "unix GET /sandboxes/{sandbox_id} 404 * *",
        "unix GET /images/{reference:path} 405 * *",
        "unix refused 400 *",
    ]


def test_refusals_and_faults_are_lines_too(tcp: Service, log: pytest.LogCaptureFixture) -> None:
    with tcp.client(headers={"X-API-Key": "wrong-key"}) as client:
        assert client.get("/sandboxes").status_code == 401
        assert client.get("/sandboxes", headers={"Many": "x" * 70_000}).status_code == 431
    tcp.until(lambda: len(_lines(log)) == 2)
    assert " GET (unknown) 401 " in _lines(log)[0] and " refused 431 " in _lines(log)[1]
    assert "wrong-key" not in log.text


def test_a_client_that_leaves_has_a_line(service: Service, log: pytest.LogCaptureFixture) -> None:
    with service.raw() as connection:
        head = b"POST /sandboxes/stop HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: 9\r\n\r\n{")
        service.until(lambda: len(service.tasks()) == 1)
    service.until(lambda: len(_lines(log)) == 1)
    assert " POST /sandboxes/stop left " in _lines(log)[0]
