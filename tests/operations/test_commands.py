from __future__ import annotations

import logging
import re
from typing import Any

import httpx
import pytest

from lunette import PIPE, errors
from lunette._answers import from_transport
from lunette._io import run
from lunette._operations import commands
from lunette.results import ExecResult

from .test_output import event, exited, live, stderr, stdout

OPTIONS: dict[str, Any] = {
    "cwd": None,
    "env": None,
    "user": None,
    "timeout": None,
    "input": None,
    "output_limit": None,
    "check": False,
    "on_stdout": None,
    "on_stderr": None,
}


def execute(io: Any, command: Any, **options: Any) -> ExecResult:
    return run(commands.execute(io, "s1", command, **OPTIONS | options))


def ended(exit_code: int = 0, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"stdout": "", "stderr": "", "exit_code": exit_code, **more})


def test_the_least_is_sent(scripted: Any) -> None:
    io = scripted(ended(stdout="hello\n"))

    result = execute(io, "echo hello")

    assert result == ExecResult("hello\n", "", 0)
    assert not io.patient
    assert io.requests[0]["headers"]["Prefer"] == "respond-async, wait=20"
    assert io.requests[0]["json"] == {"command": "echo hello"}
    assert re.fullmatch("[0-9a-f]{32}", io.requests[0]["headers"]["Idempotency-Key"])


def test_all_options_are_sent(scripted: Any) -> None:
    io = scripted(ended())
    options = {"cwd": "/w", "env": {"A": ""}, "timeout": 2, "input": "x\n"}
    execute(io, ("echo", "", "ä"), **options)
    assert io.requests[0]["json"] == {"command": ["echo", "", "ä"], **options}


def test_bytes_go_as_base64(scripted: Any) -> None:
    io = scripted(ended())
    execute(io, ["cat"], input=b"\xff\x00")
    assert io.requests[0]["json"]["input"] == "/wA="
    assert io.requests[0]["json"]["input_encoding"] == "base64"


def test_bytes_come_exactly(scripted: Any) -> None:
    io = scripted(ended(139, stdout="\ufffd", stdout_base64="/w==", signal=11, truncated=5))
    result = execute(io, "x")
    assert (result.stdout, result.stdout_bytes, result.stderr_bytes) == ("\ufffd", b"\xff", b"")
    assert (result.signal, result.truncated, result.success) == (11, 5, False)


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (TypeError("command must be a string or strings"), {"command": b"ls"}),
        (TypeError("command must be a string or strings"), {"command": None}),
        (TypeError("command must be a string or strings"), {"command": iter(["ls"])}),
        (TypeError(r"command\[1\] must be a string, not int"), {"command": ["ls", 1]}),
        (ValueError("command must name a program"), {"command": []}),
        (ValueError("command must name a program"), {"command": ["", "x"]}),
        (ValueError("command must not be empty"), {"command": ""}),
        (ValueError("command must not contain a NUL"), {"command": "a\0b"}),
        (ValueError(r"command\[0\] must not contain a NUL"), {"command": ["a\0b"]}),
        (ValueError("command cannot be written as UTF-8"), {"command": "\udc80"}),
        (TypeError("cwd must be a string"), {"cwd": 1}),
        (ValueError("cwd must not be empty"), {"cwd": ""}),
        (ValueError("cwd must be at most 4096 characters, not 4097"), {"cwd": "a" * 4097}),
        (ValueError("cwd must not contain a NUL"), {"cwd": "a\0b"}),
        (ValueError("cwd cannot be written as UTF-8"), {"cwd": "\ud800"}),
        (TypeError("env must be a mapping"), {"env": ["A=1"]}),
        (ValueError(r"env\['A'\] must not contain a NUL"), {"env": {"A": "a\0b"}}),
        (ValueError(r"env\['A'\] cannot be written as UTF-8"), {"env": {"A": "\ud800"}}),
        (ValueError("env: a name must not contain a NUL"), {"env": {"A\0": ""}}),
        (ValueError("env: a name cannot be written as UTF-8"), {"env": {"\ud800": ""}}),
        (ValueError("timeout must be at most 31536000 seconds"), {"timeout": 31_536_000.5}),
        (TypeError(r"env\['A'\] must be a string, not int"), {"env": {"A": 1}}),
        (TypeError("env: a name must be a string"), {"env": {1: "A"}}),
        (ValueError("env: the name 'A=B' must not"), {"env": {"A=B": ""}}),
        (TypeError("timeout must be a number"), {"timeout": "1"}),
        (TypeError("timeout must be a number"), {"timeout": True}),
        (ValueError("timeout must be a number of seconds above 0"), {"timeout": 0}),
        (ValueError("timeout must be a number of seconds above 0"), {"timeout": float("nan")}),
        (ValueError("timeout must be a number of seconds above 0"), {"timeout": float("inf")}),
        (TypeError("user must be a string"), {"user": 0}),
        (TypeError("on_stdout must be a function, not str"), {"on_stdout": "x"}),
        (TypeError("on_stderr must be a function, not int"), {"on_stderr": 1}),
        (TypeError("input must be a string or bytes, not int"), {"input": 1}),
        (TypeError("input must be a string or bytes; PIPE is for start"), {"input": PIPE}),
        (ValueError("input cannot be written as UTF-8"), {"input": "\udc80"}),
    ],
)
def test_slips_are_named_before_anything_is_sent(
    scripted: Any, error: Exception, options: dict[str, Any]
) -> None:
    io = scripted()
    with pytest.raises(type(error), match=str(error)):
        execute(io, **{"command": "true", **options})
    assert io.diary == []


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), from_transport(httpx.ReadTimeout("slow"))])
def test_a_command_that_nobody_waits_for_is_killed(scripted: Any, fault: BaseException) -> None:
    io = scripted(fault, httpx.Response(204))

    with pytest.raises(type(fault)):
        execute(io, "sleep 9")

    key = io.requests[0]["headers"]["Idempotency-Key"]
    assert io.diary[1:] == ["outlive 2", f"delete /sandboxes/s1/processes/{key}"]


