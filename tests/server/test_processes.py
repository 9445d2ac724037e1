from __future__ import annotations

import base64
import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from lunette.server.engines.protocol import NoCapacityError

from .conftest import Service
from .host_engine import HostEngine
from .streams import (
    WAITS,
    Event,
    code,
    contents,
    ended,
    followed,
    following,
    put,
    release,
    start,
)


def test_a_process_lives_by_itself(client: httpx.Client, sandbox: str) -> None:
    answer = put(client, sandbox, WAITS, name="a name")
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
        release(client, sandbox)
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
    process = start(client, sandbox, "echo $$")
    ended(client, process)
    again = put(client, sandbox, "echo $$")
    assert again.status_code == 200
    known = client.get(process).json()
    del known["result"]
    assert again.json() == known
    assert code(put(client, sandbox, "other")) == (422, "key_reused")


def test_a_repeat_joins_a_start(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    engine.exec_gate.clear()
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(put, client, sandbox, "echo $$") for _ in range(4)]
        runs = service.registry.get(sandbox.rpartition("/")[2]).runs
        service.until(lambda: runs.started("p") is not None)
        assert code(put(client, sandbox, "other")) == (422, "key_reused")
        service.call(engine.exec_gate.set)
        codes = sorted(answer.result().status_code for answer in answers)
    assert codes == [200, 200, 200, 201]
    assert len(engine.processes) == 1


def test_a_key_is_either_of_exec_or_of_a_process(client: httpx.Client, sandbox: str) -> None:
    body = {"command": "echo same"}
    process = start(client, sandbox, body["command"])
    answer = client.post(f"{sandbox}/exec", json=body, headers={"Idempotency-Key": "p"})
    assert code(answer) == (422, "key_reused")
    ended(client, process)
    answer = client.post(f"{sandbox}/exec", json=body, headers={"Idempotency-Key": "p"})
    assert code(answer) == (422, "key_reused")
    client.post(f"{sandbox}/exec", json=body, headers={"Idempotency-Key": "e"})
    assert code(put(client, sandbox, body["command"], "e")) == (422, "key_reused")


def test_a_delete_overtakes_the_start(client: httpx.Client, sandbox: str) -> None:
    assert client.delete(f"{sandbox}/processes/p").status_code == 204
    assert code(put(client, sandbox, "true")) == (409, "key_given_up")
    assert client.get(f"{sandbox}/processes").json() == {"processes": []}


@pytest.mark.parametrize(
    ("error", "status"), [(NoCapacityError("full"), 503), (RuntimeError("a bug"), 500)]
)
def test_where_nothing_was_started_the_key_is_free(
    client: httpx.Client, engine: HostEngine, sandbox: str, error: Exception, status: int
) -> None:
    engine.exec_error = error
    assert put(client, sandbox, "true").status_code == status
    assert client.get(f"{sandbox}/processes").json() == {"processes": []}
    engine.exec_error = None
    assert put(client, sandbox, "true").status_code == 201


def test_a_cwd_that_is_not_there(client: httpx.Client, sandbox: str) -> None:
    answer = put(client, sandbox, "true", cwd="nope")
    assert code(answer) == (404, "file_not_found")
    assert code(client.get(f"{sandbox}/processes/p")) == (404, "process_not_found")


