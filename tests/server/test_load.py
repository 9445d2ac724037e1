from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from lunette.server import _load
from lunette.server._load import Gate, announced_bytes, buffered_bytes
from lunette.server._problems import Problem

from .conftest import Service
from .host_engine import HostEngine
from .streams import WAITS, ended, followed, following, put, release, start, write_input

HOST = {"service": {"image": "host"}}


def _refused(answer: httpx.Response) -> bool:
    if answer.status_code != 429:
        return False
    assert answer.json()["code"] == "too_many_requests"
    assert answer.headers["retry-after"] == "1"
    return True


def test_a_gate() -> None:
    gate = Gate(10, "things")
    with gate.entered(8), gate.entered(2):
        with pytest.raises(Problem, match="no room for more than 10 things"), gate.entered(1):
            pass
        with gate.entered(0):
            pass
    with gate.entered(99):  # one is always let in, or it never would be
        pass
    assert gate.inside == 0


def test_what_a_body_holds() -> None:
    json = (b"content-type", b"application/json")
    assert buffered_bytes([json, (b"content-length", b"1000")]) == 0
    assert buffered_bytes([json, (b"content-length", b"1000000")]) == 1_000_000
    assert buffered_bytes([json, (b"transfer-encoding", b"chunked")]) == 1024**2
    assert announced_bytes([(b"content-length", b"1000000")]) == 1_000_000
    raw = (b"content-type", b"application/octet-stream")
    assert buffered_bytes([(b"content-length", b"1000000"), raw]) == 0
    assert buffered_bytes([(b"content-length", b"1000000")]) == 0


def test_commands_beyond_what_can_be_started_are_shed(
    service: Service,
    client: httpx.Client,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (commands,) = {
        route.app._endpoints["POST"].__self__
        for route in service.routes()
        if route.path.endswith("/exec")
    }
    monkeypatch.setattr(commands._starting._gate, "_limit", 4)
    service.call(engine.exec_gate.clear)
    with ThreadPoolExecutor(8) as threads:

        def post(number: int) -> httpx.Response:
            headers = {"Idempotency-Key": f"k{number}"}
            return client.post(f"{sandbox}/exec", json={"command": "true"}, headers=headers)

        waiting = [threads.submit(post, n) for n in range(4)]
        service.until(lambda: commands._starting._gate.inside == 4)
        assert all(_refused(answer) for answer in threads.map(post, range(4, 8)))
        assert client.get(sandbox).status_code == 200  # it still answers
        service.call(engine.exec_gate.set)
        assert {answer.result().status_code for answer in waiting} == {200}
        assert {answer.status_code for answer in threads.map(post, range(8))} == {200}
    assert len(engine.processes) == 8


def test_creates_beyond_what_can_be_made_are_shed(
    service: Service, client: httpx.Client, engine: HostEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.registry._making.starting, "_limit", 2)
    service.call(engine.create_gate.clear)
    paths = [f"/sandboxes/{uuid.uuid4()}" for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(client.put, path, json=HOST) for path in paths[:2]]
        service.until(lambda: len(engine.created) == 2)
        assert _refused(client.put(paths[2], json=HOST))
        service.call(engine.create_gate.set)
        assert {answer.result().status_code for answer in waiting} == {201}
    assert client.put(paths[2], json=HOST).status_code == 201
    assert len(engine.created) == 3


def test_bodies_beyond_the_memory_are_shed(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    service.call(engine.exec_gate.clear)
    large = {"command": "true", "input": "x" * 300_000}
    gate = service.guard()._bodies
    gate._limit = 500_000
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.post, f"{sandbox}/exec", json=large)
        service.until(lambda: gate.inside > 0)
        assert _refused(client.post(f"{sandbox}/exec", json=large))
        assert client.get(sandbox).status_code == 200
        service.call(engine.exec_gate.set)
        assert waiting.result().status_code == 200
    assert client.post(f"{sandbox}/exec", json=large).status_code == 200
    service.until(lambda: gate.inside == 0)


def _processes(service: Service) -> Any:
    """Return what serves the processes."""
    (found,) = {
        route.app._endpoints["PUT"].__self__
        for route in service.routes()
        if route.path.endswith("/input")
    }
    return found


def test_input_beyond_the_memory_is_shed(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    process = start(client, sandbox, f"{WAITS}; wc -c", interactive=True)
    gate = service.guard()._bodies
    gate._limit = 1_000_000
    data = bytes(600_000)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(write_input, client, process, 0, data, wait=30, end=True)
        service.until(lambda: gate.inside == 600_000)
        assert _refused(write_input(client, process, 0, data))
        assert write_input(client, process, 0, b"\0" * 100).status_code == 200
        release(client, sandbox)
        assert waiting.result().json() == {"offset": 600_000}
    assert write_input(client, process, 0, data).status_code == 200
    ended(client, process)
    service.until(lambda: gate.inside == 0)


@pytest.mark.parametrize("how", ["read", "killed"])
def test_what_processes_have_not_read_is_bounded(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str, how: str
) -> None:
    gate = _processes(service)._unread
    gate._limit = 1_000_000
    process = start(client, sandbox, f"{WAITS}; wc -c; sleep 60", input="x" * 600_000)
    assert gate.inside == 600_000
    assert _refused(put(client, sandbox, "true", "q", input="x" * 600_000))
    assert put(client, sandbox, "true", "r", input="x" * 1000).status_code == 201
    if how == "read":
        release(client, sandbox)
    else:
        client.delete(process)
    service.until(lambda: gate.inside == 0)
    assert put(client, sandbox, "true", "q", input="x" * 600_000).status_code == 201
    client.delete(process)


def test_input_of_what_could_not_start_is_let_go(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    gate = _processes(service)._unread
    ended(client, start(client, sandbox, ["nonexistent"], input="x" * 600_000))
    engine.exec_error = RuntimeError("a bug")
    assert put(client, sandbox, "true", "q", input="x" * 600_000).status_code == 500
    service.until(lambda: gate.inside == 0)


def test_followers_beyond_what_can_be_served_are_shed(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    process = start(client, sandbox, WAITS)
    gate = _processes(service)._followers
    gate._limit = 1
    with following(client, process) as found:
        next(found)
        assert _refused(client.get(f"{process}/output"))
        release(client, sandbox)
        assert [event.name for event in found] == ["stdout", "exit"]
    service.until(lambda: gate.inside == 0)
    assert followed(client, process)[-1].name == "exit"


def test_the_limits_are_those_of_the_contract() -> None:
    assert (_load.STARTING_COMMANDS, _load.STARTING_SANDBOXES) == (1024, 256)
    assert _load.FOLLOWERS == 1024
