from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette.server import _events, _readers, runs
from lunette.server.engines.protocol import NoCapacityError, State, Status
from lunette.server.processes import INPUT_CHUNK

from .conftest import GUARD, Service
from .host_engine import HostEngine
from .streams import Event, contents, followed, following

WAITS = "echo begun; while [ ! -e go ]; do sleep 0.01; done; echo ended"


def _start(client: httpx.Client, sandbox: str, command: Any, key: str = "p", **more: Any) -> str:
    answer = _put(client, sandbox, command, key, **more)
    assert answer.status_code == 201, answer.text
    return f"{sandbox}/processes/{key}"


def _put(
    client: httpx.Client, sandbox: str, command: Any, key: str = "p", **more: Any
) -> httpx.Response:
    return client.put(f"{sandbox}/processes/{key}", json={"command": command, **more})


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def _release(client: httpx.Client, sandbox: str) -> None:
    client.put(f"{sandbox}/files", params={"path": "go"}, content=b"")


def _ended(client: httpx.Client, process: str) -> dict[str, Any]:
    """Return a process when it has ended."""
    found: dict[str, Any] = client.get(process, params={"wait": 30}).json()
    assert found["state"] == "ended", found
    return found


def _write(
    client: httpx.Client, process: str, offset: int, data: bytes = b"", **query: Any
) -> httpx.Response:
    headers = {"Content-Type": "application/octet-stream"}
    query = {name: str(value).lower() for name, value in query.items()}
    return client.put(
        f"{process}/input", params={"offset": offset, **query}, content=data, headers=headers
    )


# Starting


def test_a_process_lives_by_itself(client: httpx.Client, sandbox: str) -> None:
    answer = _put(client, sandbox, WAITS, name="a name")
    assert answer.status_code == 201
    begun = answer.json()
    assert begun.pop("started_at").endswith("Z")
    assert begun.pop("output_offset") in (0, 6)
    assert begun == {
        "process_id": "p",
        "state": "running",
        "command": WAITS,
        "name": "a name",
        "tty": False,
        "started": True,
        "input_offset": 0,
    }
    process = f"{sandbox}/processes/p"
    with following(client, process) as found:
        assert next(found) == Event(6, "stdout", base64.b64encode(b"begun\n").decode())
        assert client.get(process).json()["output_offset"] == 6
        _release(client, sandbox)
        rest = list(found)
    assert [event.name for event in rest] == ["stdout", "exit"]
    assert rest[0].content == b"ended\n"
    duration = rest[1].json.pop("duration")
    assert rest[1].json == {"exit_code": 0, "duration": duration}
    found = client.get(process).json()
    assert (found["state"], found["exit_code"], found["output_offset"]) == ("ended", 0, 12)
    assert found["result"] == {
        "stdout": "begun\nended\n",
        "stderr": "",
        "exit_code": 0,
        "timed_out": False,
        "truncated": 0,
        "duration": duration,
    }


def test_a_repeat_returns_the_process(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "echo $$")
    _ended(client, process)
    again = _put(client, sandbox, "echo $$")
    assert again.status_code == 200
    known = client.get(process).json()
    del known["result"]
    assert again.json() == known
    assert _code(_put(client, sandbox, "other")) == (422, "key_reused")


def test_a_repeat_joins_a_start(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    engine.exec_gate.clear()
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(_put, client, sandbox, "echo $$") for _ in range(4)]
        runs = service.registry.get(sandbox.rpartition("/")[2]).runs
        service.until(lambda: runs.started("p") is not None)
        assert _code(_put(client, sandbox, "other")) == (422, "key_reused")
        service.call(engine.exec_gate.set)
        codes = sorted(answer.result().status_code for answer in answers)
    assert codes == [200, 200, 200, 201]
    assert len(engine.processes) == 1