def test_a_delete_while_it_is_started(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    engine.exec_gate.clear()
    with ThreadPoolExecutor(2) as threads:
        starting = threads.submit(put, client, sandbox, "sleep 60")
        runs = service.registry.get(sandbox.rpartition("/")[2]).runs
        service.until(lambda: runs.started("p") is not None)
        started: Any = runs.started("p")
        killing = threads.submit(client.delete, f"{sandbox}/processes/p")
        service.until(lambda: bool(started.given_up))
        service.call(engine.exec_gate.set)
        assert killing.result().status_code == 204
        assert starting.result().status_code == 201
    assert ended(client, f"{sandbox}/processes/p")["result"]["signal"] == 9


def test_what_cannot_run_has_ended(client: httpx.Client, sandbox: str) -> None:
    answer = put(client, sandbox, ["nonexistent"])
    assert answer.status_code == 201
    assert (answer.json()["state"], answer.json()["exit_code"]) == ("ended", 127)
    process = f"{sandbox}/processes/p"
    streams = contents(followed(client, process))
    assert b"nonexistent" in streams["stderr"]
    assert client.get(process).json()["result"]["stderr"].encode() == streams["stderr"]


def test_a_timeout_kills(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, "echo so far; exec sleep 60", timeout=0.2)
    *_, last = followed(client, process)
    ending = last.json
    assert ending.pop("duration") >= 0.2
    assert ending == {"exit_code": 137, "signal": 9, "timed_out": True}
    assert ended(client, process)["result"]["timed_out"]


def test_the_result_has_both_ends(client: httpx.Client, sandbox: str) -> None:
    command = "seq 100000; seq 100000 >&2"
    process = start(client, sandbox, command, output_limit=1000)
    expected = client.post(f"{sandbox}/exec", json={"command": command, "output_limit": 1000})
    result = ended(client, process)["result"]
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
        assert code(answer) == (422, "invalid_request")
        assert answer.json()["key"] == key
    assert code(client.put(f"{sandbox}/processes/a%20b", json={"command": "x"})) == (
        422,
        "invalid_request",
    )


def test_the_list(client: httpx.Client, sandbox: str) -> None:
    start(client, sandbox, ["sleep", "60"], "first", name="one")
    ended(client, start(client, sandbox, "exit 3", "second"))
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


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("true", "true"),
        (["true", ""], ["true", ""]),
        (": " + "é" * 4094, ": " + "é" * 4094),
        (": " + "é" * 4095, ": " + "é" * 4094 + "…"),
        (["true", "x" * 100_000, "more"], ["true", "x" * 4091 + "…"]),
        (["true", *"y" * 9000], ["true", *"y" * 2046, "…"]),
        (["nonexistent", "x" * 100_000], ["nonexistent", "x" * 4084 + "…"]),
    ],
)
def test_a_long_command_is_shown_in_part(
    client: httpx.Client, sandbox: str, command: str | list[str], shown: str | list[str]
) -> None:
    answer = put(client, sandbox, command)
    assert answer.status_code == 201
    assert answer.json()["command"] == shown
    assert ended(client, f"{sandbox}/processes/p")["command"] == shown
    (found,) = client.get(f"{sandbox}/processes").json()["processes"]
    assert found["command"] == shown


def test_what_a_process_was_given_is_let_go(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    size = 3 << 20

    def begin() -> None:
        start(client, sandbox, "cat >/dev/null; sleep 60", input="x" * size)

    def is_let_go() -> bool:
        gc.collect()  # of the client's own request
        return tracemalloc.get_traced_memory()[0] < size // 2

    tracemalloc.start()
    try:
        begin()
        service.until(is_let_go)
        assert tracemalloc.get_traced_memory()[1] > size  # so it would have been seen
    finally:
        tracemalloc.stop()
    assert client.get(f"{sandbox}/processes/p").json()["input_offset"] == size
    client.delete(f"{sandbox}/processes/p")


def test_errors_say_what_mends_them(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, ["sleep", "60"])
    answer = client.put(f"{process}/input", params={"offset": 0}, content=b"")
    assert "input=PIPE or tty=True in Python" in answer.json()["detail"]
    client.delete(process)
    answer = client.get(f"{sandbox}/processes/x")
    assert answer.json()["detail"] == (
        "there is no process 'x' in this sandbox: processes are found by their whole id"
    )
    client.post(f"{sandbox}/exec", json={"command": "true"}, headers={"Idempotency-Key": "e"})
    answer = client.get(f"{sandbox}/processes/e/output")
    assert answer.json()["detail"].endswith("; start it, or give exec an on_stdout")


# Signals and terminals


@pytest.mark.parametrize("name", ["SIGTERM", "TERM", "term", 15, 15.0])
def test_a_signal(client: httpx.Client, sandbox: str, name: Any) -> None:
    process = start(client, sandbox, ["sleep", "60"])
    answer = client.post(f"{process}/signal", json={"signal": name})
    assert answer.status_code == 204
    assert followed(client, process)[-1].json["signal"] == 15
    assert client.post(f"{process}/signal", json={"signal": name}).status_code == 204


def test_signal_9_kills(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, "sleep 60 & exec sleep 60")
    assert client.post(f"{process}/signal", json={"signal": "KILL"}).status_code == 204
    assert client.get(process).json()["result"]["signal"] == 9


@pytest.mark.parametrize("name", ["SIGNOPE", "", "15", 0, 65, 1.5, True, None, "SIGSIGTERM"])
def test_signals_that_are_none(client: httpx.Client, sandbox: str, name: Any) -> None:
    process = start(client, sandbox, ["sleep", "60"])
    answer = client.post(f"{process}/signal", json={"signal": name})
    assert code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "signal"
    client.delete(process)


def test_a_repeated_signal_reaches_the_engine_once(
    client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    process = start(client, sandbox, "trap '' USR1; while :; do sleep 0.01; done")

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
    process = start(client, sandbox, "true")
    for _ in range(2):
        answer = client.put(f"{process}/terminal", json={"rows": 24, "columns": 80})
        assert code(answer) == (422, "not_supported")
        ended(client, process)
