"""How commands ended, as the contract has it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from lunette.server._json import answer_large
from lunette.server._problems import Problem
from lunette.server._run import Run
from lunette.server._started import Started
from lunette.server.output import Outcome
from lunette.server.store import KnownCommand

__all__ = ["answer_outcome", "answer_process", "outcome_of"]

_LARGE = 256 * 1024


async def outcome_of(
    found: Run | KnownCommand, wait: float | None, started: Started | None = None
) -> Outcome | None:
    """Return how a command ended, or None if it still runs after *wait* seconds."""
    if isinstance(found, Run):
        return await found.outcome(wait)
    outcome = await found.outcome()
    if outcome is None and started is not None:
        outcome = await started.outcome_again()
    if outcome is None:
        detail = "the command was started, but how it ended is not known any more"
        raise Problem(409, "outcome_expired", detail)
    return outcome


async def answer_outcome(outcome: Outcome) -> Response:
    """Return the `ExecResponse` of the contract."""
    return await answer_large(_wire(outcome), outcome.size > _LARGE)


async def answer_process(process: Mapping[str, Any], outcome: Outcome) -> Response:
    """Return the `Process` of the contract, with its outcome."""
    return await answer_large({**process, "result": _wire(outcome)}, outcome.size > _LARGE)


def _wire(outcome: Outcome) -> dict[str, Any]:
    result: dict[str, Any] = {
        **_as_text("stdout", outcome.stdout),
        **_as_text("stderr", outcome.stderr),
        "exit_code": outcome.exit_code,
        "timed_out": outcome.timed_out,
        "truncated": outcome.truncated,
        "duration": outcome.duration,
    }
    if outcome.signal is not None:
        result["signal"] = outcome.signal
    if outcome.out_of_memory:
        result["out_of_memory"] = True
    return result


def _as_text(name: str, data: bytes) -> dict[str, str]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        exact = base64.b64encode(data).decode()
        return {name: data.decode(errors="replace"), f"{name}_base64": exact}
