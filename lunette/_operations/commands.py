"""Run commands in a sandbox."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import base64
import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from .. import errors
from .._io import IO
from .._retry import may_have_acted
from ..config import checked_seconds
from . import abandon, held_back, parsed, published, seconds_to_wait
from .server import is_published

if TYPE_CHECKING:
    from lunette_api.models import ExecRequest, ExecResponse

    from ..results import ExecResult

__all__ = ["execute"]

logger = logging.getLogger(__name__)

_STDERR_IN_LOG = 500
# As in openapi.yaml.
_LONGEST_TIMEOUT = 31_536_000
_LONGEST_PATH = 4096
# After a 202, errors that say that nothing is left to kill.
_OVER = (errors.SandboxDestroyedError, errors.OutcomeExpiredError)
_LARGEST_OUTPUT_LIMIT = 16 * 1024 * 1024


async def execute(
    io: IO,
    sandbox_id: str,
    command: str | Sequence[str],
    *,
    cwd: str | None,
    env: Mapping[str, str] | None,
    timeout: float | None,  # noqa: ASYNC109 - the server keeps it, and kills the command
    input: str | bytes | None,
    output_limit: int | None,
    check: bool,
) -> ExecResult:
    """Run a command to its end."""
    body = _request(command, cwd, env, timeout, input)
    if output_limit is not None:
        body.output_limit = _output_limit(output_limit)
    logger.debug("[%s] exec: %s", sandbox_id, command)
    run = published.execute if await is_published(io) else _run
    result = _result(await run(io, sandbox_id, body))
    if result.timed_out or not result.success:
        _log_failure(sandbox_id, command, result)
    if result.timed_out:
        raise errors.ExecTimeoutError(command, timeout or math.nan, result)
    if check and not result.success:
        raise errors.ExecFailedError(command, result)
    return result


async def _run(io: IO, sandbox_id: str, body: ExecRequest) -> ExecResponse:
    from lunette_api.api.commands import exec_command, kill_process

    # By the key the server knows the command again, however often it is sent.
    key = os.urandom(16).hex()
    request = exec_command._get_kwargs(
        sandbox_id, body=body, idempotency_key=key, prefer=held_back(io)
    )
    accepted = False
    try:
        response = await io.send(request)
        accepted = response.status_code == 202
        if accepted:
            return await _followed(io, sandbox_id, key)
        return parsed(response, _checked)
    except BaseException as error:
        if may_have_acted(error) or (accepted and not isinstance(error, _OVER)):
            await abandon(io, kill_process._get_kwargs(sandbox_id, key))
        raise


async def _followed(io: IO, sandbox_id: str, key: str) -> ExecResponse:
    """Ask for a command that was accepted, until it has ended."""
    from lunette_api.api.commands import get_process
    from lunette_api.models import Process, ProcessState

    while True:
        request = get_process._get_kwargs(sandbox_id, key, wait=seconds_to_wait(io))
        response = await io.send(request)
        process = parsed(response, Process.from_dict)
        if process.state is not ProcessState.RUNNING:
            return parsed(response, lambda answer: _checked(answer["result"]))


def _checked(answer: Any) -> ExecResponse:
    """Read the outcome of a command; raise TypeError where it is not as in openapi.yaml."""
    from lunette_api.models import ExecResponse

    result = ExecResponse.from_dict(answer)
    # The generated code takes whatever comes for what it should be.
    found: list[Any] = [result.stdout, result.stderr, result.exit_code]
    if [type(value) for value in found] != [str, str, int]:
        raise TypeError("stdout, stderr and exit_code must be two strings and an integer")
    return result


def _request(
    command: str | Sequence[str],
    cwd: str | None,
    env: Mapping[str, str] | None,
    timeout: float | None,
    input: str | bytes | None,
) -> ExecRequest:
    from lunette_api.models import ExecRequest, ExecRequestEnv
    from lunette_api.types import UNSET

    body = ExecRequest(command=_command(command), input_encoding=UNSET, output_limit=UNSET)
    if cwd is not None:
        body.cwd = _cwd(cwd)
    if env is not None:
        body.env = ExecRequestEnv.from_dict(_env(env))
    if timeout is not None:
        body.timeout = _timeout(timeout)
    _set_input(body, input)
    return body


def _set_input(body: ExecRequest, input: str | bytes | None) -> None:
    from lunette_api.models import ExecRequestInputEncoding

    if isinstance(input, bytes | bytearray | memoryview):
        body.input_ = base64.b64encode(input).decode("ascii")
        body.input_encoding = ExecRequestInputEncoding.BASE64
    elif input is not None:
        body.input_ = _encodable(input, "input")


def _command(command: object) -> str | list[str]:
    if isinstance(command, str):
        return _text(command, "command")
    if not isinstance(command, Sequence) or isinstance(command, bytes | bytearray):
        raise TypeError(f"command must be a string or strings, not {type(command).__name__}")
    parts = cast("Sequence[object]", command)
    words = [_word(part, f"command[{n}]") for n, part in enumerate(parts)]
    if not words or not words[0]:
        raise ValueError("command must name a program")
    return words


def _cwd(value: object) -> str:
    path = _text(value, "cwd")
    if len(path) > _LONGEST_PATH:
        raise ValueError(f"cwd must be at most {_LONGEST_PATH} characters, not {len(path)}")
    return path


def _text(value: object, name: str) -> str:
    if not _word(value, name):
        raise ValueError(f"{name} must not be empty")
    return _word(value, name)


def _word(value: object, name: str) -> str:
    text = _encodable(value, name)
    if "\0" in text:
        raise ValueError(f"{name} must not contain a NUL character")
    return text


def _encodable(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} cannot be written as UTF-8: {error.reason}") from None
    return value


def _env(env: object) -> dict[str, str]:
    if not isinstance(env, Mapping):
        raise TypeError(f"env must be a mapping, not {type(env).__name__}")
    variables = cast("Mapping[object, object]", env)
    return {_variable(k): _word(value, f"env[{k!r}]") for k, value in variables.items()}


def _variable(name: object) -> str:
    text = _text(name, "env: a name")
    if "=" in text:
        raise ValueError(f"env: the name {text!r} must not contain '='")
    return text


def _timeout(value: object) -> float:
    try:
        return checked_seconds(value, _LONGEST_TIMEOUT)
    except (TypeError, ValueError) as error:
        raise type(error)(f"timeout {error}") from None


def _output_limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"output_limit must be a number of bytes, not {type(value).__name__}")
    if not 0 <= value <= _LARGEST_OUTPUT_LIMIT:
        raise ValueError(f"output_limit must be 0 to {_LARGEST_OUTPUT_LIMIT} bytes, not {value}")
    return value


def _result(wire: ExecResponse) -> ExecResult:
    from ..results import ExecResult

    return ExecResult(
        wire.stdout,
        wire.stderr,
        wire.exit_code,
        signal=wire.signal or None,  # what was not sent is a falsy UNSET
        timed_out=bool(wire.timed_out),
        truncated=wire.truncated or 0,
        duration=wire.duration if isinstance(wire.duration, int | float) else None,
        stdout_base64=wire.stdout_base64 or None,
        stderr_base64=wire.stderr_base64 or None,
    )


def _log_failure(sandbox_id: str, command: object, result: ExecResult) -> None:
    stderr = result.stderr[:_STDERR_IN_LOG]
    logger.warning("[%s] exit code %d: %s: %s", sandbox_id, result.exit_code, command, stderr)
