from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette.server import _events, registry
from lunette.server._lifetimes import Lifetime, Lifetimes, Reaper
from lunette.server.engines.protocol import State, Status

from .bent_engine import BentEngine
from .conftest import GUARD, Service
from .host_engine import HostEngine

HOST = {"service": {"image": "host"}}
# Short enough to be waited for, and long enough for what must come before.
SOON = 0.2
LONG = 600.0


def _new(client: httpx.Client, **lifetimes: float) -> str:
    path = f"/sandboxes/{uuid.uuid4()}"
    assert client.put(path, json={**HOST, **lifetimes}).status_code == 201
    return path


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def _is_gone(service: Service, sandbox: str) -> bool:
    return service.registry.lifetime(sandbox.rpartition("/")[2]) is None


def _expires_in(answer: httpx.Response) -> float:
    """Return the seconds from the making of a sandbox to its end."""
    info = answer.json()
    end, begin = (datetime.fromisoformat(info[key]) for key in ("expires_at", "created_at"))
    return (end - begin).total_seconds()


EXPIRED, LOST = (410, "sandbox_expired"), (410, "sandbox_lost")


def test_a_ttl(service: Service, client: httpx.Client, engine: HostEngine) -> None:
    other, sandbox = _new(client), _new(client, ttl=SOON)
    service.until(lambda: _is_gone(service, sandbox))
    assert engine.destroyed == [sandbox.rpartition("/")[2]]
    gone = client.get(sandbox)
    assert _code(gone) == EXPIRED
    assert "has expired" in gone.json()["detail"]
    assert _code(client.post(f"{sandbox}/exec", json={"command": "true"})) == EXPIRED
    assert _code(client.put(f"{sandbox}/lifetime", json={"seconds": 1})) == EXPIRED
    assert _code(client.put(sandbox, json=HOST)) == EXPIRED
    info = client.get(other).json()
    assert "expires_at" not in info
    assert [s["sandbox_id"] for s in client.get("/sandboxes").json()["sandboxes"]] == [
        info["sandbox_id"]
    ]
    assert client.delete(sandbox).status_code == 204


def test_who_waits_at_the_end_of_a_ttl(
    service: Service, client: httpx.Client, engine: HostEngine
) -> None:
    sandbox = _new(client, ttl=SOON, idle_timeout=LONG)
    answer = client.post(f"{sandbox}/exec", json={"command": "sleep 3599"})
    assert _code(answer) == EXPIRED
    service.until(lambda: _is_gone(service, sandbox))


def test_an_idle_timeout(
    service: Service, client: httpx.Client, engine: HostEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_events, "_SILENCE_SECONDS", SOON)  # until it is seen that nobody listens
    used, streaming, idle = (_new(client, idle_timeout=SOON) for _ in range(3))
    followed = f"{streaming}/processes/p"
    assert client.put(followed, json={"command": "read a", "interactive": True}).status_code == 201
    service.call(engine.exec_gate.clear)
    answers: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(client.post(f"{used}/exec", json={"command": "echo done"}))
    )
    waiting.start()
    with client.stream("GET", f"{followed}/output"):
        service.until(lambda: _is_gone(service, idle))
        later = _new(client, idle_timeout=SOON)
        service.until(lambda: _is_gone(service, later))
        assert not _is_gone(service, used)
        assert not _is_gone(service, streaming)
        service.call(engine.exec_gate.set)
        waiting.join(GUARD)
        assert answers[0].json()["stdout"] == "done\n"
        service.until(lambda: _is_gone(service, used))
        assert not _is_gone(service, streaming)
    service.until(lambda: _is_gone(service, streaming))  # though its process runs
    assert _code(client.get(streaming)) == EXPIRED


def test_extend(service: Service, client: httpx.Client) -> None:
    extended, idle = _new(client, ttl=SOON), _new(client, idle_timeout=SOON)
    for sandbox in (extended, idle):
        answer = client.put(f"{sandbox}/lifetime", json={"seconds": LONG})
        assert answer.status_code == 200
        assert LONG <= _expires_in(answer) < LONG + GUARD
        again = client.put(f"{sandbox}/lifetime", json={"seconds": 1})
        assert again.json()["expires_at"] == answer.json()["expires_at"]  # never shorter
    other = _new(client, ttl=SOON, idle_timeout=SOON)
    service.until(lambda: _is_gone(service, other))
    assert client.get(extended).status_code == client.get(idle).status_code == 200
    endless = client.put(f"{_new(client)}/lifetime", json={"seconds": SOON})
    assert "expires_at" not in endless.json()


