"""The server of the published wire does what that wire says, and nothing else."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from .server import PublishedServer


@pytest.fixture
def http(published: PublishedServer) -> Generator[httpx.Client]:
    with client(published) as http:
        yield http


def client(server: PublishedServer, key: str = "published-key") -> httpx.Client:
    headers = {"X-API-Key": key}
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=20)


def create(http: httpx.Client) -> str:
    answer = http.post("/sandboxes", data={"image": "python:3.11-slim"})
    assert answer.status_code == 200
    return f"/sandboxes/{answer.json()['sandbox_id']}"


def test_a_sandbox_runs_commands_and_keeps_files(http: httpx.Client) -> None:
    sandbox = create(http)
    written = {"path": "/workspace/a/b.txt", "content": "hëllo\n", "encoding": "utf-8"}
    assert http.post(f"{sandbox}/write", json=written).json() == {}
    command = "cat /workspace/a/b.txt a/b.txt; pwd; echo bad >&2; exit 3"
    answer = http.post(f"{sandbox}/exec", json={"command": command})
    assert answer.json() == {
        "stdout": "hëllo\nhëllo\n/workspace\n",
        "stderr": "bad\n",
        "exit_code": 3,
    }
    content = http.get(f"{sandbox}/read", params={"path": "a/b.txt"}).json()
    assert content == {"content": "hëllo\n", "encoding": "utf-8"}


def test_bytes_travel_as_base64(http: httpx.Client) -> None:
    sandbox = create(http)
    written = {"path": "/workspace/raw", "content": "/wA=", "encoding": "base64"}
    http.post(f"{sandbox}/write", json=written)
    content = http.get(f"{sandbox}/read", params={"path": "/workspace/raw"}).json()
    assert content == {"content": "/wA=", "encoding": "base64"}


def test_a_killed_command_has_the_code_of_its_signal(http: httpx.Client) -> None:
    answer = http.post(f"{create(http)}/exec", json={"command": "kill -9 $$"})
    assert answer.json()["exit_code"] == 137


def test_both_forms_make_a_sandbox(http: httpx.Client, published: PublishedServer) -> None:
    form = {"image": "", "service": '{"image": "x", "working_dir": "/workspace"}'}
    answers = [
        http.post("/sandboxes", data=form),
        http.post("/sandboxes", data=form, files={"build_context": ("a.tar", b"\r\n--\0\xff\r\n")}),
    ]
    ids = [str(uuid.UUID(answer.json()["sandbox_id"])) for answer in answers]
    assert ids == [*published.sandboxes]
    assert [entry.body for entry in published.sent("POST", "/sandboxes")] == [
        form,
        form | {"build_context": b"\r\n--\0\xff\r\n"},
    ]


def test_a_file_that_is_missing_is_a_page(http: httpx.Client) -> None:
    answer = http.get(f"{create(http)}/read", params={"path": "/workspace/missing"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_stop_says_what_was_stopped(http: httpx.Client, published: PublishedServer) -> None:
    sandbox = create(http)
    known = sandbox.rpartition("/")[2]
    body = {"sandbox_ids": [known, "other"], "save_state": False}
    assert http.post("/sandboxes/stop", json=body).json() == {
        "stopped": [known],
        "failed": [{"sandbox_id": "other", "error": "Sandbox not found"}],
    }
    assert http.post(f"{sandbox}/exec", json={"command": "true"}).status_code == 404
    assert (published.runs, published.sandboxes) == ([], {})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/capabilities"), ("PUT", "/sandboxes/x"), ("DELETE", "/x")]
)
@pytest.mark.parametrize(("unknown", "status"), [("404", 404), ("405", 405), ("html200", 200)])
def test_any_other_path_is_a_page(
    http: httpx.Client,
    published: PublishedServer,
    method: str,
    path: str,
    unknown: Any,
    status: int,
) -> None:
    published.unknown = unknown
    answer = http.request(method, path, json={"x": 1})
    assert (answer.status_code, answer.text[:9]) == (status, "<!DOCTYPE")
    [entry] = published.sent(method)
    assert (entry.path, entry.body, entry.status) == (path, {"x": 1}, status)


@pytest.mark.parametrize(("key", "status"), [("", 401), ("wrong", 401), ("forbidden-key", 403)])
def test_a_key_is_asked_for(published: PublishedServer, key: str, status: int) -> None:
    with client(published, key) as http:
        answer = http.post("/sandboxes", data={"image": "x"})
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert published.sandboxes == {}
    assert published.diary[0].headers["x-api-key"] == key


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("exec", {"command": "true", "cwd": "/"}),
        ("exec", {"command": ["true"]}),
        ("exec", {}),
        ("exec", ["true"]),
        ("write", {"path": "x", "content": "x"}),
        ("write", {"path": "x", "content": "?", "encoding": "base64"}),
    ],
)
def test_what_is_not_on_the_wire_is_refused(
    http: httpx.Client, published: PublishedServer, path: str, sent: Any
) -> None:
    assert http.post(f"{create(http)}/{path}", json=sent).status_code == 422
    assert published.runs == []


@pytest.mark.parametrize("sent", [{"data": {"ttl": "1"}}, {"data": {}}, {"json": {"image": "x"}}])
def test_a_form_that_is_not_on_the_wire_is_refused(
    http: httpx.Client, published: PublishedServer, sent: dict[str, Any]
) -> None:
    assert http.post("/sandboxes", **sent).status_code == 422
    assert published.sandboxes == {}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_it_fails_as_often_as_it_is_told(
    http: httpx.Client, published: PublishedServer, status: int, after: bool
) -> None:
    sandbox = create(http)
    published.fail("/sandboxes/*/exec", status, times=2, after=after, headers={"X-Test": "1"})
    for _ in range(2):
        answer = http.post(f"{sandbox}/exec", json={"command": "echo hi"})
        assert (answer.status_code, answer.headers["X-Test"]) == (status, "1")
        assert answer.headers.get("Retry-After") == ("0" if status == 429 else None)
        assert answer.text.startswith("<" if status == 502 else "{")
    assert published.runs == ["echo hi"] * 2 * after
    assert http.post(f"{sandbox}/exec", json={"command": "echo"}).status_code == 200
    statuses = [entry.status for entry in published.sent("POST", "/sandboxes/*/exec")]
    assert statuses == [status, status, 200]


@pytest.mark.parametrize("after", [False, True])
def test_it_cuts_before_or_after_it_has_acted(
    http: httpx.Client, published: PublishedServer, after: bool
) -> None:
    sandbox = create(http)
    published.cut("/sandboxes/*/exec", after=after)
    with pytest.raises(httpx.ReadError, match="Connection reset"):
        http.post(f"{sandbox}/exec", json={"command": "echo hi"})
    assert published.runs == ["echo hi"] * after
    assert published.sent(path="*/exec")[0].status is None
    assert http.post(f"{sandbox}/exec", json={"command": "echo"}).json()["stdout"] == "\n"


def test_a_body_in_chunks_is_read(http: httpx.Client) -> None:
    answer = http.post(
        f"{create(http)}/exec",
        content=iter([b'{"command": ', b'"echo hi"}']),
        headers={"Content-Type": "application/json"},
    )
    assert answer.json()["stdout"] == "hi\n"


def test_its_end_ends_commands_connections_and_threads() -> None:
    before = set(threading.enumerate())
    with PublishedServer() as server, client(server) as http:
        sandbox = create(http)
        [there] = server.sandboxes.values()
        failed: list[httpx.HTTPError] = []

        def run() -> None:
            with client(server) as other, pytest.raises(httpx.HTTPError) as raised:
                other.post(f"{sandbox}/exec", json={"command": "echo > begun; sleep 600"})
            failed.append(raised.value)

        thread = threading.Thread(target=run)
        thread.start()
        while not (there.directory / "begun").exists():
            assert http.post(f"{sandbox}/exec", json={"command": "sleep 0.01"}).is_success
    thread.join()
    assert len(failed) == 1
    assert set(threading.enumerate()) <= before
    assert not there.directory.parent.exists()
