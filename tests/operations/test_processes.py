from __future__ import annotations

import logging
import re
import signal
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from lunette import PIPE, ProcessInfo, errors
from lunette._answers import from_transport
from lunette._io import run
from lunette._operations import processes
from lunette._operations.processes import Started
from lunette.results import ExecResult

OPTIONS: dict[str, Any] = {
    "cwd": None,
    "env": None,
    "user": None,
    "input": None,
    "tty": None,
    "timeout": None,
    "name": None,
}


def start(io: Any, command: Any = "true", **options: Any) -> Started:
    return run(processes.start(io, "s1", command, **OPTIONS | options))


def running(status: int = 201, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"process_id": "p1", "state": "running", **more})


def ended(exit_code: int = 0, **more: Any) -> httpx.Response:
    result = {"stdout": "out", "stderr": "", "exit_code": exit_code, **more}
    answer = {"process_id": "p1", "state": "ended", "command": ["x"], "result": result}
    return httpx.Response(200, json=answer)


def new(**options: Any) -> Started:
    return Started("s1", "p1", "x", **options)


def test_the_least_is_sent(scripted: Any) -> None:
    io = scripted(running())
    started = start(io, "sleep 9")
    assert re.fullmatch("[0-9a-f]{32}", started.process_id)
    assert io.diary == [f"put /sandboxes/s1/processes/{started.process_id}"]
    assert io.requests[0]["json"] == {"command": "sleep 9"}
    assert (started.sandbox_id, started.command, started.exit_code) == ("s1", "sleep 9", None)


def test_all_options_are_sent(scripted: Any) -> None:
    io = scripted(running())
    options = {"cwd": "/w", "env": {"A": ""}, "user": "1:2", "timeout": 2, "name": "web ä"}
    started = start(io, ("echo", ""), input=b"\xff", tty=(5, 9), **options)
    assert io.requests[0]["json"] == {
        "command": ["echo", ""],
        "input": "/w==",
        "input_encoding": "base64",
        "tty": {"rows": 5, "columns": 9},
        **options,
    }
    assert (started.name, started.timeout, started.input.taken) == ("web ä", 2.0, 1)


def test_a_pipe_and_a_terminal(scripted: Any) -> None:
    io = scripted(*(running() for _ in range(3)))
    start(io, "cat", input=PIPE)
    start(io, "cat", tty=True)
    start(io, "cat", tty=False)
    assert [request["json"] for request in io.requests] == [
        {"command": "cat", "interactive": True},
        {"command": "cat", "tty": {"rows": 24, "columns": 80}},
        {"command": "cat"},
    ]


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError("command must not be empty"), {"command": ""}),
        (TypeError("user must be a string"), {"user": 1000}),
        (ValueError("user must not be empty"), {"user": ""}),
        (ValueError("user must be at most 256"), {"user": "a" * 257}),
        (TypeError("tty must be True or"), {"tty": 24}),
        (TypeError("tty must be True or"), {"tty": (24,)}),
        (TypeError("columns must be a whole number, not float"), {"tty": (24, 80.0)}),
        (ValueError("rows must be 1 to 65535, not 0"), {"tty": (0, 80)}),
        (ValueError("name must not be empty"), {"name": ""}),
        (ValueError("name must not contain control"), {"name": "a\nb"}),
        (ValueError("name must be at most 256"), {"name": "a" * 257}),
        (TypeError("input must be a string"), {"input": 1}),
        (
            ValueError(
                "input must be at most 33554432 bytes, not 33554433: start it with input=PI"
            ),
            {"input": bytes(32 * 1024 * 1024 + 1)},
        ),
        (ValueError("timeout must be a number of seconds above 0"), {"timeout": 0}),
    ],
)
def test_slips_are_named_before_anything_is_sent(
    scripted: Any, error: Exception, options: dict[str, Any]
) -> None:
    io = scripted()
    with pytest.raises(type(error), match=str(error)):
        start(io, **{"command": "true", **options})
    assert io.diary == []


