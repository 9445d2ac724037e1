"""Bodies that somebody hostile, or a fuzzer, would send."""

from __future__ import annotations

import json
import random
import uuid
from typing import Any

import httpx
import pytest

from lunette.server import _bodies, _json

from .conftest import Service

JSON = {"Content-Type": "application/json"}


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}x",
        b"\xff",
        b"\xef\xbb\xbf{}",
        '{"command": "x"}'.encode("utf-16"),
        b'{"command": NaN}',
        b'{"command": "x", "timeout": Infinity}',
        b'{"command": "x", "timeout": -Infinity}',
        b'{"command": "x", "timeout": 1e999}',
        b'{"command": "\\ud800"}',
        b'{"command": "x", "env": {"\\uDFFF": "x"}}',
        b'{"command": "x", "timeout": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"command": "x", "env": ' * 5000,
        b"'x'",
    ],
)
def test_what_is_no_json(client: httpx.Client, sandbox: str, body: bytes) -> None:
    answer = client.post(f"{sandbox}/exec", content=body, headers=JSON)
    assert _code(answer) == (400, "bad_request")
    assert len(answer.content) < 5000


def test_a_surrogate_pair_is_a_character(client: httpx.Client, sandbox: str) -> None:
    body = b'{"command": ["echo", "\\ud83e\\udd8a"]}'
    answer = client.post(f"{sandbox}/exec", content=body, headers=JSON)
    assert answer.json()["stdout"] == "🦊\n"


@pytest.mark.parametrize("value", ["application/json; charset=utf-8", "Application/JSON"])
def test_media_types_have_parameters_and_no_case(
    client: httpx.Client, sandbox: str, value: str
) -> None:
    body = b'{"command": "true"}'
    answer = client.post(f"{sandbox}/exec", content=body, headers={"Content-Type": value})
    assert answer.status_code == 200


def test_a_body_that_announces_too_much_is_not_read(
    service: Service, sandbox: str, client: httpx.Client
) -> None:
    with service.raw() as connection:
        head = f"POST {sandbox}/exec HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % (64 * 1024**2 + 1))
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"body_too_large" in answer


@pytest.mark.parametrize("content_length", [b"1" * 30, b"-1", b"1_0", "٣".encode()])
def test_lengths_that_are_none(service: Service, sandbox: str, content_length: bytes) -> None:
    with service.raw() as connection:
        head = f"POST {sandbox}/exec HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + b"Content-Length: " + content_length + b"\r\n\r\n{}")
        assert connection.recv(65536).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


def test_a_body_that_grows_too_large_is_cut(
    service: Service, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bodies, "JSON_BODY_LIMIT", 1000)
    with service.raw() as connection:
        head = f"POST {sandbox}/exec HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"800\r\n" + b" " * 0x800 + b"\r\n")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer
        assert connection.recv(1) == b""


def test_a_body_that_never_ends_costs_nothing(service: Service, client: httpx.Client) -> None:
    with service.raw() as connection:
        connection.sendall(b"POST /sandboxes/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
        connection.sendall(b"Content-Type: application/json\r\n\r\n{")
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize("seed", range(20))
def test_no_body_makes_a_fault(client: httpx.Client, sandbox: str, seed: int) -> None:
    """Every answer to nonsense is a problem of the caller's."""
    chance = random.Random(seed)
    calls = [
        ("POST", f"{sandbox}/exec", {"command": "true"}),
        ("POST", f"{sandbox}/write", {"path": "f", "content": "x"}),
        ("POST", "/sandboxes/stop", {"sandbox_ids": ["x"]}),
        (
            "PUT",
            f"/sandboxes/{uuid.UUID(int=chance.getrandbits(128))}",
            {"service": {"image": "host", "command": "true", "environment": ["A=1"], "labels": {}}},
        ),
    ]
    for _ in range(50):
        method, path, body = chance.choice(calls)
        text = json.dumps(_bent(body, chance)).encode()
        if chance.random() < 0.3:
            text = _scratched(text, chance)
        answer = client.request(method, path, content=text, headers=JSON)
        assert answer.status_code in (200, 201, 400, 403, 404, 409, 410, 422), (answer.text, text)
        assert answer.status_code < 400 or answer.json()["code"]


def _bent(value: Any, chance: random.Random) -> Any:
    odd: list[Any] = [None, True, 0, -1, 1.5, 2**70, "", "\0", "é", "\ud800", "/..", [], {}, [[]]]
    odd += [{"a": {"b": 1}}, ["x"] * 50, "x" * 5000, {"": ""}, {"=": "="}]
    if chance.random() < 0.15:
        return chance.choice(odd)
    if isinstance(value, dict):
        bent = {key: _bent(item, chance) for key, item in value.items()}
        if chance.random() < 0.2:
            keys = ["", "\0", "timeout", "env", "cwd", "input", "input_encoding", "encoding", "x-a"]
            bent[chance.choice(keys)] = chance.choice(odd)
        return bent
    if isinstance(value, list):
        return [_bent(item, chance) for item in value]
    return value


def _scratched(text: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(text))
    return text[:place] + chance.randbytes(chance.randrange(3)) + text[place + 1 :]


def test_encode_never_fails() -> None:
    assert _json.encode({"a": "\ud800é"}) == b'{"a":"?\xc3\xa9"}'
