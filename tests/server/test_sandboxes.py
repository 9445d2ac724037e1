from __future__ import annotations

import errno
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from lunette.server import store
from lunette.server.engines.protocol import (
    CommandNotRunnableError,
    NoCapacityError,
    NotSupportedError,
    SandboxGoneError,
    State,
    Status,
)

from .conftest import Service
from .host_engine import HostEngine

HOST = {"service": {"image": "host"}}


def _new() -> str:
    return f"/sandboxes/{uuid.uuid4()}"


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_create_look_list_delete(client: httpx.Client, world: str) -> None:
    path = _new()
    service = {"image": "host", "environment": {"A": "s3cret"}, "labels": ["run=7"]}
    made = client.put(path, json={"service": service})
    assert made.status_code == 201
    info = made.json()
    assert info["sandbox_id"] == path.rpartition("/")[2]
    assert (info["state"], info["engine"], info["labels"]) == ("running", world, {"run": "7"})
    assert info["created_at"].endswith("Z")
    assert "s3cret" not in made.text
    (listed,) = client.get("/sandboxes").json()["sandboxes"]
    for look in (client.get(path).json(), listed):
        assert look | {"expires_at": None} == info | {"expires_at": None}  # each look is a use
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 204
    assert client.get("/sandboxes").json() == {"sandboxes": []}
    assert _code(client.get(path)) == (410, "sandbox_destroyed")
    assert _code(client.put(path, json=HOST)) == (410, "sandbox_destroyed")


@pytest.mark.parametrize(
    "path", ["/" + "a" * 256, "/" + "é" * 128, f"/{'a' * 254}" * 16 + "/bbbbbbb"]
)
def test_a_working_dir_that_linux_does_not_take(
    client: httpx.Client, world: str, path: str
) -> None:
    answer = client.put(_new(), json={"service": {"image": "host", "working_dir": path}})
    if world == "host":  # it makes no such directory: this is the engine's to refuse
        assert answer.status_code == 201
        return
    assert (*_code(answer), answer.json()["key"]) == (422, "not_supported", "working_dir")


def test_a_repeat_returns_the_sandbox(client: httpx.Client, engine: HostEngine) -> None:
    path = _new()
    first = client.put(path, json={"service": {"image": "host", "environment": ["A=1"]}})
    again = client.put(path, json={"service": {"environment": {"A": 1}, "image": "host"}})
    assert (first.status_code, again.status_code) == (201, 200)
    assert len(engine.created) == 1


@pytest.mark.parametrize("other", [{"labels": {"a": "b"}}, {"environment": {"A": "2"}}])
def test_the_same_id_for_something_else_is_refused(
    client: httpx.Client, other: dict[str, Any]
) -> None:
    path = _new()
    client.put(path, json={"service": {"image": "host", "environment": {"A": "1"}}})
    answer = client.put(path, json={"service": {"image": "host", **other}})
    assert _code(answer) == (422, "key_reused")


def test_repeats_join_the_create_in_flight(
    service: Service, client: httpx.Client, engine: HostEngine
) -> None:
    service.call(engine.create_gate.clear)
    path = _new()
    with ThreadPoolExecutor(4) as threads:
        puts = [threads.submit(client.put, path, json=HOST) for _ in range(4)]
        service.until(lambda: bool(engine.created))
        assert client.get(path).json()["state"] == "pending"
        service.call(engine.create_gate.set)
        codes = sorted(put.result().status_code for put in puts)
    assert codes == [200, 200, 200, 201]
    assert len(engine.created) == 1


def test_a_client_that_leaves_during_a_create_finds_it_later(
    service: Service, client: httpx.Client, engine: HostEngine
) -> None:
    service.call(engine.create_gate.clear)
    path = _new()
    with service.raw() as connection:
        body = json.dumps(HOST).encode()
        connection.sendall(_request("PUT", path, body))
        service.until(lambda: bool(engine.created))
    service.call(engine.create_gate.set)
    assert client.put(path, json=HOST).status_code == 200
    assert len(engine.created) == 1


def test_a_delete_that_overtakes_leaves_a_mark(client: httpx.Client, engine: HostEngine) -> None:
    path = _new()
    assert client.delete(path).status_code == 204
    assert _code(client.put(path, json=HOST)) == (410, "sandbox_destroyed")
    assert engine.created == []