def test_what_the_server_allows(service: Service, client: httpx.Client) -> None:
    assert client.get("/capabilities").json()["lifetimes"] == {}
    service.registry.lifetimes = Lifetimes(LONG, 2 * LONG)
    found = client.get("/capabilities").json()["lifetimes"]
    assert found == {"ttl": LONG, "idle_timeout": 2 * LONG}
    for asked in ({}, {"ttl": 2 * LONG}, {"idle_timeout": 9 * LONG}):
        assert LONG <= _expires_in(client.get(_new(client, **asked))) < LONG + GUARD
    assert _expires_in(client.get(_new(client, ttl=LONG / 2))) < LONG
    sandbox = client.post("/sandboxes", data={"image": "host"}).json()["sandbox_id"]
    assert LONG <= _expires_in(client.get(f"/sandboxes/{sandbox}")) < LONG + GUARD


def test_lifetimes_belong_to_what_an_id_stands_for(service: Service, client: httpx.Client) -> None:
    sandbox = _new(client, ttl=LONG)
    assert client.put(sandbox, json={**HOST, "ttl": LONG}).status_code == 200
    assert _code(client.put(sandbox, json=HOST)) == (422, "key_reused")
    assert _code(client.put(sandbox, json={**HOST, "ttl": LONG + 1})) == (422, "key_reused")


@pytest.mark.parametrize("seconds", [0, -1, "1", None, True, 31536001])
def test_no_number_of_seconds(service: Service, client: httpx.Client, seconds: Any) -> None:
    path = f"/sandboxes/{uuid.uuid4()}"
    assert _code(client.put(path, json={**HOST, "ttl": seconds})) == (422, "invalid_request")
    wrong = client.put(f"{_new(client)}/lifetime", json={"seconds": seconds})
    assert _code(wrong) == (422, "invalid_request")


def test_the_time_of_one_that_failed_is_not_over(
    service: Service, client: httpx.Client, engine: HostEngine
) -> None:
    sandbox = _new(client, ttl=SOON)
    name = sandbox.rpartition("/")[2]
    service.call(engine.happen, name, Status(state=State.FAILED, reason="it broke"))
    other = _new(client, ttl=SOON)
    service.until(lambda: _is_gone(service, other))
    assert client.get(sandbox).json()["reason"] == "it broke"
    answer = client.put(f"{sandbox}/lifetime", json={"seconds": LONG})
    assert _code(answer) == (410, "sandbox_failed")


def test_time_begins_when_a_sandbox_is_made(
    service: Service, client: httpx.Client, engine: HostEngine
) -> None:
    service.call(engine.create_gate.clear)
    path = f"/sandboxes/{uuid.uuid4()}"
    wait = {"Prefer": "respond-async, wait=0"}
    made = client.put(path, json={**HOST, "ttl": SOON, "idle_timeout": SOON}, headers=wait)
    assert made.status_code == 202
    assert "expires_at" not in made.json()
    lifetime = service.registry.lifetime(path.rpartition("/")[2])
    assert lifetime is not None
    assert service.call(lifetime.end) is None
    service.call(engine.create_gate.set)
    service.until(lambda: _is_gone(service, path))


