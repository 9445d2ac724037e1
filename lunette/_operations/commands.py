"""Run commands in a sandbox."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import codecs
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .. import errors
from .._io import IO
from .._retry import may_have_acted
from . import abandon, held_back, parsed, processes, published
from ._command import command_fields
from ._outcome import checked_outcome, judged, log_failure, outcome, result_of
from ._output import follow
from .server import is_published

if TYPE_CHECKING:
    from lunette_api.models import ExecResponse

    from ..results import ExecResult

__all__ = ["Listener", "execute"]

Listener = Callable[[str], object]
"""A function that is told text; what it answers is awaited, if that can be."""

logger = logging.getLogger(__name__)

# After a 202, errors that say that nothing is left to kill.
_OVER = (errors.SandboxDestroyedError, errors.OutcomeExpiredError)


async def execute(
    io: IO,
    sandbox_id: str,
    command: str | Sequence[str],
    *,
    cwd: str | None,
    env: Mapping[str, str] | None,
    user: str | None,
    timeout: float | None,  # noqa: ASYNC109 - the server keeps it, and kills the command
    input: str | bytes | None,
    output_limit: int | None,
    check: bool,
    on_stdout: Listener | None,
    on_stderr: Listener | None,
) -> ExecResult:
    """Run a command to its end."""
    _refuse_pipe(input)
    fields = command_fields(
        command,
        cwd=cwd,
        env=env,
        user=user,
        timeout=timeout,
        input=input,
        output_limit=output_limit,
    )
    listeners = _listeners(on_stdout, on_stderr)
    logger.debug("[%s] exec: %s", sandbox_id, command)
    if await is_published(io):
        wire = await published.execute(io, sandbox_id, fields, listens=bool(listeners))
    elif listeners:
        wire = await _told(io, sandbox_id, fields, listeners)
    else:
        wire = await _run(io, sandbox_id, fields)
    result = result_of(wire)
    log_failure(sandbox_id, command, result)
    return judged(command, timeout, result, check=check)


async def _run(io: IO, sandbox_id: str, fields: Mapping[str, Any]) -> ExecResponse:
    from lunette_api.api.commands import exec_command, kill_process
    from lunette_api.models import ExecRequest

    # By the key the server knows the command again, however often it is sent.
    key = os.urandom(16).hex()
    body = ExecRequest.from_dict(fields)
    request = exec_command._get_kwargs(
        sandbox_id, body=body, idempotency_key=key, prefer=held_back(io)
    )
    accepted = False
    try:
        response = await io.send(request)
        accepted = response.status_code == 202
        if accepted:
            return await outcome(io, sandbox_id, key)
        return parsed(response, checked_outcome)
    except BaseException as error:
        if may_have_acted(error) or (accepted and not isinstance(error, _OVER)):
            await abandon(io, kill_process._get_kwargs(sandbox_id, key))
        raise


async def _told(
    io: IO, sandbox_id: str, fields: Mapping[str, Any], listeners: Mapping[str, Listener]
) -> ExecResponse:
    """Start a command and tell what it writes; it dies with whatever goes wrong meanwhile."""
    from lunette_api.api.commands import kill_process

    started = await processes.begin(io, sandbox_id, fields)
    decoders = {stream: _Decoder(listener) for stream, listener in listeners.items()}
    try:
        async with aclosing(follow(io, started.output)) as chunks:
            async for stream, data in chunks:
                if stream in decoders:
                    await decoders[stream].tell(data)
        for decoder in decoders.values():
            await decoder.tell(b"", last=True)
        return await outcome(io, sandbox_id, started.process_id)
    except BaseException as error:
        if not isinstance(error, _OVER):
            await abandon(io, kill_process._get_kwargs(sandbox_id, started.process_id))
        raise


class _Decoder:
    """Tells a *listener* the text of one stream."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def tell(self, data: bytes, *, last: bool = False) -> None:
        text = self._decoder.decode(data, last)
        answer = self._listener(text) if text else None
        if isinstance(answer, Awaitable):
            await answer


def _refuse_pipe(input: object) -> None:
    if isinstance(input, processes.Pipe):
        raise TypeError("input must be a string or bytes; PIPE is for start")


def _listeners(on_stdout: object, on_stderr: object) -> dict[str, Listener]:
    given = {"stdout": on_stdout, "stderr": on_stderr}
    listeners: dict[str, Listener] = {}
    for stream, listener in given.items():
        if callable(listener):
            listeners[stream] = listener
        elif listener is not None:
            raise TypeError(f"on_{stream} must be a function, not {type(listener).__name__}")
    return listeners
