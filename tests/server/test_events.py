"""Followers have every byte in order, from whatever offset, and are told how it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lunette.server import _events, _logs, _readers, runs
from lunette.server.engines.protocol import State, Status

from .conftest import GUARD, Service
from .host_engine import HostEngine
from .streams import (
    WAITS,
    code,
    contents,
    ended,
    followed,
    following,
    logs,
    put,
    release,
    start,
    write_input,
)


def test_a_reader_comes_after_the_end(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, "printf 'a\\0b'; printf '\\377' >&2; exit 3")
    ended(client, process)
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
    process = start(client, sandbox, command)
    ended(client, process)
    whole = contents(followed(client, process))
    assert len(whole["stdout"]) == len(whole["stderr"]) == 1092
    for offset in (*range(60), *range(61, 2184, 13), 2184):
        rest = contents(followed(client, process, offset), offset)
        assert sum(map(len, rest.values())) == 2184 - offset
        for name, data in rest.items():
            assert whole[name].endswith(data)


def test_many_readers_of_one_process(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, "seq 200000")
    expected = "".join(f"{n}\n" for n in range(1, 200_001)).encode()
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(followed, client, process) for _ in range(8)]
        for each in found:
            assert contents(each.result())["stdout"] == expected


def test_as_far_as_the_log_is_now(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, WAITS)
    with following(client, process) as found:
        next(found)
    now = followed(client, process, follow="false")
    assert [event.content for event in now] == [b"begun\n"]
    assert followed(client, process, 6, follow="false") == []
    release(client, sandbox)
    ended(client, process)
    assert [e.name for e in followed(client, process, 6, follow="false")] == ["stdout", "exit"]


@pytest.mark.parametrize("offset", ["13", "-1", "x", "", "1.0", "1" * 19, "1 1"])
def test_offsets_that_are_none(client: httpx.Client, sandbox: str, offset: str) -> None:
    process = start(client, sandbox, "echo 0123456789a")
    ended(client, process)
    answer = client.get(f"{process}/output", headers={"Last-Event-ID": offset})
    assert code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "Last-Event-ID"


@pytest.mark.parametrize("follow", ["1", "", "True", "no"])
def test_what_is_no_boolean(client: httpx.Client, sandbox: str, follow: str) -> None:
    process = start(client, sandbox, "true")
    answer = client.get(f"{process}/output", params={"follow": follow})
    assert code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "follow"


def test_what_exec_runs_has_no_log(client: httpx.Client, sandbox: str) -> None:
    client.post(f"{sandbox}/exec", json={"command": "true"}, headers={"Idempotency-Key": "e"})
    exec_ = f"{sandbox}/processes/e"
    size, signal_ = {"rows": 1, "columns": 1}, {"signal": "TERM"}
    for answer in (
        client.get(f"{exec_}/output"),
        write_input(client, exec_, 0, b"x"),
        client.post(f"{exec_}/signal", json=signal_),
        client.put(f"{exec_}/terminal", json=size),
    ):
        assert code(answer) == (422, "not_supported")
    none = f"{sandbox}/processes/none"
    for answer in (
        client.get(f"{none}/output"),
        write_input(client, none, 0, b"x"),
        client.post(f"{none}/signal", json=signal_),
        client.put(f"{none}/terminal", json=size),
    ):
        assert code(answer) == (404, "process_not_found")


def test_silence_is_broken_by_comments(
    client: httpx.Client, engine: HostEngine, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_events, "_SILENCE_SECONDS", 0.01)
    process = start(client, sandbox, WAITS)
    with client.stream("GET", f"{process}/output", headers={"Last-Event-ID": "0"}) as answer:
        lines = answer.iter_lines()
        assert [line for line, _ in zip(lines, range(8), strict=False) if line == ":"]
        release(client, sandbox)
        assert [line for line in lines if line.startswith("event: ")][-1] == "event: exit"


def test_the_end_of_one_who_printed_much_is_told_at_once(
    client: httpx.Client, engine: HostEngine, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcome is made by a thread, while followers have read everything."""
    monkeypatch.setattr(_events, "_SILENCE_SECONDS", 3600.0)
    process = start(client, sandbox, f"seq 1000000; {WAITS}")
    with following(client, process) as found:
        for event in found:
            if event.name == "stdout" and event.content.endswith(b"begun\n"):
                break
        release(client, sandbox)
        assert [event.name for event in found] == ["stdout", "exit"]


def test_a_kill_ends_the_stream(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, "echo begun; exec sleep 60")
    with following(client, process) as found:
        assert next(found).content == b"begun\n"
        assert client.delete(process).status_code == 204
        (last,) = found
    assert (last.name, last.json["signal"], last.json["exit_code"]) == ("exit", 9, 137)
    assert client.delete(process).status_code == 204


def test_a_process_that_waits_for_its_readers_can_be_killed(
    client: httpx.Client, sandbox: str
) -> None:
    process = start(client, sandbox, "yes")
    with following(client, process) as found:  # and nobody reads it
        while client.get(process).json()["output_offset"] < 50 << 20:
            pass
        assert client.delete(process).status_code == 204
        for event in found:
            assert event.name in ("stdout", "exit")
    last = ended(client, process)
    assert last["result"]["truncated"] == last["output_offset"] - (10 << 20)