def test_a_key_is_either_of_exec_or_of_a_process(client: httpx.Client, sandbox: str) -> None:
    body = {"command": "echo same"}
    process = _start(client, sandbox, body["command"])
    answer = client.post(f"{sandbox}/exec", json=body, headers={"Idempotency-Key": "p"})
    assert _code(answer) == (422, "key_reused")
    _ended(client, process)
    answer = client.post(f"{sandbox}/exec", json=body, headers={"Idempotency-Key": "p"})
    assert _code(answer) == (422, "key_reused")
    client.post(f"{sandbox}/exec", json=body, headers={"Idempotency-Key": "e"})
    assert _code(_put(client, sandbox, body["command"], "e")) == (422, "key_reused")


def test_a_delete_overtakes_the_start(client: httpx.Client, sandbox: str) -> None:
    assert client.delete(f"{sandbox}/processes/p").status_code == 204
    assert _code(_put(client, sandbox, "true")) == (409, "key_given_up")
    assert client.get(f"{sandbox}/processes").json() == {"processes": []}


@pytest.mark.parametrize(
    ("error", "status"), [(NoCapacityError("full"), 503), (RuntimeError("a bug"), 500)]
)
def test_where_nothing_was_started_the_key_is_free(
    client: httpx.Client, engine: HostEngine, sandbox: str, error: Exception, status: int
) -> None:
    engine.exec_error = error
    assert _put(client, sandbox, "true").status_code == status
    assert client.get(f"{sandbox}/processes").json() == {"processes": []}
    engine.exec_error = None
    assert _put(client, sandbox, "true").status_code == 201


def test_a_cwd_that_is_not_there(client: httpx.Client, sandbox: str) -> None:
    answer = _put(client, sandbox, "true", cwd="nope")
    assert _code(answer) == (404, "file_not_found")
    assert _code(client.get(f"{sandbox}/processes/p")) == (404, "process_not_found")