def test_an_end_that_fails_is_tried_again(
    service: Service,
    client: httpx.Client,
    engine: BentEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(registry, "_EXPIRE_AGAIN_SECONDS", SOON)
    destroy, tried = engine.destroy, []

    async def fails_once(handle: Any) -> None:
        tried.append(handle)
        if len(tried) == 1:
            raise OSError("not now")
        await destroy(handle)

    monkeypatch.setattr(engine, "destroy", fails_once)
    sandbox = _new(client, ttl=SOON)
    service.until(lambda: _is_gone(service, sandbox))
    assert len(tried) == 2
    assert "has expired, and could not be ended" in caplog.text
    assert _code(client.get(sandbox)) == EXPIRED


def test_nothing_is_kept_of_the_gone() -> None:
    async def work() -> None:
        expired: list[str] = []
        reaper = Reaper(expired.append)
        kept = Lifetime(Lifetimes(ttl=LONG))
        reaper.begin("kept", kept)
        for number in range(10_000):
            lifetime = Lifetime(Lifetimes(ttl=LONG + number))
            reaper.begin(str(number), lifetime)
            reaper.forget(lifetime)
            reaper.forget(lifetime)
            assert len(reaper._entries) < 200
        reaper.forget(Lifetime())
        sooner = Lifetime(Lifetimes(ttl=0.001))
        reaper.begin("sooner", sooner)
        while not expired:  # noqa: ASYNC110, a state is no event
            await asyncio.sleep(0)
        assert expired == ["sooner"]
        assert not kept.is_over
        reaper.close()

    asyncio.run(work())


def test_who_is_made_while_he_is_ended_and_stays_expires_too() -> None:
    async def work() -> None:
        expired: list[str] = []
        reaper = Reaper(expired.append)
        lifetime = Lifetime(Lifetimes(ttl=0.001))
        reaper.forget(lifetime)
        reaper.begin("one", lifetime)
        reaper.again("one", lifetime, 0.001)
        while not expired:  # noqa: ASYNC110, a state is no event
            await asyncio.sleep(0)
        reaper.close()

    asyncio.run(work())


def test_one_that_cannot_be_expired_keeps_no_other_alive() -> None:
    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        expired: list[str] = []

        def expire(sandbox_id: str) -> None:
            if sandbox_id == "odd":
                raise KeyError(sandbox_id)
            expired.append(sandbox_id)

        reaper = Reaper(expire)
        reaper.begin("odd", Lifetime(Lifetimes(ttl=0.001)))
        reaper.begin("other", Lifetime(Lifetimes(ttl=0.002)))
        while not expired:  # noqa: ASYNC110, a state is no event
            await asyncio.sleep(0)
        assert expired == ["other"]
        reaper.close()

    asyncio.run(work())


# A server of one's own, on its state


@contextmanager
def _serving(directory: Path, *options: str) -> Generator[tuple[httpx.Client, int]]:
    with _started(directory, *options) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "the server did not start"
        transport = httpx.HTTPTransport(uds=f"{directory}/s", verify=False, trust_env=False)
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=GUARD) as found:
            yield found, process.pid


@contextmanager
def _started(directory: Path, *options: str) -> Generator[subprocess.Popen[bytes]]:
    arguments = [sys.executable, "-c", "from lunette.cli import main; main()", "serve"]
    state = ["--state", str(directory / "state")]
    process = subprocess.Popen(
        [*arguments, "--uds", f"{directory}/s", *state, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a real engine")
def test_a_server_that_was_killed_knows_what_it_had(tmp_path: Path) -> None:
    pending = f"/sandboxes/{uuid.uuid4()}"
    with _serving(tmp_path, "--ttl", "1h", "--idle-timeout", "0") as (client, pid):
        assert client.get("/capabilities").json()["lifetimes"] == {"ttl": 3600.0}
        lost, destroyed, expired = _new(client), _new(client), _new(client, ttl=SOON)
        assert client.delete(destroyed).status_code == 204
        while client.get(expired).status_code == 200:
            pass
        (tmp_path / "second").mkdir()
        with _started(tmp_path / "second", "--state", str(tmp_path / "state")) as second:
            assert second.wait(GUARD) == 1
            assert second.stderr is not None
            assert b"another server keeps its state in" in second.stderr.read()
        made = [lost]
        with pytest.raises(httpx.TransportError):
            threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
            while True:
                made.append(f"/sandboxes/{uuid.uuid4()}")
                client.put(made[-1], json=HOST)
    with _serving(tmp_path) as (client, _):
        assert client.get("/sandboxes").json() == {"sandboxes": []}
        # The last may or may not have been made.
        assert _code(client.get(made.pop())) in (LOST, (404, "sandbox_not_found"))
        assert {_code(client.get(path)) for path in made} == {LOST}
        assert _code(client.get(expired)) == EXPIRED
        assert _code(client.get(destroyed)) == (410, "sandbox_destroyed")
        assert _code(client.put(lost, json=HOST)) == LOST
        assert _code(client.get(pending)) == (404, "sandbox_not_found")
        assert client.get("/capabilities").json()["lifetimes"] == {
            "ttl": 86400.0,
            "idle_timeout": 3600.0,
        }
        assert client.put(pending, json=HOST).status_code == 201
        assert client.get(pending).json()["state"] == "running"