@pytest.mark.parametrize(
    "fault",
    [
        from_transport(httpx.ConnectError("refused")),
        httpx.Response(410, json={"code": "sandbox_stopped", "detail": "ended"}),
    ],
)
def test_a_command_that_never_ran_needs_no_killing(scripted: Any, fault: Any) -> None:
    io = scripted(fault)
    with pytest.raises(errors.LunetteError):
        execute(io, "true")
    assert len(io.diary) == 1


def test_a_timeout_has_the_output_so_far(scripted: Any) -> None:
    io = scripted(ended(137, stdout="so far", timed_out=True, signal=9))
    with pytest.raises(TimeoutError, match=r"after 2 seconds: 'sleep 9'") as caught:
        execute(io, "sleep 9", timeout=2)
    assert isinstance(caught.value, errors.ExecTimeoutError)
    assert caught.value.result.stdout == "so far"


def test_check_makes_a_failure_an_error(scripted: Any) -> None:
    with pytest.raises(errors.ExecFailedError, match="status 3") as caught:
        execute(scripted(ended(3, stderr="no")), ["false"], check=True)
    assert (caught.value.cmd, caught.value.stderr, caught.value.result.exit_code) == (
        ["false"],
        "no",
        3,
    )
    execute(scripted(ended(0)), "true", check=True)


def test_what_is_logged(scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="lunette")
    execute(scripted(ended(1, stderr="e" * 501)), "false")
    execute(scripted(ended(0)), "true")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "[s1] exec: false"),
        ("WARNING", f"[s1] exit code 1: false: {'e' * 500}"),
        ("DEBUG", "[s1] exec: true"),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        *({}, {"stdout": ""}, [], "text", None),
        {"stdout": None, "stderr": "", "exit_code": 0},
        {"stdout": "", "stderr": "", "exit_code": "0"},
    ],
)
def test_a_broken_answer_is_an_api_error(scripted: Any, answer: Any) -> None:
    with pytest.raises(errors.APIError, match="not by a Lunette server") as caught:
        execute(scripted(httpx.Response(200, json=answer), httpx.Response(204)), "true")
    assert caught.value.status_code == 200


def running(status: int = 202) -> httpx.Response:
    return httpx.Response(status, json={"process_id": "k", "state": "running"})


def process_ended(**more: Any) -> httpx.Response:
    result = {"stdout": "out", "stderr": "", "exit_code": 0, **more}
    return httpx.Response(200, json={"process_id": "k", "state": "ended", "result": result})


def test_a_long_command_is_followed(scripted: Any) -> None:
    io = scripted(running(), running(200), running(200), process_ended(duration=61.5))

    result = execute(io, "sleep 61")

    assert (result.stdout, result.duration) == ("out", 61.5)
    key = io.requests[0]["headers"]["Idempotency-Key"]
    assert io.diary == ["post /sandboxes/s1/exec", *[f"get /sandboxes/s1/processes/{key}"] * 3]
    assert [request["params"] for request in io.requests[1:]] == [{"wait": 25.0}] * 3


def test_waits_are_shorter_than_the_timeout_of_the_client(scripted: Any) -> None:
    io = scripted(running(), process_ended())
    io.timeout = 5.0
    execute(io, "sleep 61")
    assert io.requests[0]["headers"]["Prefer"] == "respond-async, wait=2"
    assert io.requests[1]["params"] == {"wait": 2.5}


def test_a_long_command_that_times_out(scripted: Any) -> None:
    io = scripted(running(), process_ended(exit_code=137, signal=9, timed_out=True))
    with pytest.raises(errors.ExecTimeoutError) as caught:
        execute(io, "sleep 61", timeout=60)
    assert caught.value.result.signal == 9


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), from_transport(httpx.ReadError("cut"))])
def test_a_long_command_that_is_given_up_is_killed(scripted: Any, fault: Any) -> None:
    io = scripted(running(), fault, httpx.Response(204))
    with pytest.raises(type(fault)):
        execute(io, "sleep 61")
    key = io.requests[0]["headers"]["Idempotency-Key"]
    assert io.diary[-2:] == ["outlive 2", f"delete /sandboxes/s1/processes/{key}"]


