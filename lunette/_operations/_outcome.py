"""How a command ended: waiting for it, and what is made of it."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import errors
from .._io import IO
from . import parsed, seconds_to_wait

if TYPE_CHECKING:
    from lunette_api.models import ExecResponse, Process

    from ..results import ExecResult

__all__ = ["checked_outcome", "judged", "log_failure", "look", "outcome", "result_of"]

logger = logging.getLogger(__name__)

_STDERR_IN_LOG = 500


async def outcome(io: IO, sandbox_id: str, process_id: str) -> ExecResponse:
    """Wait for the end of a command."""
    while True:
        _, found = await look(io, sandbox_id, process_id, seconds_to_wait(io))
        if found is not None:
            return found


async def look(
    io: IO, sandbox_id: str, process_id: str, wait: float | None = None
) -> tuple[Process, ExecResponse | None]:
    """Look at a command, or *wait* some seconds for its end; the outcome is None while it runs."""
    from lunette_api.api.commands import get_process
    from lunette_api.models import Process, ProcessState
    from lunette_api.types import UNSET

    request = get_process._get_kwargs(sandbox_id, process_id, wait=UNSET if wait is None else wait)
    response = await io.send(request)
    process = parsed(response, Process.from_dict)
    if process.state is ProcessState.RUNNING:
        return process, None
    return process, parsed(response, lambda answer: checked_outcome(answer["result"]))


def checked_outcome(answer: Any) -> ExecResponse:
    """Read the outcome of a command; raise TypeError where it is not as in openapi.yaml."""
    from lunette_api.models import ExecResponse

    result = ExecResponse.from_dict(answer)
    # The generated code takes whatever comes for what it should be.
    found: list[Any] = [result.stdout, result.stderr, result.exit_code]
    if [type(value) for value in found] != [str, str, int]:
        raise TypeError("stdout, stderr and exit_code must be two strings and an integer")
    return result


def result_of(wire: ExecResponse) -> ExecResult:
    """Return an outcome as users see it."""
    from ..results import ExecResult

    return ExecResult(
        wire.stdout,
        wire.stderr,
        wire.exit_code,
        signal=wire.signal or None,  # what was not sent is a falsy UNSET
        timed_out=bool(wire.timed_out),
        out_of_memory=bool(wire.out_of_memory),
        truncated=wire.truncated or 0,
        duration=wire.duration if isinstance(wire.duration, int | float) else None,
        stdout_base64=wire.stdout_base64 or None,
        stderr_base64=wire.stderr_base64 or None,
    )


def log_failure(sandbox_id: str, command: object, result: ExecResult) -> None:
    """Log a command that failed."""
    if result.success and not result.timed_out:
        return
    stderr = result.stderr[:_STDERR_IN_LOG]
    how = f"exit code {result.exit_code}{', out of memory' if result.out_of_memory else ''}"
    logger.warning("[%s] %s: %s: %s", sandbox_id, how, command, stderr)


def judged(
    command: str | Sequence[str], timeout: float | None, result: ExecResult, *, check: bool
) -> ExecResult:
    """Return the *result*, unless it is one that is raised."""
    if result.timed_out:
        raise errors.ExecTimeoutError(command, timeout or result.duration or math.nan, result)
    if check and not result.success:
        raise errors.ExecFailedError(command, result)
    return result