def test_a_delete_during_a_create_leaves_nothing(
    service: Service, client: httpx.Client, engine: HostEngine
) -> None:
    service.call(engine.create_gate.clear)
    path = _new()
    with ThreadPoolExecutor(2) as threads:
        put = threads.submit(client.put, path, json=HOST)
        service.until(lambda: bool(engine.created))
        delete = threads.submit(client.delete, path)
        with service.client() as other:
            while other.get(path).status_code != 410:  # until the DELETE has arrived
                pass
        service.call(engine.create_gate.set)
        assert delete.result().status_code == 204
        assert _code(put.result()) == (410, "sandbox_destroyed")
    assert engine.specs == {}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NoCapacityError("full"), (503, "no_capacity")),
        (NotSupportedError("image", "not here"), (422, "not_supported")),
        (CommandNotRunnableError(127, "x: not found"), (422, "invalid_service")),
        (PermissionError(errno.EACCES, "no", "/host/x"), (503, "no_capacity")),
        (OSError(errno.EMFILE, "no more"), (503, "no_capacity")),
        (OSError(errno.ENOSPC, "full", "/host/x"), (507, "no_space")),
        (OSError(errno.EDQUOT, "full", "/host/x"), (507, "no_space")),
        (OSError("/host/x is odd"), (503, "no_capacity")),
        (RuntimeError("bug"), (500, "internal_error")),
    ],
)
def test_a_create_that_failed_may_be_repeated(
    client: httpx.Client, engine: HostEngine, error: Exception, expected: tuple[int, str]
) -> None:
    path = _new()
    engine.create_error = error
    answer = client.put(path, json=HOST)
    assert _code(answer) == expected
    assert "/host" not in answer.text  # the paths of the server are not for its clients
    assert _code(client.get(path)) == expected
    engine.create_error = None
    assert client.put(path, json=HOST).status_code == 201
    assert client.get(path).json()["state"] == "running"


def test_a_sandbox_that_dies_while_it_is_made(client: httpx.Client, engine: HostEngine) -> None:
    path = _new()
    engine.create_error = SandboxGoneError(Status(state=State.FAILED, reason="bwrap: no"))
    answer = client.put(path, json=HOST)
    assert _code(answer) == (410, "sandbox_failed")
    assert "bwrap: no" in answer.json()["detail"]
    assert client.get(path).json()["state"] == "failed"
    assert client.delete(path).status_code == 204


@pytest.mark.parametrize(
    ("state", "code", "listed"),
    [
        (State.STOPPED, "sandbox_stopped", 1),
        (State.FAILED, "sandbox_failed", 0),
        (State.LOST, "sandbox_lost", 0),
    ],
)
def test_a_sandbox_that_ends_by_itself(
    service: Service,
    client: httpx.Client,
    engine: HostEngine,
    sandbox: str,
    state: State,
    code: str,
    listed: int,
) -> None:
    name = sandbox.rpartition("/")[2]
    status = Status(state=state, reason="so it was", exit_code=3)
    service.call(engine.happen, name, status)
    service.until(lambda: service.registry.get(name).status == status)
    info = client.get(sandbox).json()
    assert (info["state"], info["reason"], info["exit_code"]) == (state, "so it was", 3)
    assert _code(client.post(f"{sandbox}/exec", json={"command": "true"})) == (410, code)
    assert _code(client.get(f"{sandbox}/files", params={"path": "a"})) == (410, code)
    assert len(client.get("/sandboxes").json()["sandboxes"]) == listed
    assert client.delete(sandbox).status_code == 204
    assert _code(client.get(sandbox)) == (410, "sandbox_destroyed")
    assert name in engine.destroyed


def test_a_command_that_ends_before_the_create_is_answered(
    service: Service, client: httpx.Client, engine: HostEngine
) -> None:
    service.call(engine.create_gate.clear)
    path = _new()
    name = path.rpartition("/")[2]
    with ThreadPoolExecutor(1) as threads:
        put = threads.submit(client.put, path, json=HOST)
        service.until(lambda: bool(engine.created))
        service.call(engine.happen, name, Status(state=State.STOPPED, exit_code=0))
        service.until(lambda: service.registry.get(name).status.state is State.STOPPED)
        service.call(engine.create_gate.set)
        assert put.result().json()["state"] == "stopped"


def test_unknown_sandboxes(client: httpx.Client) -> None:
    path = _new()
    unknown = (404, "sandbox_not_found")
    assert _code(client.get(path)) == unknown
    assert _code(client.post(f"{path}/exec", json={"command": "true"})) == unknown
    assert _code(client.delete(f"{path}/processes/k")) == unknown
    assert _code(client.get(f"{path}/files", params={"path": "a"})) == unknown
    assert _code(client.get(f"{path}/read", params={"path": "a"})) == unknown
    assert _code(client.put(f"{path}/files", params={"path": "a"}, content=b"")) == unknown
    assert _code(client.post(f"{path}/write", json={"path": "a", "content": ""})) == unknown


def test_the_gone_are_forgotten_in_time(
    monkeypatch: pytest.MonkeyPatch, client: httpx.Client
) -> None:
    paths = [_new() for _ in range(4)]
    for path in paths:
        client.delete(path)
    assert [client.get(path).status_code for path in paths] == [410] * 4
    later = time.time() + store.KEY_SECONDS + 1
    monkeypatch.setattr(store, "time", lambda: later)
    client.delete(_new())
    assert [client.get(path).status_code for path in paths] == [404] * 4