@pytest.mark.parametrize(
    "fault",
    [
        KeyboardInterrupt(),
        from_transport(httpx.ReadTimeout("slow")),
        httpx.Response(200, json=[]),
    ],
)
def test_what_may_have_started_and_nobody_has_is_killed(scripted: Any, fault: Any) -> None:
    io = scripted(fault, httpx.Response(204))
    with pytest.raises((KeyboardInterrupt, errors.LunetteError)):
        start(io, "sleep 9")
    assert io.diary[1:] == ["outlive 2", io.diary[0].replace("put", "delete")]


def test_what_never_started_needs_no_killing(scripted: Any) -> None:
    io = scripted(httpx.Response(404, json={"code": "file_not_found", "path": "/w"}))
    with pytest.raises(FileNotFoundError):
        start(io, cwd="/w")
    assert len(io.diary) == 1


@pytest.mark.parametrize(
    "operation",
    [
        lambda io: processes.start(io, "s1", "true", **OPTIONS),
        lambda io: processes.list_all(io, "s1"),
        lambda io: processes.find(io, "s1", "p1"),
    ],
)
def test_the_published_wire_has_no_processes(scripted: Any, operation: Any) -> None:
    io = scripted()
    io.profile.published = True
    with pytest.raises(errors.NotSupportedError, match="this server cannot do it"):
        run(operation(io))
    assert io.diary == []


def test_processes_are_listed(scripted: Any) -> None:
    one = {
        "process_id": "p1",
        "state": "ended",
        "command": ["sleep", "9"],
        "name": "nap",
        "tty": True,
        "started": True,
        "started_at": "2026-11-26T10:00:00Z",
        "output_offset": 5,
        "exit_code": 0,
    }
    other = {"process_id": "p2", "state": "running"}
    io = scripted(httpx.Response(200, json={"processes": [one, other]}))
    assert run(processes.list_all(io, "s1")) == [
        ProcessInfo(
            id="p1",
            name="nap",
            command=["sleep", "9"],
            state="ended",
            tty=True,
            started=True,
            started_at=datetime(2026, 11, 26, 10, tzinfo=UTC),
            exit_code=0,
            output_offset=5,
        ),
        ProcessInfo(id="p2", state="running"),
    ]
    assert io.diary == ["get /sandboxes/s1/processes"]


def test_a_process_is_found(scripted: Any) -> None:
    io = scripted(running(200, command="cat", name="cat", input_offset=7))
    started = run(processes.find(io, "s1", "p1"))
    assert (started.command, started.name, started.input.taken) == ("cat", "cat", 7)
    assert (started.exit_code, started.output.offset) == (None, 0)
    assert io.diary == ["get /sandboxes/s1/processes/p1"]


def test_a_process_that_is_not_there(scripted: Any) -> None:
    io = scripted(httpx.Response(404, json={"code": "process_not_found"}))
    with pytest.raises(errors.ProcessNotFoundError):
        run(processes.find(io, "s1", "p1"))
    with pytest.raises(ValueError, match="process_id must not be empty"):
        run(processes.find(io, "s1", ""))


def test_poll_asks_until_it_has_ended(scripted: Any) -> None:
    io, started = scripted(running(), ended(3)), new()
    assert [run(processes.poll(io, started)) for _ in range(4)] == [None, 3, 3, 3]
    assert [request["params"] for request in io.requests] == [{}, {}]
    assert run(processes.result(io, started, timeout=None, check=False)).exit_code == 3


