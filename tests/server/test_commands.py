from __future__ import annotations

import asyncio
import base64
import errno
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from lunette.server.engines.protocol import CommandNotRunnableError, SandboxGoneError, State, Status
from lunette.server.output import OUTPUT_LIMIT, Output

from .conftest import Service
from .host_engine import HostEngine, HostProcess


def _exec(client: httpx.Client, sandbox: str, command: Any, **more: Any) -> dict[str, Any]:
    answer = client.post(f"{sandbox}/exec", json={"command": command, **more})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_string_runs_in_a_shell(client: httpx.Client, sandbox: str) -> None:
    result = _exec(client, sandbox, "echo out; echo err >&2; exit 3")
    assert 0 < result.pop("duration") < 30
    assert result == {
        "stdout": "out\n",
        "stderr": "err\n",
        "exit_code": 3,
        "timed_out": False,
        "truncated": 0,
    }


def test_a_list_runs_without_one(client: httpx.Client, sandbox: str) -> None:
    assert _exec(client, sandbox, ["echo", "$HOME; a  b"])["stdout"] == "$HOME; a  b\n"


def test_the_environment_is_the_services_under_the_commands(
    client: httpx.Client, sandbox: str
) -> None:
    command = 'echo "$FROM $MORE"'
    assert _exec(client, sandbox, command)["stdout"] == "service \n"
    assert _exec(client, sandbox, command, env={"MORE": "m"})["stdout"] == "service m\n"
    assert _exec(client, sandbox, command, env={"FROM": "exec"})["stdout"] == "exec \n"


def test_input(client: httpx.Client, sandbox: str) -> None:
    assert _exec(client, sandbox, ["cat"])["stdout"] == ""
    assert _exec(client, sandbox, ["cat"], input="é\n")["stdout"] == "é\n"
    encoded = base64.b64encode(b"\xff\x00").decode()
    result = _exec(client, sandbox, ["cat"], input=encoded, input_encoding="base64")
    assert result["stdout_base64"] == encoded
    for wrong in ("a", "a b=", "é"):
        body = {"command": "cat", "input": wrong, "input_encoding": "base64"}
        answer = client.post(f"{sandbox}/exec", json=body)
        assert _code(answer) == (422, "invalid_request")
        assert answer.json()["key"] == "input"


def test_an_integer_may_be_written_as_a_float(client: httpx.Client, sandbox: str) -> None:
    result = _exec(client, sandbox, "echo 12345", output_limit=4.0)
    assert (result["stdout"], result["truncated"]) == ("125\n", 2)


def test_bytes_that_are_no_text_come_twice(client: httpx.Client, sandbox: str) -> None:
    result = _exec(client, sandbox, r"printf '\377a'; printf 'é' >&2")
    assert result["stdout"] == "\ufffda"
    assert base64.b64decode(result["stdout_base64"]) == b"\xffa"
    assert result["stderr"] == "é" and "stderr_base64" not in result


def test_death_by_a_signal(client: httpx.Client, sandbox: str) -> None:
    result = _exec(client, sandbox, "kill -TERM $$")
    assert (result["exit_code"], result["signal"]) == (143, 15)


def test_what_cannot_run(client: httpx.Client, engine: HostEngine, sandbox: str) -> None:
    result = _exec(client, sandbox, ["nonexistent"])
    assert (result["exit_code"], result["stderr"]) == (127, "nonexistent: not found\n")
    engine.exec_error = CommandNotRunnableError(126, "it is a directory")
    result = _exec(client, sandbox, ["x"])
    assert (result["exit_code"], result["stderr"]) == (126, "it is a directory\n")


def test_a_cwd_that_is_not_there(client: httpx.Client, sandbox: str) -> None:
    answer = client.post(f"{sandbox}/exec", json={"command": "true", "cwd": "nope"})
    assert _code(answer) == (404, "file_not_found")
    assert answer.json()["path"] == "nope"


def test_a_timeout_kills_and_shows_the_output_so_far(client: httpx.Client, sandbox: str) -> None:
    result = _exec(client, sandbox, "echo so far; exec sleep 60", timeout=0.2)
    assert (result["stdout"], result["timed_out"]) == ("so far\n", True)
    assert (result["exit_code"], result["signal"]) == (137, 9)