@pytest.mark.parametrize(
    "name",
    ["typo", "%2E%2E", "%2e", "a" * 65, str(uuid.uuid4()).upper(), str(uuid.uuid4()) + "%0A"],
)
def test_ids_are_uuids(client: httpx.Client, name: str) -> None:
    request = client.build_request("PUT", "/x", json=HOST)
    request.url = request.url.copy_with(raw_path=f"/sandboxes/{name}".encode())
    answer = client.send(request)
    assert (answer.status_code, answer.json().get("key")) == (422, "sandbox_id")


def test_a_wrong_service_makes_nothing(client: httpx.Client, engine: HostEngine) -> None:
    for service, code, key in (
        ({"build": "."}, "not_supported", "build"),
        ({"image": "host", "env_file": "/etc/passwd"}, "not_supported", "env_file"),
        ({"image": "host", "foo": 1}, "invalid_service", "foo"),
        ({"image": "nope"}, "not_supported", "image"),
        ({}, "invalid_service", "image"),
    ):
        answer = client.put(_new(), json={"service": service})
        assert _code(answer) == (422, code)
        assert answer.json()["key"] == key
    assert _code(client.put(_new(), json={"service": 1})) == (422, "invalid_request")
    assert _code(client.put(_new(), json={**HOST, "lifetime": 1})) == (422, "invalid_request")
    assert engine.created == []


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"image": "host"}},
        {"data": {"service": '{"image": "host"}'}},
        {"data": {"image": "host", "service": '{"labels": {"a": "b"}}'}},
        {"data": {"image": "nope", "service": '{"image": "host"}'}},
        {"files": {"image": (None, "host")}},
        {"files": {"service": (None, '{"image": "host"}')}},
    ],
)
def test_the_published_form(client: httpx.Client, form: dict[str, Any]) -> None:
    answer = client.post("/sandboxes", **form)
    assert answer.status_code == 200, answer.text
    name = answer.json()["sandbox_id"]
    assert str(uuid.UUID(name)) == name
    assert client.get(f"/sandboxes/{name}").json()["state"] == "running"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"data": {}}, (415, "unsupported_media_type")),
        ({"data": {"x": "y"}}, (422, "invalid_service")),
        ({"data": {"service": "{"}}, (422, "invalid_request")),
        ({"data": {"service": "[]"}}, (422, "invalid_request")),
        ({"data": {"service": "null", "image": "host"}}, (422, "invalid_request")),
        ({"data": {"image": "nope"}}, (422, "not_supported")),
        ({"data": {"image": "host", "dockerfile": "D"}}, (422, "not_supported")),
        ({"files": {"build_context": b"tar"}}, (422, "not_supported")),
        ({"files": {"a": b"", "b": b""}}, (400, "bad_request")),
        ({"json": HOST}, (415, "unsupported_media_type")),
        (
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
            (400, "bad_request"),
        ),
    ],
)
def test_forms_that_make_nothing(
    client: httpx.Client, engine: HostEngine, form: dict[str, Any], code: tuple[int, str]
) -> None:
    assert _code(client.post("/sandboxes", **form)) == code
    assert engine.created == []


def test_stop_many(client: httpx.Client, engine: HostEngine) -> None:
    paths = [_new() for _ in range(3)]
    names = [path.rpartition("/")[2] for path in paths]
    for path in paths:
        client.put(path, json=HOST)
    client.delete(paths[0])
    answer = client.post("/sandboxes/stop", json={"sandbox_ids": [*names, "typo", names[1]]})
    assert answer.json() == {
        "stopped": names,
        "failed": [{"sandbox_id": "typo", "error": "no sandbox 'typo'"}],
    }
    assert engine.specs == {}
    refused = client.post("/sandboxes/stop", json={"sandbox_ids": [], "save_state": True})
    assert _code(refused) == (422, "not_supported")
    assert client.post("/sandboxes/stop", json={"sandbox_ids": []}).json() == {
        "stopped": [],
        "failed": [],
    }
    assert _code(client.post("/sandboxes/stop", json={"sandbox_ids": [""]}))[0] == 422


def test_a_stopping_server_answers_those_who_wait(engine: HostEngine) -> None:
    before = threading.active_count()
    service = Service(engine)
    service.start()
    path = _new()
    with service.client() as client:
        client.put(path, json=HOST)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(client.post, f"{path}/exec", json={"command": "sleep 60"})
            service.until(lambda: bool(engine.processes))
            service.stop()
            assert waiting.result().status_code in (200, 410)
    assert engine.specs == {}
    assert threading.active_count() == before


def _request(method: str, path: str, body: bytes) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
