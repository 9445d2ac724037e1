from __future__ import annotations

import httpx

from lunette.server.engines.protocol import EngineUnavailableError

from .conftest import Service
from .host_engine import HostEngine


def test_health_does_not_wait_for_the_engine(engine: HostEngine) -> None:
    engine.start_gate.clear()
    service = Service(engine)
    service.start()
    try:
        with service.client() as client:
            assert client.get("/health").json() == {"status": "ok"}
        service.call(engine.start_gate.set)
    finally:
        service.stop()


def test_capabilities_are_the_engines_and_the_limits_in_force(
    client: httpx.Client, world: str
) -> None:
    found = client.get("/capabilities").json()
    assert (found["name"], found["api_version"], found["engine"]) == ("lunette", "1", world)
    assert (found["images"], found["network_modes"]) == (["host"], ["none"])
    assert found["isolation"] in ("none", "rootless", "uid-range")
    assert "labels" in found["service_keys"]
    assert (
        found["limits"].items()
        >= {
            "json_body": 64 * 1024**2,
            "output": 10 * 1024**2,
            "output_limit": 16 * 1024**2,
            "log": 64 * 1024**2,
            "logs": 256 * 1024**2,
            "input_chunk": 1024**2,
            "uploads": 64,
            "archives": 16,
            "archive_piece": 4 * 1024**2,
            "listing": 200_000,
            "read": 64 * 1024**2,
            "starting_commands": 1024,
            "starting_sandboxes": 256,
        }.items()
    )


def test_requests_that_need_the_engine_wait_for_its_start(engine: HostEngine) -> None:
    engine.start_gate.clear()
    service = Service(engine)
    service.start()
    try:
        connection = service.raw()
        connection.sendall(b"GET /capabilities HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with service.client() as client:
            client.get("/health")  # by now the other request waits
        service.call(engine.start_gate.set)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.close()
    finally:
        service.stop()


def test_an_engine_that_cannot_start_is_told_to_each_request(engine: HostEngine) -> None:
    engine.start_error = EngineUnavailableError("user namespaces are switched off: do this")
    _assert_unavailable(engine, "user namespaces are switched off: do this")


def test_an_engine_that_breaks_at_start_is_told_too(engine: HostEngine) -> None:
    engine.start_error = RuntimeError("bug")
    _assert_unavailable(engine, "the engine failed to start: RuntimeError: bug")


def _assert_unavailable(engine: HostEngine, detail: str) -> None:
    service = Service(engine)
    service.start()
    try:
        with service.client() as client:
            for _ in range(2):
                answer = client.post("/sandboxes", data={"image": "host"})
                assert answer.status_code == 503
                assert answer.json()["code"] == "engine_unavailable"
                assert answer.json()["detail"] == detail
    finally:
        service.stop()