def test_a_command_that_ends_before_its_timeout_is_not_timed_out(
    client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    result = _exec(client, sandbox, "exit 4", timeout=60)
    assert (result["exit_code"], result["timed_out"]) == (4, False)
    assert engine.processes[-1].kills == 0


def test_output_that_is_drained_after_the_end_is_not_timed_out(
    client: httpx.Client, engine: HostEngine, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = HostProcess.output

    async def slowly(process: HostProcess) -> Any:
        await process.wait()
        await asyncio.sleep(0.4)  # the timeout passes here
        async for item in output(process):
            yield item

    monkeypatch.setattr(HostProcess, "output", slowly)
    result = _exec(client, sandbox, "echo done", timeout=0.3)
    assert (result["stdout"], result["timed_out"]) == ("done\n", False)
    assert engine.processes[-1].kills == 0


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_sandbox_that_goes_takes_its_commands_along(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str, timeout: int | None
) -> None:
    body = {"command": "sleep 60"} if timeout is None else {"command": "sleep 60", "timeout": 60}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.post, f"{sandbox}/exec", json=body)
        service.until(lambda: bool(engine.processes))
        assert client.delete(sandbox).status_code == 204
        assert _code(waiting.result()) == (410, "sandbox_destroyed")


def _failing(error: Exception) -> Any:
    async def fail(*_: object) -> None:
        raise error

    return fail


def test_a_kill_that_fails_does_not_hide_that_the_sandbox_is_gone(
    service: Service,
    client: httpx.Client,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killing = threading.Event()

    async def kill(process: HostProcess) -> None:
        killing.set()
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError(errno.EPIPE, "the worker hung up")

    killed = HostProcess.kill
    monkeypatch.setattr(HostProcess, "kill", kill)
    with ThreadPoolExecutor(2) as threads:
        body = {"command": "sleep 60", "timeout": 0.01}
        headers = {"Idempotency-Key": "k"}
        waiting = threads.submit(client.post, f"{sandbox}/exec", json=body, headers=headers)
        assert killing.wait(30)
        monkeypatch.setattr(HostProcess, "kill", killed)
        assert client.delete(sandbox).status_code == 204
        assert _code(waiting.result()) == (410, "sandbox_destroyed")


@pytest.mark.parametrize("gone", [True, False])
def test_what_breaks_in_a_sandbox_that_goes_says_so(
    service: Service,
    client: httpx.Client,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
    gone: bool,
) -> None:
    monkeypatch.setattr(HostProcess, "wait", _failing(BrokenPipeError(errno.EPIPE, "hung up")))
    engine.exec_gate.clear()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.post, f"{sandbox}/exec", json={"command": "true"})
        name = sandbox.rpartition("/")[2]
        if gone:
            service.call(engine.happen, name, Status(state=State.STOPPED, reason="it ended"))
            service.until(lambda: service.registry.get(name).status.state is State.STOPPED)
        service.call(engine.exec_gate.set)
        expected = (410, "sandbox_stopped") if gone else (500, "internal_error")
        assert _code(waiting.result()) == expected


def test_a_kill_that_fails_since_the_sandbox_goes_is_done(
    service: Service,
    client: httpx.Client,
    engine: HostEngine,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = sandbox.rpartition("/")[2]
    runs = service.registry.get(name).runs
    monkeypatch.setattr(runs, "kill", _failing(BrokenPipeError(errno.EPIPE, "hung up")))
    assert client.delete(f"{sandbox}/processes/k").status_code == 500
    service.call(engine.happen, name, Status(state=State.STOPPED, reason="it ended"))
    service.until(lambda: service.registry.get(name).status.state is State.STOPPED)
    assert client.delete(f"{sandbox}/processes/k").status_code == 204


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_an_exhausted_server_starts_nothing(
    client: httpx.Client, engine: HostEngine, sandbox: str, number: int
) -> None:
    engine.exec_error = OSError(number, "no more")
    answer = client.post(f"{sandbox}/exec", json={"command": "true"})
    assert _code(answer) == (503, "no_capacity")


def test_a_call_that_finds_the_sandbox_gone_says_how(
    client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    engine.exec_error = SandboxGoneError(Status(state=State.FAILED, reason="a worker hung"))
    answer = client.post(f"{sandbox}/exec", json={"command": "true"})
    assert _code(answer) == (410, "sandbox_failed")
    assert "a worker hung" in answer.json()["detail"]
    assert client.get(sandbox).json()["state"] == "failed"


def test_a_disconnect_does_not_kill(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    body = json.dumps({"command": "cat fifo; echo lived > proof"}).encode()
    _exec(client, sandbox, "mkfifo fifo")
    with service.raw() as connection:
        head = f"POST {sandbox}/exec HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        service.until(lambda: len(engine.processes) == 2)
    _exec(client, sandbox, "echo go > fifo; while [ ! -s proof ]; do sleep 0.01; done")
    assert client.get(f"{sandbox}/read", params={"path": "proof"}).json()["content"] == "lived\n"


def test_kill_by_key(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(
            client.post,
            f"{sandbox}/exec",
            json={"command": "sleep 60"},
            headers={"Idempotency-Key": "k.1"},
        )
        service.until(lambda: bool(engine.processes))
        assert client.delete(f"{sandbox}/processes/k.1").status_code == 204
        assert waiting.result().json()["signal"] == 9
    assert client.delete(f"{sandbox}/processes/k.1").status_code == 204


def test_a_kill_that_overtakes_its_command(
    client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    assert client.delete(f"{sandbox}/processes/early").status_code == 204
    answer = client.post(
        f"{sandbox}/exec", json={"command": "true"}, headers={"Idempotency-Key": "early"}
    )
    assert _code(answer) == (409, "key_given_up")
    assert engine.processes == []


def test_a_kill_while_the_command_starts(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    service.call(engine.exec_gate.clear)
    name = sandbox.rpartition("/")[2]
    with ThreadPoolExecutor(2) as threads:
        headers = {"Idempotency-Key": "k"}
        body = {"command": "sleep 60"}
        waiting = threads.submit(client.post, f"{sandbox}/exec", json=body, headers=headers)
        runs = service.registry.get(name).runs._running
        service.until(lambda: "k" in runs)
        kill = threads.submit(client.delete, f"{sandbox}/processes/k")
        service.until(lambda: runs["k"].given_up)
        service.call(engine.exec_gate.set)
        assert kill.result().status_code == 204
        assert waiting.result().json()["signal"] == 9


@pytest.mark.parametrize("key", ["", "a b", "a/b", "é".encode(), "a" * 65])
def test_keys_that_are_none(client: httpx.Client, sandbox: str, key: str | bytes) -> None:
    name, value = b"Idempotency-Key", key if isinstance(key, bytes) else key.encode()
    answer = client.post(f"{sandbox}/exec", json={"command": "true"}, headers={name: value})
    assert _code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "Idempotency-Key"


def test_a_kill_in_a_sandbox_that_is_gone(client: httpx.Client, sandbox: str) -> None:
    client.delete(sandbox)
    assert client.delete(f"{sandbox}/processes/k").status_code == 204
    assert _code(client.delete(f"{sandbox}/processes/{'a' * 65}")) == (422, "invalid_request")


def test_output_over_the_limit_is_cut_in_the_middle(client: httpx.Client, sandbox: str) -> None:
    size = 30 * 1000 * 1000
    result = _exec(client, sandbox, f"echo begin; head -c {size} /dev/zero | tr '\\0' x; echo end")
    assert result["stdout"].startswith("begin\nx") and result["stdout"].endswith("xend\n")
    assert len(result["stdout"]) == OUTPUT_LIMIT
    assert result["truncated"] == size + len("begin\nend\n") - OUTPUT_LIMIT


@pytest.mark.parametrize("piece", [1, 3, 10, 100])
@pytest.mark.parametrize("size", [0, 5, 10, 11, 25, 99])
def test_both_ends_are_kept_however_they_come(piece: int, size: int) -> None:
    data = bytes(range(65, 65 + 26)) * 4
    data = data[:size]
    output = Output(limit=10)
    for start in range(0, size, piece):
        output.write(data[start : start + piece])
    assert output.kept() == (data if size <= 10 else data[:5] + data[-5:])
    assert output.total == size


def test_what_is_lost_is_counted() -> None:
    output = Output(limit=10)
    output.write(b"abc")
    output.lose(0)
    output.write(b"d")
    output.lose(100)
    output.write(b"efghijkl")
    assert (output.kept(), output.total) == (b"abcd" + b"hijkl", 112)


def test_no_character_is_cut_in_two() -> None:
    for text in ("é" * 20, "€" * 20, "🦊" * 20, "a🦊" * 20, "🦊é€" * 9):
        for limit in range(8, 17):
            output = Output(limit)
            output.write(text.encode())
            kept = output.kept()
            assert set(kept.decode()) <= set(text)
            assert limit - 7 <= len(kept) <= limit


def test_memory_is_bounded_whatever_comes() -> None:
    output = Output(limit=1000)
    for _ in range(100_000):
        output.write(b"x")
    assert len(output._head) + len(output._tail) <= 1500
    output.write(b"y" * 10_000_000)
    assert len(output._tail) <= 1000 and output.total == 10_100_000


def test_concurrent_commands(client: httpx.Client, sandbox: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda n: _exec(client, sandbox, f"echo {n}")["stdout"], range(40))
    assert list(found) == [f"{n}\n" for n in range(40)]
    assert threading.active_count() >= 1
