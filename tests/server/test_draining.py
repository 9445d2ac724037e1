from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from .bent_engine import BentEngine
from .conftest import GUARD, Service, running


@pytest.fixture
def patient(engine: BentEngine) -> Iterator[Service]:
    with running(Service(engine, grace=GUARD)) as service:
        yield service


class Running:
    """A sandbox with a command that runs until it is told to end."""

    def __init__(
        self, service: Service, pool: ThreadPoolExecutor, flag: Path, headers: dict[str, str]
    ) -> None:
        self._flag = flag
        self._client = service.client()
        self.path = f"/sandboxes/{uuid.uuid4()}"
        made = self._client.put(self.path, json={"service": {"image": "host"}})
        assert made.status_code == 201
        command = f"echo > {flag}.runs; until [ -e {flag} ]; do sleep 0.01; done; echo over"
        self.answer: Future[httpx.Response] = pool.submit(
            self._client.post, f"{self.path}/exec", json={"command": command}, headers=headers
        )
        service.until(Path(f"{flag}.runs").exists)

    def end(self) -> None:
        self._flag.touch()

    def close(self) -> None:
        self.end()
        self.answer.exception(GUARD)
        self._client.close()


Run = Callable[..., Running]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with ExitStack() as stack, ThreadPoolExecutor() as pool:

        def begin(service: Service, **headers: str) -> Running:
            running = Running(service, pool, tmp_path / "flag", headers)
            stack.callback(running.close)
            return running

        yield begin


def test_what_runs_comes_to_its_end(patient: Service, run: Run) -> None:
    command = run(patient)
    with patient.client() as client:
        patient.drain()
        beginnings = [
            ("PUT", f"/sandboxes/{uuid.uuid4()}", {"service": {"image": "host"}}),
            ("POST", f"{command.path}/exec", {"command": "true"}),
            ("PUT", f"{command.path}/processes/{uuid.uuid4()}", {"command": "true"}),
        ]
        for method, path, body in beginnings:
            answer = client.request(method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "no_capacity"), path
            assert answer.headers["retry-after"] == "1"
        assert client.get(command.path).json()["state"] == "running"
    command.end()
    assert command.answer.result(GUARD).json()["stdout"] == "over\n"
    patient.ended()


def test_a_command_is_waited_for_between_two_requests(patient: Service, run: Run) -> None:
    key = str(uuid.uuid4())
    command = run(patient, **{"Idempotency-Key": key, "Prefer": "respond-async, wait=0"})
    assert command.answer.result(GUARD).status_code == 202
    patient.drain()
    with patient.client() as client, ThreadPoolExecutor() as pool:
        assert client.get("/health").status_code == 200
        asked = pool.submit(client.get, f"{command.path}/processes/{key}", params={"wait": "25"})
        patient.until(lambda: len(patient.tasks()) == 2)
        command.end()
        assert asked.result(GUARD).json()["result"]["stdout"] == "over\n"
    patient.ended()


def test_the_second_time_nobody_is_waited_for(patient: Service, run: Run) -> None:
    command = run(patient)
    patient.drain()
    patient.drain()
    patient.ended()
    answer = command.answer.result(GUARD)
    assert (answer.status_code, answer.json()["code"]) == (410, "sandbox_lost")


def test_time_is_over(engine: BentEngine, run: Run) -> None:
    with running(Service(engine, grace=0.2)) as service:
        command = run(service)
        service.drain()
        service.ended()
    assert command.answer.result(GUARD).json()["code"] == "sandbox_lost"


def test_who_has_nothing_to_do_stops_at_once(patient: Service) -> None:
    with patient.client() as client:
        assert client.get("/health").status_code == 200
        patient.drain()
        patient.ended()