def test_a_sandbox_that_is_destroyed_ends_the_stream(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, "echo begun; exec sleep 60")
    with following(client, process) as found:
        assert next(found).content == b"begun\n"
        assert client.delete(sandbox).status_code == 204
        (last,) = found
    assert (last.id, last.name) == (6, "error")
    problem = last.json
    assert (problem["status"], problem["code"]) == (410, "sandbox_destroyed")
    assert problem["request_id"] and problem["detail"]
    assert code(client.get(f"{process}/output")) == (410, "sandbox_destroyed")
    assert code(client.get(f"{sandbox}/processes")) == (410, "sandbox_destroyed")


def test_a_sandbox_that_is_lost_is_told_to_everyone(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    process = start(client, sandbox, "echo begun; exec sleep 60", interactive=True)
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
        put(client, sandbox, "echo begun; exec sleep 60", interactive=True),
        write_input(client, process, 0, b"x"),
        client.post(f"{process}/signal", json={"signal": "TERM"}),
    ):
        assert code(answer) == (410, "sandbox_lost")
    assert client.delete(process).status_code == 204


def test_a_server_that_stops_ends_the_streams(engine: HostEngine) -> None:
    service = Service(engine)
    service.start()
    with service.client() as client:
        sandbox = "/sandboxes/3f6f2c0e-7c1c-4a8e-9a2b-0d6a8e0f4b1d"
        client.put(sandbox, json={"service": {"image": "host"}})
        process = start(client, sandbox, "echo begun; exec sleep 60")
        with following(client, process) as found, ThreadPoolExecutor(1) as threads:
            assert next(found).content == b"begun\n"
            stopping = threads.submit(service.stop)
            (last,) = found
            assert (last.name, last.json["code"]) == ("error", "sandbox_lost")
            assert "the server stopped" in last.json["detail"]
            stopping.result(GUARD)


def test_a_server_stops_though_a_follower_does_not_read(
    engine: HostEngine, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(engine)
    service.start()
    with service.client() as client, service.raw() as connection:
        sandbox = "/sandboxes/3f6f2c0e-7c1c-4a8e-9a2b-0d6a8e0f4b1d"
        client.put(sandbox, json={"service": {"image": "host"}})
        process = start(client, sandbox, "yes")
        request = f"GET {process}/output HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.sendall(request.encode())
        assert connection.recv(100)
        while client.get(process).json()["output_offset"] < 10 << 20:
            pass
    service.stop()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_nothing_is_left_of_a_sandbox_that_is_gone(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    loud = start(client, sandbox, "head -c 30000000 /dev/zero", "loud")
    start(client, sandbox, "yes", "endless")
    with following(client, f"{sandbox}/processes/endless") as found:
        next(found)
        ended(client, loud)
        service.until(lambda: len(logs(service)) > 2)
        assert client.delete(sandbox).status_code == 204
        assert [event for event in found][-1].name == "error"
    service.until(lambda: not logs(service))
    assert not _tasks(service)


def _tasks(service: Service) -> set[str]:
    """Return what still is done for processes."""

    async def all_tasks() -> set[str]:
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
    process = start(client, sandbox, "seq 2000000; seq 10 >&2")
    result = ended(client, process)["result"]
    assert sum(path.stat().st_size for path in logs(service)) <= 1 << 20
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
        process = start(client, sandbox, "head -c 900000 /dev/zero", str(number))
        ended(client, process)
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
    monkeypatch.setattr(_logs, "_SHRINK_AGAIN_SECONDS", 0.05)
    assert service.store is not None
    service.store.log_limit = 2 << 20
    for number in range(6):
        process = start(client, sandbox, "head -c 900000 /dev/zero", str(number))
        ended(client, process)
    service.store.log_limit = 1 << 20
    ended(client, start(client, sandbox, "true", "small"))
    assert len(contents(followed(client, f"{sandbox}/processes/0"))["stdout"]) == 900_000
    service.call(monkeypatch.setattr, _readers, "monotonic", lambda: time.monotonic() + 31)
    known = service.registry.get(sandbox.rpartition("/")[2]).runs
    service.until(lambda: len(known._logs._ended) == 5)
    assert followed(client, f"{sandbox}/processes/0")[0].json == {"bytes": 900_000}


def test_an_outcome_is_made_again_for_as_long_as_there_is_a_log(
    client: httpx.Client,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_KEPT_BYTES", 1000)
    process = start(client, sandbox, "seq 300000; seq 100 >&2; exit 3")
    first = ended(client, process)
    assert len(first["result"]["stdout"]) > 1_900_000
    ended(client, start(client, sandbox, "seq 1000", "next"))
    assert client.get(process).json() == first
    assert put(client, sandbox, "seq 300000; seq 100 >&2; exit 3").json()["exit_code"] == 3
