"""What a sandbox waits for before it is made: how far it is, who waits for it, and its end."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from lunette.server.engines.protocol import NoSpaceError, Report, SandboxSpec
from lunette.server.images.errors import error_of_kind
from lunette.server.images.image import Progress

from .conftest import Service
from .host_engine import HostEngine

HOST = {"service": {"image": "host"}}
AT_ONCE = {"Prefer": "respond-async, wait=0"}
PULLING, UNPACKING = Progress("pulling", 10, 100), Progress("unpacking", 30, 100)
SHOWN = {"stage": "unpacking", "done": 30, "total": 100}


class Preparing:
    """The engine's `prepare`, counted; it may report, fail, or end in the middle."""

    def __init__(self, engine: HostEngine) -> None:
        self.engine = engine
        self.reports: list[Report] = []
        self.begun = 0
        self.cancelled = 0
        self.error: Exception | None = None
        self._original = engine.prepare

    async def __call__(self, spec: SandboxSpec, report: Report) -> None:
        self.begun += 1
        self.reports.append(report)
        try:
            await self._original(spec, report)
        except BaseException:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error


@pytest.fixture
def preparing(engine: HostEngine, monkeypatch: pytest.MonkeyPatch) -> Preparing:
    """Hold every `prepare` of the engine until its gate is opened."""
    found = Preparing(engine)
    engine.prepare_gate.clear()
    monkeypatch.setattr(engine, "prepare", found)
    return found


def _new() -> str:
    return f"/sandboxes/{uuid.uuid4()}"


def _told(answer: httpx.Response) -> tuple[int, Any, Any]:
    body = answer.json()
    return answer.status_code, body.get("state") or body.get("code"), body.get("progress")


@contextmanager
def _putting(
    service: Service, client: httpx.Client, path: str, preparing: Preparing
) -> Generator[Any]:
    """Make a sandbox in another thread, up to where it waits; yield the answer to come."""
    with ThreadPoolExecutor(1) as threads:
        before = preparing.begun
        put = threads.submit(client.put, path, json=HOST)
        service.until(lambda: preparing.begun > before or put.done())
        yield put


def test_a_pending_sandbox_says_how_far_it_is(
    service: Service, client: httpx.Client, engine: HostEngine, preparing: Preparing
) -> None:
    engine.preparing = [PULLING, UNPACKING]
    path = _new()
    first = client.put(path, json=HOST, headers=AT_ONCE)
    assert first.headers["preference-applied"] == "respond-async"
    assert first.json()["state"] == "pending"
    service.until(lambda: bool(preparing.reports))
    assert _told(client.put(path, json=HOST, headers=AT_ONCE)) == (202, "pending", SHOWN)
    assert _told(client.get(path)) == (200, "pending", SHOWN)
    assert client.get("/sandboxes").json()["sandboxes"][0]["progress"] == SHOWN
    service.call(preparing.reports[0], Progress("unpacking", 100, 100))
    assert client.get(path).json()["progress"]["done"] == 100
    service.call(engine.prepare_gate.set)
    assert _told(client.get(path, params={"wait": 25})) == (200, "running", None)
    assert _told(client.put(path, json=HOST)) == (200, "running", None)
    assert (preparing.begun, len(engine.created)) == (1, 1)


def test_what_is_made_from_there_on_has_no_progress(
    service: Service, client: httpx.Client, engine: HostEngine, preparing: Preparing
) -> None:
    service.call(engine.create_gate.clear)
    engine.preparing = [PULLING]
    path = _new()
    client.put(path, json=HOST, headers=AT_ONCE)
    service.call(engine.prepare_gate.set)
    service.until(lambda: bool(engine.created))
    assert _told(client.get(path)) == (200, "pending", None)
    service.call(preparing.reports[0], PULLING)  # a last word that comes too late
    service.call(engine.create_gate.set)
    assert _told(client.get(path, params={"wait": 25})) == (200, "running", None)


def test_ten_creates_of_one_sandbox_wait_for_the_same(
    service: Service, client: httpx.Client, engine: HostEngine, preparing: Preparing
) -> None:
    path = _new()
    with ThreadPoolExecutor(10) as threads, service.client() as other:
        puts = [threads.submit(client.put, path, json=HOST) for _ in range(10)]
        service.until(lambda: bool(preparing.reports))
        assert other.get(path).json()["state"] == "pending"
        service.call(engine.prepare_gate.set)
        codes = sorted(put.result().status_code for put in puts)
    assert codes == [200] * 9 + [201]
    assert (preparing.begun, len(engine.created)) == (1, 1)