def test_a_delete_while_it_is_started(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    engine.exec_gate.clear()
    with ThreadPoolExecutor(2) as threads:
        starting = threads.submit(_put, client, sandbox, "sleep 60")
        runs = service.registry.get(sandbox.rpartition("/")[2]).runs
        service.until(lambda: runs.started("p") is not None)
        started: Any = runs.started("p")
        killing = threads.submit(client.delete, f"{sandbox}/processes/p")
        service.until(lambda: bool(started.given_up))
        service.call(engine.exec_gate.set)
        assert killing.result().status_code == 204
        assert starting.result().status_code == 201
    assert _ended(client, f"{sandbox}/processes/p")["result"]["signal"] == 9


def test_what_cannot_run_has_ended(client: httpx.Client, sandbox: str) -> None:
    answer = _put(client, sandbox, ["nonexistent"])
    assert answer.status_code == 201
    assert (answer.json()["state"], answer.json()["exit_code"]) == ("ended", 127)
    process = f"{sandbox}/processes/p"
    streams = contents(followed(client, process))
    assert b"nonexistent" in streams["stderr"]
    assert client.get(process).json()["result"]["stderr"].encode() == streams["stderr"]


def test_a_timeout_kills(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "echo so far; exec sleep 60", timeout=0.2)
    *_, last = followed(client, process)
    ending = last.json
    assert ending.pop("duration") >= 0.2
    assert ending == {"exit_code": 137, "signal": 9, "timed_out": True}
    assert _ended(client, process)["result"]["timed_out"]


def test_the_result_has_both_ends(client: httpx.Client, sandbox: str) -> None:
    command = "seq 100000; seq 100000 >&2"
    process = _start(client, sandbox, command, output_limit=1000)
    expected = client.post(f"{sandbox}/exec", json={"command": command, "output_limit": 1000})
    result = _ended(client, process)["result"]
    wanted = expected.json()
    assert result.pop("duration") > 0 and wanted.pop("duration") > 0
    assert result == wanted
    assert result["truncated"] == 2 * 588_895 - 2000


def test_what_is_no_start(client: httpx.Client, sandbox: str) -> None:
    for body, key in (
        ({"command": "x", "tty": {"rows": 0, "columns": 1}}, "tty.rows"),
        ({"command": "x", "name": "a\nb"}, "name"),
        ({"command": "x", "interactive": 1}, "interactive"),
        ({"command": "x", "input": "a", "input_encoding": "base64"}, "input"),
    ):
        answer = client.put(f"{sandbox}/processes/p", json=body)
        assert _code(answer) == (422, "invalid_request")
        assert answer.json()["key"] == key
    assert _code(client.put(f"{sandbox}/processes/a%20b", json={"command": "x"})) == (
        422,
        "invalid_request",
    )


def test_the_list(client: httpx.Client, sandbox: str) -> None:
    _start(client, sandbox, ["sleep", "60"], "first", name="one")
    _ended(client, _start(client, sandbox, "exit 3", "second"))
    client.post(f"{sandbox}/exec", json={"command": "true"}, headers={"Idempotency-Key": "gone"})
    headers = {"Idempotency-Key": "third", "Prefer": "respond-async, wait=0"}
    client.post(f"{sandbox}/exec", json={"command": "sleep 60"}, headers=headers)
    found = client.get(f"{sandbox}/processes").json()["processes"]
    assert [p["process_id"] for p in found] == ["first", "second", "third"]
    assert [p["state"] for p in found] == ["running", "ended", "running"]
    assert [p["started"] for p in found] == [True, True, False]
    assert [p.get("exit_code") for p in found] == [None, 3, None]
    assert found[0]["command"] == ["sleep", "60"] and found[0]["name"] == "one"
    assert not any("result" in p for p in found)
    for key in ("first", "third"):
        client.delete(f"{sandbox}/processes/{key}")


# Following


def test_a_reader_comes_after_the_end(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "printf 'a\\0b'; printf '\\377' >&2; exit 3")
    _ended(client, process)
    found = followed(client, process)
    assert contents(found) == {"stdout": b"a\0b", "stderr": b"\xff"}
    assert found[-1].json["exit_code"] == 3
    for offset in range(5):
        again = followed(client, process, offset)
        assert sum(len(e.content) for e in again[:-1]) == 4 - offset
        contents(again, offset)
        assert again[-1] == found[-1]


def test_a_reader_goes_on_at_every_offset(client: httpx.Client, sandbox: str) -> None:
    command = "for i in $(seq 300); do echo $i; echo $i >&2; done"
    process = _start(client, sandbox, command)
    _ended(client, process)
    whole = contents(followed(client, process))
    assert len(whole["stdout"]) == len(whole["stderr"]) == 1092
    for offset in (*range(60), *range(61, 2184, 13), 2184):
        rest = contents(followed(client, process, offset), offset)
        assert sum(map(len, rest.values())) == 2184 - offset
        for name, data in rest.items():
            assert whole[name].endswith(data)


def test_many_readers_of_one_process(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "seq 200000")
    expected = "".join(f"{n}\n" for n in range(1, 200_001)).encode()
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(followed, client, process) for _ in range(8)]
        for each in found:
            assert contents(each.result())["stdout"] == expected


def test_as_far_as_the_log_is_now(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, WAITS)
    with following(client, process) as found:
        next(found)
    now = followed(client, process, follow="false")
    assert [event.content for event in now] == [b"begun\n"]
    assert followed(client, process, 6, follow="false") == []
    _release(client, sandbox)
    _ended(client, process)
    assert [e.name for e in followed(client, process, 6, follow="false")] == ["stdout", "exit"]


@pytest.mark.parametrize("offset", ["13", "-1", "x", "", "1.0", "1" * 19, "1 1"])
def test_offsets_that_are_none(client: httpx.Client, sandbox: str, offset: str) -> None:
    process = _start(client, sandbox, "echo 0123456789a")
    _ended(client, process)
    answer = client.get(f"{process}/output", headers={"Last-Event-ID": offset})
    assert _code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "Last-Event-ID"


@pytest.mark.parametrize("follow", ["1", "", "True", "no"])
def test_what_is_no_boolean(client: httpx.Client, sandbox: str, follow: str) -> None:
    process = _start(client, sandbox, "true")
    answer = client.get(f"{process}/output", params={"follow": follow})
    assert _code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "follow"


