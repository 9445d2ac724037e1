"""A key is one command, however often and in whatever way it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import time
import uuid
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette.server import runs as runs_module
from lunette.server import store as store_module
from lunette.server._problems import Problem
from lunette.server.engines.protocol import NoCapacityError, State, Status
from lunette.server.output import Outcome
from lunette.server.registry import Registry
from lunette.server.runs import Runs
from lunette.server.store import KEY_SECONDS, KnownCommand, Store

from .conftest import Service
from .host_engine import HostEngine

HOST = {"service": {"image": "host"}}


def _post(
    client: httpx.Client, sandbox: str, command: str, key: str | None = None, **more: Any
) -> httpx.Response:
    prefer = more.pop("prefer", None)
    headers = {"Idempotency-Key": key, "Prefer": prefer}
    given = {name: value for name, value in headers.items() if value is not None}
    return client.post(f"{sandbox}/exec", json={"command": command, **more}, headers=given)


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def _runs(service: Service, sandbox: str) -> Runs:
    return service.registry.get(sandbox.rpartition("/")[2]).runs


def _release(client: httpx.Client, sandbox: str) -> None:
    client.put(f"{sandbox}/files", params={"path": "go"}, content=b"")


WAITS = "echo begun; while [ ! -e go ]; do sleep 0.01; done; echo $$"


def test_a_repeat_has_the_outcome(client: httpx.Client, engine: HostEngine, sandbox: str) -> None:
    first = _post(client, sandbox, "echo $$; exit 3", "k")
    again = _post(client, sandbox, "echo $$; exit 3", "k")
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert len(engine.processes) == 1


@pytest.mark.parametrize("size", [100, 200_000])
def test_an_outcome_has_every_byte(client: httpx.Client, sandbox: str, size: int) -> None:
    command = f"head -c {size} /dev/zero | tr '\\0' '\\377'; echo e >&2; kill -9 $$"
    first = _post(client, sandbox, command, "k").json()
    assert first["signal"] == 9 and len(first["stdout"]) == size
    assert _post(client, sandbox, command, "k").json() == first


def test_repeats_join_what_runs(service: Service, client: httpx.Client, sandbox: str) -> None:
    runs = _runs(service, sandbox)
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(_post, client, sandbox, WAITS, "k") for _ in range(8)]
        service.until(lambda: "k" in runs._running)
        _release(client, sandbox)
        bodies = {answer.result().text for answer in answers}
    assert len(bodies) == 1
    assert len(service.engine.processes) == 1


def test_another_body_is_refused(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_post, client, sandbox, WAITS, "k")
        service.until(lambda: "k" in _runs(service, sandbox)._running)
        assert _code(_post(client, sandbox, "other", "k")) == (422, "key_reused")
        _release(client, sandbox)
        assert waiting.result().status_code == 200
    answer = _post(client, sandbox, "other", "k")
    assert _code(answer) == (422, "key_reused")
    assert answer.json()["key"] == "Idempotency-Key"
    assert len(engine.processes) == 1


def test_a_key_is_a_sandboxs_own(client: httpx.Client, engine: HostEngine, sandbox: str) -> None:
    other = f"/sandboxes/{uuid.uuid4()}"
    client.put(other, json=HOST)
    for path in (sandbox, other):
        assert _post(client, path, "true", "k").status_code == 200
    assert len(engine.processes) == 2


@pytest.mark.parametrize(
    ("error", "status"), [(NoCapacityError("full"), 503), (RuntimeError("a bug"), 500)]
)
def test_what_was_not_started_may_be_sent_again(
    client: httpx.Client, engine: HostEngine, sandbox: str, error: Exception, status: int
) -> None:
    engine.exec_error = error
    assert _post(client, sandbox, "true", "k").status_code == status
    engine.exec_error = None
    assert _post(client, sandbox, "true", "k").status_code == 200
    missing = client.post(
        f"{sandbox}/exec", json={"command": "pwd", "cwd": "d"}, headers={"Idempotency-Key": "c"}
    )
    assert _code(missing) == (404, "file_not_found")
    client.put(f"{sandbox}/files", params={"path": "go"}, content=b"")
    assert _post(client, sandbox, "true", "c").status_code == 200


def test_what_was_started_and_broke_is_not_run_again(
    client: httpx.Client, engine: HostEngine, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .host_engine import HostProcess

    async def broken(process: HostProcess) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as bent:
        bent.setattr(HostProcess, "wait", broken)
        assert _post(client, sandbox, "true", "k").status_code == 500
    assert _code(_post(client, sandbox, "true", "k")) == (409, "outcome_expired")
    assert _code(client.get(f"{sandbox}/processes/k")) == (409, "outcome_expired")
    assert len(engine.processes) == 1


def test_a_command_that_is_not_found_is_an_outcome(client: httpx.Client, sandbox: str) -> None:
    for _ in range(2):
        answer = client.post(
            f"{sandbox}/exec", json={"command": ["nope"]}, headers={"Idempotency-Key": "k"}
        )
        assert answer.json()["exit_code"] == 127


def test_the_oldest_outcomes_are_dropped(
    client: httpx.Client, engine: HostEngine, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "_KEPT_BYTES", 300_000)
    command = "head -c 100000 /dev/zero"
    for number in range(4):
        assert _post(client, sandbox, command, f"k{number}").status_code == 200
    answers = [_post(client, sandbox, command, f"k{n}").status_code for n in range(4)]
    assert answers == [409, 409, 200, 200]
    assert len(engine.processes) == 4


def test_the_oldest_keys_are_forgotten(
    client: httpx.Client, engine: HostEngine, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "_KEPT_KEYS", 2)
    for key in ("a", "b", "c"):
        _post(client, sandbox, "true", key)
    _post(client, sandbox, "true", "c")
    assert len(engine.processes) == 3
    _post(client, sandbox, "true", "a")
    assert len(engine.processes) == 4


def test_a_key_that_is_used_again_keeps_its_new_outcome(
    client: httpx.Client, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "_KEPT_KEYS", 2)
    monkeypatch.setattr(runs_module, "_KEPT_BYTES", 4 * 600)
    for key in ("a", "b", "c", "a", "d"):  # "a" is forgotten, and comes again
        _post(client, sandbox, f"head -c 80 /dev/zero; : {key}", key)
    assert _post(client, sandbox, "head -c 80 /dev/zero; : a", "a").status_code == 200


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, (507, "no_space")), (errno.EAGAIN, (503, "no_capacity"))],
)
def test_a_server_that_cannot_remember_starts_nothing(
    service: Service,
    client: httpx.Client,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: tuple[int, str],
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, "no")

    with monkeypatch.context() as bent:
        bent.setattr(service.store, "claim", full)
        assert _code(_post(client, sandbox, "true", "k")) == expected
    assert engine.processes == []
    assert _post(client, sandbox, "true", "k").status_code == 200


def test_keys_are_forgotten_after_a_day(
    service: Service,
    client: httpx.Client,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _post(client, sandbox, "head -c 100000 /dev/zero", "k")
    later = time.time() + KEY_SECONDS + 1
    monkeypatch.setattr(store_module, "time", lambda: later)
    monkeypatch.setattr(runs_module, "time", lambda: later)
    for _ in range(2):  # whether it is pruned or not
        assert _post(client, sandbox, "head -c 100000 /dev/zero", "k").status_code == 200
    assert len(engine.processes) == 2
    runs = _runs(service, sandbox)
    assert runs._kept == sum(size for size, _ in runs._outcomes.values()) < 101_000


def test_a_sandbox_that_is_gone_takes_its_keys_along(
    service: Service, client: httpx.Client, sandbox: str
) -> None:
    _post(client, sandbox, "true", "k")
    client.delete(sandbox)
    assert _code(_post(client, sandbox, "true", "k")) == (410, "sandbox_destroyed")
    name = sandbox.rpartition("/")[2]
    assert service.store is not None
    assert service.call(service.store.command, name, "k") is None


def test_an_outcome_outlives_the_end_of_the_services_command(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    outcome = _post(client, sandbox, "echo out", "k").json()
    name = sandbox.rpartition("/")[2]
    service.call(engine.happen, name, Status(state=State.STOPPED, reason="it ended"))
    service.until(lambda: service.registry.get(name).status.state is State.STOPPED)
    assert _post(client, sandbox, "echo out", "k").json() == outcome
    assert _code(_post(client, sandbox, "echo out", "new")) == (410, "sandbox_stopped")


def test_a_restarted_server_knows_what_commands_of_before_did(tmp_path: Path) -> None:
    outcome = Outcome(stdout=b"out", exit_code=3)
    with contextlib.closing(Store(tmp_path, durable=True)) as store:
        store.sandbox_made("s")
        asyncio.run(store.keep("s", "ended", b"body", outcome))
        store.claim("s", "running", b"body")
    with contextlib.closing(Store(tmp_path, durable=True)) as store:
        registry = Registry(_no_engine, store)
        found = registry.runs("s").join("ended", b"body")
        assert isinstance(found, KnownCommand)
        assert asyncio.run(found.outcome()) == outcome
        assert registry.runs("s").join("running", b"body") is None
        assert registry.runs("s").find("running") is None
        assert registry.runs("s").join("new", b"body") is None
        with pytest.raises(Problem) as gone:
            registry.get("s")
        assert (gone.value.status, gone.value.code) == (410, "sandbox_lost")
        with pytest.raises(Problem, match="there is no sandbox"):
            registry.runs("another")


async def _no_engine() -> Any:
    raise AssertionError("nobody needs one")


# Long answers


@contextlib.contextmanager
def _running(
    service: Service, client: httpx.Client, sandbox: str, key: str
) -> Generator[httpx.Response]:
    answer = _post(client, sandbox, WAITS, key, prefer="respond-async, wait=0")
    yield answer
    _release(client, sandbox)


def test_a_long_answer(service: Service, client: httpx.Client, sandbox: str) -> None:
    with _running(service, client, sandbox, "k") as accepted:
        assert accepted.status_code == 202
        assert accepted.json() == {"process_id": "k", "state": "running"}
        assert accepted.headers["preference-applied"] == "respond-async"
        assert accepted.headers["location"] == f"{sandbox}/processes/k"
        where = accepted.headers["location"]
        assert client.get(where).json() == {"process_id": "k", "state": "running"}
        assert client.get(where, params={"wait": 0.05}).json()["state"] == "running"
    ended = client.get(where, params={"wait": 30}).json()
    assert ended["state"] == "ended"
    assert ended["result"]["stdout"].startswith("begun\n")
    assert client.get(where).json() == ended
    assert _post(client, sandbox, WAITS, "k").json() == ended["result"]


def test_a_long_answer_without_a_key_gets_one(client: httpx.Client, sandbox: str) -> None:
    accepted = _post(client, sandbox, WAITS, prefer="respond-async")
    assert accepted.status_code == 202
    assert client.get(accepted.headers["location"]).json()["state"] == "running"
    assert client.delete(accepted.headers["location"]).status_code == 204
    assert client.get(accepted.headers["location"]).json()["result"]["signal"] == 9


@pytest.mark.parametrize("prefer", ["respond-async, wait=30", 'wait="30" , RESPOND-ASYNC;x=1'])
def test_a_short_command_has_a_short_answer(
    client: httpx.Client, sandbox: str, prefer: str
) -> None:
    answer = _post(client, sandbox, "echo hi", "k", prefer=prefer)
    assert (answer.status_code, answer.json()["stdout"]) == (200, "hi\n")


@pytest.mark.parametrize("prefer", [None, "wait=0", "respond-asynchronously, wait=0", "", ",;="])
def test_who_does_not_ask_never_sees_202(
    service: Service, client: httpx.Client, sandbox: str, prefer: str | None
) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting: Future[httpx.Response] = threads.submit(
            _post, client, sandbox, WAITS, "k", prefer=prefer
        )
        service.until(lambda: "k" in _runs(service, sandbox)._running)
        assert not waiting.done()
        _release(client, sandbox)
        assert waiting.result().status_code == 200


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "1_0", "soon", ""])
def test_waits_that_are_none(client: httpx.Client, sandbox: str, wait: str) -> None:
    for path in (sandbox, f"{sandbox}/processes/k"):
        answer = client.get(path, params={"wait": wait})
        assert _code(answer) == (422, "invalid_request")
        assert answer.json()["key"] == "wait"


def test_a_process_that_never_was(client: httpx.Client, sandbox: str) -> None:
    assert _code(client.get(f"{sandbox}/processes/k")) == (404, "process_not_found")
    client.delete(f"{sandbox}/processes/k")
    assert _code(client.get(f"{sandbox}/processes/k")) == (404, "process_not_found")
    assert _code(client.get(f"{sandbox}/processes/{'a' * 65}")) == (422, "invalid_request")


def test_a_long_create(service: Service, client: httpx.Client, engine: HostEngine) -> None:
    service.call(engine.create_gate.clear)
    path = f"/sandboxes/{uuid.uuid4()}"
    for _ in range(2):
        answer = client.put(path, json=HOST, headers={"Prefer": "respond-async, wait=0"})
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        assert answer.headers["preference-applied"] == "respond-async"
    assert client.get(path, params={"wait": 0.05}).json()["state"] == "pending"
    service.call(engine.create_gate.set)
    assert client.get(path, params={"wait": 30}).json()["state"] == "running"
    assert engine.created == [path.rpartition("/")[2]]


def test_a_long_create_that_fails(
    service: Service, client: httpx.Client, engine: HostEngine
) -> None:
    service.call(engine.create_gate.clear)
    engine.create_error = NoCapacityError("full")
    path = f"/sandboxes/{uuid.uuid4()}"
    prefer = {"Prefer": "respond-async, wait=0"}
    assert client.put(path, json=HOST, headers=prefer).status_code == 202
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.get, path, params={"wait": 30})
        service.call(engine.create_gate.set)
        assert _code(waiting.result()) == (503, "no_capacity")
    assert _code(client.get(path)) == (503, "no_capacity")
    engine.create_error = None
    assert client.put(path, json=HOST).status_code == 201


def test_a_form_under_a_key_makes_one_sandbox(client: httpx.Client, engine: HostEngine) -> None:
    headers = {"Idempotency-Key": "k"}
    made = [client.post("/sandboxes", data={"image": "host"}, headers=headers) for _ in range(2)]
    assert made[0].json() == made[1].json()
    service = {"service": json.dumps({"image": "host", "hostname": "other"})}
    answer = client.post("/sandboxes", data=service, headers=headers)
    assert _code(answer) == (422, "key_reused")
    assert len(engine.created) == 1
    assert _code(
        client.post("/sandboxes", data={"image": "host"}, headers={"Idempotency-Key": "a b"})
    ) == (
        422,
        "invalid_request",
    )


def test_a_run_that_was_cancelled_frees_nothing_that_was_started() -> None:
    class Memory:
        dropped: list[str] = []  # noqa: RUF012 - one test

        def claim(self, *_: object) -> None: ...

        def command(self, *_: object) -> None: ...

        def drop(self, sandbox: str, key: str, body: bytes) -> None:
            self.dropped.append(key)

    class Endless:
        async def kill(self) -> None: ...

    async def main() -> None:
        runs = Runs(Memory(), "s")  # type: ignore[arg-type]
        run = runs.begin("k", b"")

        async def work() -> Any:
            await run.started(Endless())  # type: ignore[arg-type]
            await asyncio.Event().wait()

        following = asyncio.create_task(runs.follow(run, work()))
        assert await run.outcome(0.01) is None
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run.outcome(None)
        assert Memory.dropped == ["k"]

    asyncio.run(main())
