"""The published form, over a socket of our own: what is refused is refused before it has come."""

from __future__ import annotations

import json
import socket
import uuid
from typing import Any

import httpx
import pytest

from lunette.server import _form

from .conftest import Service
from .host_engine import HostEngine

BOUNDARY = "lunette-test"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
LARGE = 2_000_000  # what is kept in a file while it comes


def _part(name: str, content: bytes, *, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def _begin(connection: socket.socket, *headers: str) -> None:
    lines = ["POST /sandboxes HTTP/1.1", "Host: localhost", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())


def _answer(connection: socket.socket) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Read an answer up to the end of the connection, which has to come."""
    content = b""
    while chunk := connection.recv(65_536):
        content += chunk
    head, _, body = content.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize("length", ["Transfer-Encoding: chunked", f"Content-Length: {1 << 40}"])
@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("build_context", b""),
        ("dockerfile", b""),
        ("build_context", _part("service", b"{}")),
        ("dockerfile", _part("other", b"x" * LARGE, filename="other")),
    ],
    ids=["context", "dockerfile", "context-later", "dockerfile-later"],
)
def test_a_build_is_refused_as_soon_as_it_begins(
    service: Service,
    engine: HostEngine,
    length: str,
    name: str,
    before: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The body never ends, and the client never says that it is tired of it."""
    monkeypatch.setattr(_form, "_DRAIN_SECONDS", 0.2)
    begun = before + _part(name, b"tar", filename=name)[:-2]
    with service.raw() as connection:
        _begin(connection, length, f"Content-Type: {FORM}")
        chunk = f"{len(begun):x}\r\n".encode() + begun + b"\r\n"
        connection.sendall(chunk if "chunked" in length else begun)
        status, headers, body = _answer(connection)
    assert (status, body["code"], body["key"]) == (422, "not_supported", "build")
    assert headers["connection"] == "close"
    assert engine.created == []


def test_what_is_no_form_is_refused_as_soon_as_that_is_known(service: Service) -> None:
    with service.raw() as connection:
        _begin(connection, "Content-Length: 99999999", f"Content-Type: {FORM}")
        connection.sendall(b"--not the boundary\r\n")
        status, headers, body = _answer(connection)
    assert (status, body["code"], headers["connection"]) == (400, "bad_request", "close")


def test_a_build_in_a_form_of_the_other_kind(client: httpx.Client) -> None:
    for name in ("build_context", "dockerfile"):
        answer = client.post("/sandboxes", data={"image": "host", name: "x"})
        assert (answer.status_code, answer.json()["key"]) == (422, "build")


def test_a_field_that_is_a_file_is_none(client: httpx.Client, engine: HostEngine) -> None:
    """It is put away, too: pytest would warn of a file that is not closed."""
    files = {"image": ("image", b"x" * LARGE)}
    answer = client.post("/sandboxes", files=files)
    assert (answer.status_code, answer.json()["key"]) == (422, "image")
    assert engine.created == []


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=" + "b" * 10_000, b"x"),
        (FORM, b"no boundary"),
        (FORM, f"--{BOUNDARY}x".encode()),
        (FORM, f"--{BOUNDARY}\r\n\r\n".encode()),
        (
            FORM,
            f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\n".encode(),
        ),
        (
            FORM,
            b"".join(_part(f"f{n}", b"") for n in range(17)),
        ),
        (FORM, b"\0" * 1000),
    ],
)
def test_what_is_no_form(client: httpx.Client, head: str, body: bytes) -> None:
    answer = client.post("/sandboxes", content=body, headers={"Content-Type": head})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text


@pytest.mark.parametrize("charset", ["nope", "utf-16", "\\xff", ""])
def test_any_charset_is_read_somehow(client: httpx.Client, charset: str) -> None:
    head = f"{FORM}; charset={charset}"
    body = _part("image", b"host") + f"--{BOUNDARY}--\r\n".encode()
    answer = client.post("/sandboxes", content=body, headers={"Content-Type": head})
    assert answer.status_code in (200, 422), answer.text


@pytest.mark.parametrize("text", ["1e400", '{"image": "host", "pids_limit": 1e400}', "[" * 9999])
def test_a_service_that_is_no_json(client: httpx.Client, text: str) -> None:
    for form in ({"data": {"service": text}}, {"files": {"service": (None, text)}}):
        answer = client.post("/sandboxes", **form)
        found = answer.json()
        assert (answer.status_code, found["code"], found["key"]) == (
            *(422, "invalid_request", "service"),
        )


def test_a_number_out_of_range_in_json(client: httpx.Client) -> None:
    answer = client.put(
        f"/sandboxes/{uuid.uuid4()}",
        content=b'{"service": {"image": "host", "working_dir": 1e400}}',
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_service_in_a_form_says_more_than_its_image(
    client: httpx.Client, service: Service, engine: HostEngine
) -> None:
    sent = {"image": "host", "service": '{"hostname": "box"}'}
    for form in ({"data": sent}, {"files": {name: (None, text) for name, text in sent.items()}}):
        name = client.post("/sandboxes", **form).json()["sandbox_id"]
        assert (engine.specs[name].image, engine.specs[name].hostname) == ("host", "box")
    other = {"image": "nope", "service": '{"image": "host"}'}
    assert client.post("/sandboxes", data=other).status_code == 200
