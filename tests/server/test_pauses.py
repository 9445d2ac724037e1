"""Pauses and measures over HTTP."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lunette.server.engines.protocol import SandboxPausedError, State, Status

from .conftest import Service
from .host_engine import HostEngine


@pytest.fixture
def sandbox(client: httpx.Client) -> str:
    path = f"/sandboxes/{uuid.uuid4()}"
    assert client.put(path, json={"service": {"image": "host"}}).status_code == 201
    return path


def _state(client: httpx.Client, sandbox: str) -> str:
    return str(client.get(sandbox).json()["state"])


def test_pause_and_resume_are_idempotent(
    client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    for _ in range(2):
        answer = client.put(f"{sandbox}/pause")
        assert (answer.status_code, answer.content) == (204, b"")
        assert _state(client, sandbox) == "paused"
    for _ in range(2):
        assert client.delete(f"{sandbox}/pause").status_code == 204
        assert _state(client, sandbox) == "running"
    assert len(engine.paused) == len(engine.resumed) == 2


def test_nothing_begins_in_a_paused_sandbox(client: httpx.Client, sandbox: str) -> None:
    begun = client.put(f"{sandbox}/processes/one", json={"command": "sleep 60"})
    assert begun.status_code == 201
    client.put(f"{sandbox}/pause")
    command = {"command": "true"}
    key = {"Idempotency-Key": "two"}
    answers = [
        client.post(f"{sandbox}/exec", json=command),
        client.post(f"{sandbox}/exec", json=command, headers=key),
        client.put(f"{sandbox}/processes/three", json=command),
        client.get(f"{sandbox}/files", params={"path": "a"}),
        client.put(f"{sandbox}/files", params={"path": "a"}, content=b"a"),
    ]
    assert [(a.status_code, a.json()["code"]) for a in answers] == [(409, "sandbox_paused")] * 5
    listed = client.get(f"{sandbox}/processes").json()["processes"]
    assert [one["process_id"] for one in listed] == ["one"]
    assert client.get(f"{sandbox}/stats").status_code == 200
    assert client.delete(f"{sandbox}/processes/one").status_code == 204
    client.delete(f"{sandbox}/pause")
    # No key was used up.
    assert client.post(f"{sandbox}/exec", json=command, headers=key).json()["exit_code"] == 0
    assert client.put(f"{sandbox}/processes/three", json=command).status_code == 201


def test_an_engine_that_finds_it_paused(
    client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    engine.exec_error = SandboxPausedError("it is paused")
    answer = client.post(f"{sandbox}/exec", json={"command": "true"})
    assert (answer.status_code, answer.json()["code"]) == (409, "sandbox_paused")


def test_a_paused_sandbox_can_be_destroyed(client: httpx.Client, sandbox: str) -> None:
    client.put(f"{sandbox}/pause")
    assert client.delete(sandbox).status_code == 204
    for answer in (
        client.put(f"{sandbox}/pause"),
        client.delete(f"{sandbox}/pause"),
        client.get(f"{sandbox}/stats"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (410, "sandbox_destroyed")


def test_one_that_fails_while_it_is_paused_has_failed(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    service.call(engine.pause_gate.clear)
    with ThreadPoolExecutor() as pool:
        pausing = pool.submit(client.put, f"{sandbox}/pause")
        name = sandbox.rpartition("/")[2]
        service.call(engine.happen, name, Status(state=State.FAILED, reason="it broke"))
        service.until(lambda: service.registry.get(name).status.state is State.FAILED)
        service.call(engine.pause_gate.set)
        assert pausing.result().status_code in (204, 410)
    assert _state(client, sandbox) == "failed"
    answer = client.put(f"{sandbox}/pause")
    assert (answer.status_code, answer.json()["code"]) == (410, "sandbox_failed")


def test_unknown_sandboxes(client: httpx.Client) -> None:
    path = f"/sandboxes/{uuid.uuid4()}"
    assert client.put(f"{path}/pause").json()["code"] == "sandbox_not_found"
    assert client.get(f"{path}/stats").status_code == 404


def test_stats_leave_out_what_is_not_known(
    client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    assert client.get(f"{sandbox}/stats").json() == {
        "memory": 1 << 20,
        "memory_peak": 2 << 20,
        "cpu_seconds": 0.5,
        "processes": 2,
        "disk": 4096,
    }
