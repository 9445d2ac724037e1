from __future__ import annotations

import json
import logging
import re

import httpx
import pytest

from lunette.server._guard import Access

from .conftest import Service
from .host_engine import HostEngine

KEY = {"X-API-Key": "right-key"}


def _problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["type"] == "about:blank" and body["title"] and body["detail"]
    return answer.status_code, body["code"]


def test_the_right_key_opens(tcp: Service) -> None:
    with tcp.client(headers=KEY) as client:
        assert client.get("/sandboxes").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"X-API-Key": "right-key "[:-2]},
        {"X-API-Key": "right-key0"},
        {"X-API-Key": "right-kéy".encode("latin-1")},
        {"Authorization": "Bearer right-key"},
    ],
)
@pytest.mark.parametrize("path", ["/sandboxes", "/nope", "/capabilities", "//health", "/health/"])
def test_another_key_or_none_is_401_everywhere(
    tcp: Service, headers: dict[str, str], path: str
) -> None:
    with tcp.client() as client:
        # As raw bytes: httpx would join "//health" with the base URL.
        request = client.build_request("GET", "/x", headers=headers)
        request.url = request.url.copy_with(raw_path=path.encode())
        assert _problem(client.send(request)) == (401, "unauthorized")


def test_two_keys_are_none(tcp: Service) -> None:
    with tcp.client(headers=[("X-API-Key", "wrong"), ("X-API-Key", "right-key")]) as client:
        assert _problem(client.get("/sandboxes")) == (401, "unauthorized")


def test_health_needs_no_key(tcp: Service) -> None:
    with tcp.client() as client:
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:99", "127.0.0.1", "127.0.0.1:8", "[::1]:5"]
)
def test_loopback_names_are_answered(tcp: Service, host: str) -> None:
    with tcp.client(headers={**KEY, "Host": host}) as client:
        assert client.get("/sandboxes").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost.",
        "10.0.0.1",
        "[::1].evil.example",
        "[::2]",
        "evil.example@localhost",
        "",
    ],
)
def test_a_page_whose_name_was_rebound_is_refused(tcp: Service, host: str) -> None:
    for path in ("/sandboxes", "/health"):
        with tcp.client(headers={**KEY, "Host": host}) as client:
            assert _problem(client.get(path)) == (403, "forbidden_host")


def test_a_second_host_is_refused(tcp: Service) -> None:
    with tcp.raw() as connection:
        connection.sendall(
            b"GET /sandboxes HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
            b"X-API-Key: right-key\r\n\r\n"
        )
        assert connection.recv(65536).startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 "))


def test_what_is_no_http_is_a_problem_too(service: Service) -> None:
    with service.raw() as connection:
        connection.sendall(b"no http at all\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in head
    assert json.loads(body)["code"] == "bad_request"


@pytest.mark.parametrize(("version", "status"), [("1", 200), ("2", 400), ("", 400)])
def test_a_client_of_another_version_is_refused(
    service: Service, version: str, status: int
) -> None:
    with service.client(headers={"Lunette-API-Version": version}) as client:
        answer = client.get("/health")
        assert answer.status_code == status
        if status == 400:
            assert answer.json()["code"] == "unsupported_api_version"
            assert f"{version!r}" in answer.json()["detail"]


def test_no_host_is_refused(tcp: Service) -> None:
    with tcp.raw() as connection:
        connection.sendall(b"GET /sandboxes HTTP/1.0\r\nX-API-Key: right-key\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_web_page_is_refused(tcp: Service, origin: str, method: str) -> None:
    with tcp.client(headers={**KEY, "Origin": origin}) as client:
        answer = client.request(method, "/sandboxes")
        assert _problem(answer) == (403, "forbidden_origin")
        assert "access-control-allow-origin" not in answer.headers


def test_a_web_page_is_refused_on_a_unix_socket_too(client: httpx.Client) -> None:
    answer = client.get("/sandboxes", headers={"Origin": "null"})
    assert _problem(answer) == (403, "forbidden_origin")


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_a_web_page_can_post_unasked_is_no_json(
    client: httpx.Client, sandbox: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = json.dumps({"command": "touch owned"}).encode()
    answer = client.post(f"{sandbox}/exec", content=body, headers=headers)
    assert _problem(answer) == (415, "unsupported_media_type")
    assert client.get(f"{sandbox}/read", params={"path": "owned"}).status_code == 404


def test_every_answer_has_an_id_of_its_own(client: httpx.Client) -> None:
    ids = {client.get(path).headers["x-request-id"] for path in ("/health", "/nope", "/sandboxes")}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", request_id) for request_id in ids)


def test_unknown_paths_and_methods_are_problems(client: httpx.Client) -> None:
    assert _problem(client.get("/nope")) == (404, "unknown_endpoint")
    assert _problem(client.get("/sandboxes/")) == (404, "unknown_endpoint")
    answer = client.patch("/sandboxes")
    assert _problem(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    head = client.head("/health")  # uvicorn sends no body, and the connection stays usable
    assert (head.status_code, head.content) == (405, b"")
    assert client.get("/health").status_code == 200


def test_the_server_does_not_name_its_software(client: httpx.Client) -> None:
    assert "server" not in client.get("/health").headers


def test_a_fault_is_a_problem_and_leaves_the_connection(
    client: httpx.Client, engine: HostEngine, sandbox: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine.exec_error = ZeroDivisionError("secret-in-message")
    with caplog.at_level(logging.ERROR):
        answer = client.post(f"{sandbox}/exec", json={"command": "x", "env": {"K": "hidden"}})
    assert _problem(answer) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] in caplog.text and "ZeroDivisionError" in caplog.text
    assert "hidden" not in caplog.text
    engine.exec_error = None
    assert client.post(f"{sandbox}/exec", json={"command": "true"}).status_code == 200


def test_names_and_addresses() -> None:
    bound = Access.over_tcp("k", "sandbox.example", ["Other.example"])
    assert bound.allows_host("sandbox.example:80") and bound.allows_host("other.EXAMPLE")
    assert not bound.allows_host("10.0.0.1")
    everywhere = Access.over_tcp("k", "0.0.0.0")
    assert everywhere.allows_host("10.0.0.1:80") and everywhere.allows_host("[fe80::1]:80")
    assert not everywhere.allows_host("0.0.0.0.example")
    assert not everywhere.allows_host("evil.example") and not everywhere.allows_host("")
    assert Access.over_tcp("k", "::1").allows_host("[::1]")


def test_the_key_is_in_no_log(tcp: Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), tcp.client(headers=KEY) as client:
        client.get("/sandboxes")
        client.get("/nope")
    assert "right-key" not in caplog.text
    assert "right-key" not in repr(tcp.access)