def test_a_delete_ends_it_at_once(
    service: Service, client: httpx.Client, engine: HostEngine, preparing: Preparing
) -> None:
    """The gate stays closed: only a cancelled `prepare` lets these be answered."""
    path = _new()
    with _putting(service, client, path, preparing) as put:
        assert client.delete(path).status_code == 204
        assert _told(put.result()) == (410, "sandbox_destroyed", None)
    assert (preparing.cancelled, engine.created, engine.specs) == (1, [], {})
    assert _told(client.get(path)) == (410, "sandbox_destroyed", None)
    assert _told(client.put(path, json=HOST)) == (410, "sandbox_destroyed", None)
    assert client.get("/sandboxes").json() == {"sandboxes": []}
    assert client.delete(path).status_code == 204
    assert preparing.begun == 1


def test_a_delete_of_what_nobody_waits_for(
    service: Service, client: httpx.Client, engine: HostEngine, preparing: Preparing
) -> None:
    path = _new()
    assert client.put(path, json=HOST, headers=AT_ONCE).status_code == 202
    assert client.delete(path).status_code == 204
    assert (engine.created, engine.specs) == ([], {})
    assert _told(client.get(path, params={"wait": 5})) == (410, "sandbox_destroyed", None)


def test_a_delete_ends_one_of_two(
    service: Service, client: httpx.Client, engine: HostEngine, preparing: Preparing
) -> None:
    gone, kept = _new(), _new()
    for path in (gone, kept):
        client.put(path, json=HOST, headers=AT_ONCE)
    service.until(lambda: preparing.begun == 2)
    assert client.delete(gone).status_code == 204
    service.call(engine.prepare_gate.set)
    assert client.get(kept, params={"wait": 25}).json()["state"] == "running"
    assert engine.created == [kept.rpartition("/")[2]]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (error_of_kind("not_found", "no such"), (404, "image_not_found")),
        (error_of_kind("denied", "no"), (403, "registry_denied")),
        (error_of_kind("registry", "down"), (502, "registry_error")),
        (error_of_kind("invalid_image", "odd"), (422, "invalid_image")),
        (error_of_kind("platform", "other"), (422, "not_supported")),
        (error_of_kind("no_space", "full"), (507, "no_space")),
        (error_of_kind("killed", "killed"), (503, "no_capacity")),
        (NoSpaceError("full"), (507, "no_space")),
        (RuntimeError("a bug"), (500, "internal_error")),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_a_failure_is_told_to_who_comes_back_and_may_be_tried_again(
    service: Service,
    client: httpx.Client,
    engine: HostEngine,
    preparing: Preparing,
    error: Exception,
    expected: tuple[int, str],
) -> None:
    preparing.error = error
    path = _new()
    assert client.put(path, json=HOST, headers=AT_ONCE).status_code == 202
    service.call(engine.prepare_gate.set)
    for _ in range(2):
        assert _told(client.get(path, params={"wait": 25}))[:2] == expected
    assert client.get("/sandboxes").json() == {"sandboxes": []}
    assert _told(client.put(path, json=HOST))[:2] == expected
    assert (preparing.begun, engine.created) == (2, [])
    preparing.error = None
    assert client.put(path, json=HOST).status_code == 201
    assert client.get(path).json()["state"] == "running"


def test_commands_wait_for_a_sandbox_that_waits(
    service: Service, client: httpx.Client, engine: HostEngine, preparing: Preparing
) -> None:
    path = _new()
    client.put(path, json=HOST, headers=AT_ONCE)
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(client.post, f"{path}/exec", json={"command": "echo made"})
        service.until(lambda: bool(preparing.reports))
        service.call(engine.prepare_gate.set)
        assert run.result().json()["stdout"] == "made\n"


def test_a_server_that_stops_lets_nobody_wait(engine: HostEngine, preparing: Preparing) -> None:
    threads = threading.active_count()
    service = Service(engine)
    service.start()
    with service.client() as client, _putting(service, client, _new(), preparing) as put:
        service.stop()
        assert _told(put.result())[:2] == (503, "engine_unavailable")
    assert (engine.created, preparing.cancelled) == ([], 1)
    assert threading.active_count() == threads