def test_the_result_is_waited_for(scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    io, started = scripted(running(), running(), ended(3, stderr="why")), new()
    result = run(processes.result(io, started, timeout=None, check=False))
    assert result == ExecResult("out", "why", 3)
    assert [request["params"] for request in io.requests] == [{"wait": 25.0}] * 3
    with pytest.raises(errors.ExecFailedError):
        run(processes.result(io, started, timeout=None, check=True))
    assert [record.getMessage() for record in caplog.records] == ["[s1] exit code 3: x: why"]


def test_a_result_that_does_not_come_in_time(scripted: Any) -> None:
    io = scripted(running())
    with pytest.raises(TimeoutError, match="process p1 still runs after 0 seconds") as caught:
        run(processes.result(io, new(), timeout=0, check=False))
    assert isinstance(caught.value, errors.ProcessRunningError)
    assert io.diary == ["get /sandboxes/s1/processes/p1"]
    with pytest.raises(ValueError, match="timeout must be a number of seconds above 0"):
        run(processes.result(io, new(), timeout=-1, check=False))


@pytest.mark.parametrize(("timeout", "seconds"), [(2.0, "2"), (None, "1.5")])
def test_a_process_that_its_own_timeout_killed(
    scripted: Any, timeout: float | None, seconds: str
) -> None:
    io = scripted(ended(137, signal=9, timed_out=True, duration=1.5))
    with pytest.raises(errors.ExecTimeoutError, match=f"after {seconds} seconds") as caught:
        run(processes.result(io, new(timeout=timeout), timeout=None, check=False))
    assert caught.value.result.stdout == "out"


def test_interrupted_waiting_kills_nothing(scripted: Any) -> None:
    io = scripted(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(processes.result(io, new(), timeout=None, check=False))
    assert len(io.diary) == 1


def test_kill(scripted: Any) -> None:
    io = scripted(httpx.Response(204), httpx.Response(410, json={"code": "sandbox_lost"}))
    run(processes.kill(io, new()))
    run(processes.kill(io, new()))
    assert io.diary == ["delete /sandboxes/s1/processes/p1"] * 2


def test_an_interrupted_kill_is_done_all_the_same(scripted: Any) -> None:
    io = scripted(KeyboardInterrupt(), httpx.Response(204))
    with pytest.raises(KeyboardInterrupt):
        run(processes.kill(io, new()))
    assert io.diary[1:] == ["outlive 2", "delete /sandboxes/s1/processes/p1"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (signal.SIGUSR1, "SIGUSR1"),
        ("TERM", "TERM"),
        ("SIGINT", "SIGINT"),
        ("sigint", "sigint"),
        ("chld", "chld"),
        (9, 9),
        (64, 64),
    ],
)
def test_signals(scripted: Any, given: Any, sent: Any) -> None:
    io = scripted(httpx.Response(204))
    run(processes.send_signal(io, new(), given))
    assert io.diary == ["post /sandboxes/s1/processes/p1/signal"]
    assert io.requests[0]["json"] == {"signal": sent}
    assert re.fullmatch("[0-9a-f]{32}", io.requests[0]["headers"]["Idempotency-Key"])


@pytest.mark.parametrize("given", [0, 65, True, 1.5, None, "", "A\0"])
def test_what_is_no_signal(scripted: Any, given: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="signal must"):
        run(processes.send_signal(scripted(), new(), given))


def test_no_signal_says_what_one_is(scripted: Any) -> None:
    says = "signal must be a number or a name such as 'SIGTERM', not "
    with pytest.raises(TypeError, match=f"^{says}NoneType$"):
        run(processes.send_signal(scripted(), new(), None))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^{says}'HURZ'$"):
        run(processes.send_signal(scripted(), new(), "HURZ"))


def test_what_a_signal_is_called_elsewhere_is_known_to_the_server(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    io = scripted(httpx.Response(204))
    run(processes.send_signal(io, new(), "USR1"))
    assert io.requests[0]["json"] == {"signal": "USR1"}


def test_resize(scripted: Any) -> None:
    io = scripted(httpx.Response(204))
    run(processes.resize(io, new(), 40, 132))
    assert io.diary == ["put /sandboxes/s1/processes/p1/terminal"]
    assert io.requests[0]["json"] == {"rows": 40, "columns": 132}
    with pytest.raises(ValueError, match="rows must be 1 to 65535"):
        run(processes.resize(io, new(), 0, 132))


def test_a_start_is_logged(scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="lunette")
    start(scripted(running()), ["sleep", "9"])
    assert [record.getMessage() for record in caplog.records] == ["[s1] start: ['sleep', '9']"]