def test_what_exec_runs_has_no_log(client: httpx.Client, sandbox: str) -> None:
    client.post(f"{sandbox}/exec", json={"command": "true"}, headers={"Idempotency-Key": "e"})
    exec_ = f"{sandbox}/processes/e"
    size, signal_ = {"rows": 1, "columns": 1}, {"signal": "TERM"}
    for answer in (
        client.get(f"{exec_}/output"),
        _write(client, exec_, 0, b"x"),
        client.post(f"{exec_}/signal", json=signal_),
        client.put(f"{exec_}/terminal", json=size),
    ):
        assert _code(answer) == (422, "not_supported")
    none = f"{sandbox}/processes/none"
    for answer in (
        client.get(f"{none}/output"),
        _write(client, none, 0, b"x"),
        client.post(f"{none}/signal", json=signal_),
        client.put(f"{none}/terminal", json=size),
    ):
        assert _code(answer) == (404, "process_not_found")


def test_silence_is_broken_by_comments(
    client: httpx.Client, engine: HostEngine, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_events, "_SILENCE_SECONDS", 0.01)
    process = _start(client, sandbox, WAITS)
    with client.stream("GET", f"{process}/output", headers={"Last-Event-ID": "0"}) as answer:
        lines = answer.iter_lines()
        assert [line for line, _ in zip(lines, range(8), strict=False) if line == ":"]
        _release(client, sandbox)
        assert [line for line in lines if line.startswith("event: ")][-1] == "event: exit"


def test_a_kill_ends_the_stream(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "echo begun; exec sleep 60")
    with following(client, process) as found:
        assert next(found).content == b"begun\n"
        assert client.delete(process).status_code == 204
        (last,) = found
    assert (last.name, last.json["signal"], last.json["exit_code"]) == ("exit", 9, 137)
    assert client.delete(process).status_code == 204


def test_a_process_that_waits_for_its_readers_can_be_killed(
    client: httpx.Client, sandbox: str
) -> None:
    process = _start(client, sandbox, "yes")
    with following(client, process) as found:  # and nobody reads it
        while client.get(process).json()["output_offset"] < 50 << 20:
            pass
        assert client.delete(process).status_code == 204
        for event in found:
            assert event.name in ("stdout", "exit")
    ended = _ended(client, process)
    assert ended["result"]["truncated"] == ended["output_offset"] - (10 << 20)


def test_a_sandbox_that_is_destroyed_ends_the_stream(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "echo begun; exec sleep 60")
    with following(client, process) as found:
        assert next(found).content == b"begun\n"
        assert client.delete(sandbox).status_code == 204
        (last,) = found
    assert (last.id, last.name) == (6, "error")
    problem = last.json
    assert (problem["status"], problem["code"]) == (410, "sandbox_destroyed")
    assert problem["request_id"] and problem["detail"]
    assert _code(client.get(f"{process}/output")) == (410, "sandbox_destroyed")
    assert _code(client.get(f"{sandbox}/processes")) == (410, "sandbox_destroyed")