def test_an_outcome_that_expired_kills_nothing(scripted: Any) -> None:
    io = scripted(running(), httpx.Response(409, json={"code": "outcome_expired"}))
    with pytest.raises(errors.OutcomeExpiredError):
        execute(io, "sleep 61")
    assert len(io.diary) == 2


def test_an_output_limit_is_sent(scripted: Any) -> None:
    io = scripted(ended(truncated=7))
    assert execute(io, "yes", output_limit=0).truncated == 7
    assert io.requests[0]["json"] == {"command": "yes", "output_limit": 0}


@pytest.mark.parametrize(
    ("limit", "kind"),
    [(-1, ValueError), (16 * 1024**2 + 1, ValueError), (True, TypeError), (1.5, TypeError)],
)
def test_an_output_limit_that_is_none(scripted: Any, limit: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="output_limit must be"):
        execute(scripted(), "true", output_limit=limit)


@pytest.mark.parametrize(
    "refusal", [httpx.Response(403), httpx.Response(404, json={"code": "process_not_found"})]
)
def test_what_was_accepted_is_killed_whatever_is_said_later(scripted: Any, refusal: Any) -> None:
    io = scripted(running(), refusal, httpx.Response(204))
    with pytest.raises(errors.APIError):
        execute(io, "sleep 61")
    assert io.diary[-2] == "outlive 2"


def test_an_end_without_an_outcome_is_a_broken_answer(scripted: Any) -> None:
    ended_without = httpx.Response(200, json={"process_id": "k", "state": "ended"})
    with pytest.raises(errors.APIError, match="not by a Lunette server"):
        execute(scripted(running(), ended_without, httpx.Response(204)), "true")


# Listeners


def started() -> httpx.Response:
    return httpx.Response(201, json={"process_id": "k", "state": "running"})


def test_listeners_are_told_what_comes(scripted: Any) -> None:
    euro = "€".encode()
    output = live(
        stdout(b"a" + euro[:1], 2),
        stderr(b"e", 3),
        stdout(euro[1:] + b"\xff", 6),
        stdout(b"\xe2", 7),
        exited(7),
    )
    io, told = scripted(started(), output, process_ended(exit_code=3)), list[str]()

    result = execute(
        io, "x", user="a", on_stdout=told.append, on_stderr=lambda t: told.append(f"! {t}")
    )

    assert (result.stdout, result.exit_code) == ("out", 3)
    assert told == ["a", "! e", "€\ufffd", "\ufffd"]
    assert [entry.split("/processes/")[0] for entry in io.diary] == [
        "put /sandboxes/s1",
        "get /sandboxes/s1",
        "get /sandboxes/s1",
    ]
    assert io.requests[0]["json"] == {"command": "x", "user": "a"}
    assert io.requests[2]["params"] == {"wait": 25.0}
    assert io.closed == 1


def test_one_listener_is_told_of_its_own(scripted: Any) -> None:
    told: list[str] = []
    output = live(stdout(b"a", 1), stderr(b"e", 2), exited(2))
    execute(scripted(started(), output, process_ended()), "x", on_stderr=told.append)
    assert told == ["e"]


def test_a_listener_may_be_asynchronous(scripted: Any) -> None:
    told: list[str] = []

    async def listener(text: str) -> None:
        told.append(text)

    output = live(stdout(b"a", 1), exited(1))
    execute(scripted(started(), output, process_ended()), "x", on_stdout=listener)
    assert told == ["a"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_a_listener_that_fails_kills_the_command(scripted: Any, error: BaseException) -> None:
    def fails(text: str) -> None:
        raise error

    io = scripted(started(), live(stdout(b"a", 1), exited(1)), httpx.Response(204))
    with pytest.raises(type(error)):
        execute(io, "x", on_stdout=fails)
    assert io.closed == 1
    assert io.diary[2:] == ["outlive 2", io.diary[0].replace("put", "delete")]


def test_a_lost_sandbox_has_nothing_to_kill(scripted: Any) -> None:
    problem = {"status": 410, "code": "sandbox_lost"}
    io = scripted(started(), live(event("error", problem, 0)))
    with pytest.raises(errors.SandboxLostError):
        execute(io, "x", on_stdout=print)
    assert len(io.diary) == 2


@pytest.mark.parametrize("option", [{"on_stdout": print}, {"on_stderr": print}, {"user": "a"}])
def test_the_published_wire_has_neither_listeners_nor_users(scripted: Any, option: Any) -> None:
    io = scripted()
    io.profile.published = True
    with pytest.raises(errors.NotSupportedError, match=f"exec with .*{next(iter(option))}"):
        execute(io, "x", **option)
    assert io.diary == []