def test_a_sandbox_that_is_lost_is_told_to_everyone(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    process = _start(client, sandbox, "echo begun; exec sleep 60", interactive=True)
    with following(client, process) as found:
        assert next(found).content == b"begun\n"
        name = sandbox.rpartition("/")[2]
        service.call(engine.happen, name, Status(state=State.LOST, reason="the worker died"))
        (last,) = found
    assert (last.name, last.json["code"]) == ("error", "sandbox_lost")
    again = followed(client, process)
    assert [event.name for event in again] == ["stdout", "error"]
    for answer in (
        client.get(process, params={"wait": 30}),
        _put(client, sandbox, "echo begun; exec sleep 60", interactive=True),
        _write(client, process, 0, b"x"),
        client.post(f"{process}/signal", json={"signal": "TERM"}),
    ):
        assert _code(answer) == (410, "sandbox_lost")
    assert client.delete(process).status_code == 204


def test_a_server_that_stops_ends_the_streams(engine: HostEngine) -> None:
    service = Service(engine)
    service.start()
    with service.client() as client:
        sandbox = "/sandboxes/3f6f2c0e-7c1c-4a8e-9a2b-0d6a8e0f4b1d"
        client.put(sandbox, json={"service": {"image": "host"}})
        process = _start(client, sandbox, "echo begun; exec sleep 60")
        with following(client, process) as found, ThreadPoolExecutor(1) as threads:
            assert next(found).content == b"begun\n"
            stopping = threads.submit(service.stop)
            assert [event.name for event in found] == ["error"]
            stopping.result(GUARD)


def _logs(service: Service) -> list[Path]:
    assert service.store is not None
    return list(service.store.logs.iterdir())


def test_nothing_is_left_of_a_sandbox_that_is_gone(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    loud = _start(client, sandbox, "head -c 30000000 /dev/zero", "loud")
    _start(client, sandbox, "yes", "endless")
    with following(client, f"{sandbox}/processes/endless") as found:
        next(found)
        _ended(client, loud)
        service.until(lambda: len(_logs(service)) > 2)
        assert client.delete(sandbox).status_code == 204
        assert [event for event in found][-1].name == "error"
    service.until(lambda: not _logs(service))
    assert not _tasks(service)


def _tasks(service: Service) -> set[str]:
    """Return what still is done for processes."""

    async def all_tasks() -> set[str]:
        import asyncio

        names = {str(task.get_coro()) for task in asyncio.all_tasks()}
        return {n for n in names if any(w in n for w in ("Runs.", "Log.", "disconnected"))}

    found: set[str] = service.wait(all_tasks())
    return found


def test_the_log_of_one_who_prints_much_stays_within_its_limit(
    client: httpx.Client,
    service: Service,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_readers, "_FIRST_SECONDS", 0)
    assert service.store is not None
    service.store.log_limit = 1 << 20
    process = _start(client, sandbox, "seq 2000000; seq 10 >&2")
    result = _ended(client, process)["result"]
    assert sum(path.stat().st_size for path in _logs(service)) <= 1 << 20
    found = followed(client, process)
    streams = contents(found)
    written = "".join(f"{n}\n" for n in range(1, 2_000_001)).encode()
    (gap,) = (event for event in found if event.name == "gap")
    assert gap.json["bytes"] == len(written) - len(streams["stdout"]) > 13 << 20
    begin = next(e.id for e in reversed(found) if e.id < gap.id)
    assert streams["stdout"] == written[:begin] + written[begin + gap.json["bytes"] :]
    assert streams["stderr"] == "".join(f"{n}\n" for n in range(1, 11)).encode()
    assert result["stdout"].encode() == streams["stdout"]
    assert result["truncated"] == gap.json["bytes"]


def test_the_oldest_logs_of_the_ended_go(
    client: httpx.Client,
    service: Service,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_readers, "_FIRST_SECONDS", 0)
    monkeypatch.setattr(_readers, "_CUT_SECONDS", 0)
    assert service.store is not None
    service.store.log_limit = 1 << 20
    for number in range(6):
        process = _start(client, sandbox, "head -c 900000 /dev/zero", str(number))
        _ended(client, process)
    found = [followed(client, f"{sandbox}/processes/{number}") for number in range(6)]
    assert [events[0].name for events in found] == ["gap", "gap", *["stdout"] * 4]
    assert found[0][0].json == {"bytes": 900_000}
    assert all(events[-1].name == "exit" for events in found)
    assert len(client.get(f"{sandbox}/processes/0").json()["result"]["stdout"]) == 900_000


def test_a_log_that_somebody_may_come_back_to_stays(
    client: httpx.Client,
    service: Service,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_DROP_AGAIN_SECONDS", 0.05)
    assert service.store is not None
    service.store.log_limit = 1 << 20
    for number in range(6):
        process = _start(client, sandbox, "head -c 900000 /dev/zero", str(number))
        _ended(client, process)
    assert len(contents(followed(client, f"{sandbox}/processes/0"))["stdout"]) == 900_000
    monkeypatch.setattr(_readers, "monotonic", lambda: time.monotonic() + 31)
    service.until(lambda: len(_logs(service)) == 4)
    assert followed(client, f"{sandbox}/processes/0")[0].json == {"bytes": 900_000}


def test_an_outcome_is_made_again_for_as_long_as_there_is_a_log(
    client: httpx.Client,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_KEPT_BYTES", 1000)
    process = _start(client, sandbox, "seq 300000; seq 100 >&2; exit 3")
    first = _ended(client, process)
    assert len(first["result"]["stdout"]) > 1_900_000
    _ended(client, _start(client, sandbox, "seq 1000", "next"))
    assert client.get(process).json() == first
    assert _put(client, sandbox, "seq 300000; seq 100 >&2; exit 3").json()["exit_code"] == 3


# Input


def test_input_by_offsets(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, ["cat"], interactive=True, input="first ")
    assert client.get(process).json()["input_offset"] == 6
    assert _write(client, process, 6, b"second ", wait=30).json() == {"offset": 13}
    assert _write(client, process, 6, b"second ", wait=30).json() == {"offset": 13}
    assert _write(client, process, 9, b"ond third", wait=30).json() == {"offset": 18}
    assert _write(client, process, 0, wait=30).json() == {"offset": 18}
    gap = _write(client, process, 19, b"x", wait=30)
    assert _code(gap) == (409, "input_gap")
    assert gap.json()["offset"] == 18
    assert _code(_write(client, process, 19, end=True, wait=30)) == (409, "input_gap")
    for _ in range(2):
        assert _write(client, process, 18, b"\n", end=True, wait=30).json() == {"offset": 19}
    assert contents(followed(client, process))["stdout"] == b"first second third\n"
    assert _write(client, process, 18, b"\n", end=True).json() == {"offset": 19}
    assert _code(_write(client, process, 19, b"more")) == (409, "input_closed")


def test_a_process_that_does_not_read_takes_some(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, f"{WAITS}; wc -c", interactive=True)
    data = bytes(range(256)) * 4096
    assert len(data) == INPUT_CHUNK
    taken = _write(client, process, 0, data).json()["offset"]
    assert 0 < taken < len(data)
    assert _write(client, process, 0, data, wait=0.05).json() == {"offset": taken}
    with ThreadPoolExecutor(2) as threads:
        twice = [
            threads.submit(_write, client, process, 0, data, wait=30, end=True) for _ in range(2)
        ]
        _release(client, sandbox)
        for each in twice:
            assert each.result().json() == {"offset": len(data)}
    assert contents(followed(client, process))["stdout"].split()[-1] == b"1048576"


def test_a_writer_whose_client_has_gone_makes_room(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, f"{WAITS}; wc -c", interactive=True)
    data = bytes(INPUT_CHUNK)
    with pytest.raises(httpx.ReadTimeout):
        client.put(
            f"{process}/input",
            params={"offset": 0, "wait": 60},
            content=data,
            headers={"Content-Type": "application/octet-stream"},
            timeout=0.2,
        )
    taken = _write(client, process, 0, wait=30).json()["offset"]
    assert 0 < taken < len(data)
    _release(client, sandbox)
    assert _write(client, process, 0, data, wait=30, end=True).json() == {"offset": len(data)}
    assert contents(followed(client, process))["stdout"].split()[-1] == b"1048576"


def test_input_that_nobody_reads(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "exec <&-; echo closed; exec sleep 60", interactive=True)
    with following(client, process) as found:
        next(found)
    assert _code(_write(client, process, 0, b"x", wait=30)) == (409, "input_closed")
    client.delete(process)
    without = _start(client, sandbox, "sleep 60", "without")
    assert _code(_write(client, without, 0, b"x")) == (409, "input_closed")
    client.delete(without)


def test_what_is_no_input(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, ["cat"], interactive=True)
    for query in ({}, {"offset": -1}, {"offset": "x"}, {"offset": 1.5}, {"offset": 2**53}):
        answer = client.put(f"{process}/input", params=query)
        assert _code(answer) == (422, "invalid_request")
        assert answer.json()["key"] == "offset"
    assert _code(_write(client, process, 0, end="yes")) == (422, "invalid_request")
    assert _code(_write(client, process, 0, wait=61)) == (422, "invalid_request")
    too_large = _write(client, process, 0, bytes(INPUT_CHUNK + 1))
    assert _code(too_large) == (413, "body_too_large")
    text = client.put(
        f"{process}/input", params={"offset": 0}, content=b"x", headers={"Content-Type": "a/b"}
    )
    assert _code(text) == (415, "unsupported_media_type")
    client.delete(process)


def test_much_input_arrives_whole(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, ["md5sum"], interactive=True)
    data = bytes(range(251)) * 100_000
    offset = 0
    while offset < len(data):
        part = data[offset : offset + INPUT_CHUNK]
        offset = _write(client, process, offset, part, wait=10).json()["offset"]
    _write(client, process, offset, end=True)
    import hashlib

    expected = hashlib.md5(data).hexdigest().encode()
    assert contents(followed(client, process))["stdout"].split()[0] == expected


# Signals and terminals


@pytest.mark.parametrize("name", ["SIGTERM", "TERM", "term", 15, 15.0])
def test_a_signal(client: httpx.Client, sandbox: str, name: Any) -> None:
    process = _start(client, sandbox, ["sleep", "60"])
    answer = client.post(f"{process}/signal", json={"signal": name})
    assert answer.status_code == 204
    assert followed(client, process)[-1].json["signal"] == 15
    assert client.post(f"{process}/signal", json={"signal": name}).status_code == 204


def test_signal_9_kills(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "sleep 60 & exec sleep 60")
    assert client.post(f"{process}/signal", json={"signal": "KILL"}).status_code == 204
    assert client.get(process).json()["result"]["signal"] == 9


def test_a_signal_under_a_key_is_sent_once(client: httpx.Client, sandbox: str) -> None:
    command = "trap 'echo got' USR1; echo begun; while :; do sleep 0.01; done"
    process = _start(client, sandbox, command)

    def send(key: str | None) -> None:
        headers = {} if key is None else {"Idempotency-Key": key}
        body = {"signal": "USR1"}
        assert client.post(f"{process}/signal", json=body, headers=headers).status_code == 204

    with following(client, process) as found:
        assert next(found).content == b"begun\n"
        for key in ("a", "a", "b", None, None):
            send(key)
            if (key, send) != ("a", None):
                continue
        client.delete(process)
        got = contents(found, 6)["stdout"].count(b"got")
    assert got <= 4


@pytest.mark.parametrize("name", ["SIGNOPE", "", "15", 0, 65, 1.5, True, None, "SIGSIGTERM"])
def test_signals_that_are_none(client: httpx.Client, sandbox: str, name: Any) -> None:
    process = _start(client, sandbox, ["sleep", "60"])
    answer = client.post(f"{process}/signal", json={"signal": name})
    assert _code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "signal"
    client.delete(process)


def test_a_repeated_signal_reaches_the_engine_once(
    client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    process = _start(client, sandbox, "trap '' USR1; while :; do sleep 0.01; done")

    def send(key: str) -> None:
        answer = client.post(
            f"{process}/signal", json={"signal": "USR1"}, headers={"Idempotency-Key": key}
        )
        assert answer.status_code == 204

    for key in ("first", "first", *map(str, range(63)), "first"):
        send(key)
    assert len(engine.processes[-1].signals) == 64
    send("another")
    send("first")  # which is not known any more
    assert len(engine.processes[-1].signals) == 66
    client.delete(process)


def test_a_process_without_a_terminal_has_no_size(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "true")
    for _ in range(2):
        answer = client.put(f"{process}/terminal", json={"rows": 24, "columns": 80})
        assert _code(answer) == (422, "not_supported")
        _ended(client, process)


def test_unknown_bodies_are_refused(client: httpx.Client, sandbox: str) -> None:
    process = _start(client, sandbox, "true")
    assert _code(client.post(f"{process}/signal", json={})) == (422, "invalid_request")
    answer = client.put(f"{process}/terminal", json={"rows": 0, "columns": 80})
    assert _code(answer) == (422, "invalid_request")
    _ended(client, process)
    assert json.loads(client.get(process).text)["state"] == "ended"
    assert threading.active_count() < 100
