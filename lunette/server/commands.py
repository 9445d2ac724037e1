"""Commands that run to their end while somebody waits: `exec` of the tag `commands`."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lunette.server import _contract
from lunette.server._bodies import parse_json, read_json_body
from lunette.server._clock import Clock
from lunette.server._json import answer
from lunette.server._outcomes import answer_outcome, outcome_of
from lunette.server._resource import Resource
from lunette.server._run import Run
from lunette.server._starting import Starting, command_of, stdin_of
from lunette.server._waiting import preferred_wait
from lunette.server.engines.protocol import CommandNotRunnableError, Process
from lunette.server.output import OUTPUT_LIMIT, Outcome, Output
from lunette.server.registry import Registry, Sandbox

__all__ = ["Commands"]

_KEY = "Idempotency-Key"


class Commands:
    """Run commands in sandboxes."""

    def __init__(self, registry: Registry, starting: Starting) -> None:
        self._registry = registry
        self._starting = starting

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this tag."""
        return {"/sandboxes/{sandbox_id}/exec": Resource(POST=self._exec)}

    async def _exec(self, request: Request) -> ASGIApp:
        key = request.headers.get("idempotency-key")
        if key is not None:
            _contract.check_parameters("exec_command", {**request.path_params, _KEY: key})
        content = await read_json_body(request)
        body = parse_json(content, "exec_command")
        stdin = stdin_of(body)
        wait = preferred_wait(request)
        if key is None and wait is None:
            # Of the published wire: a command that nobody can name.
            sandbox = self._registry.get(request.path_params["sandbox_id"])
            return await answer_outcome(await self._run(sandbox, None, body, stdin))
        key = key or uuid.uuid4().hex
        digest = hashlib.blake2b(content, digest_size=16).digest()
        found = await self._starting.joined(request.path_params["sandbox_id"], key, digest)
        if isinstance(found, Sandbox):
            run = found.runs.begin(key, digest, body["command"])
            work = found.runs.follow(run, self._run(found, run, body, stdin))
            return _Working(work, wait, lambda: _accepted(request, key))
        outcome = await outcome_of(found, wait)
        return _accepted(request, key) if outcome is None else await answer_outcome(outcome)

    async def _run(
        self, sandbox: Sandbox, run: Run | None, body: Mapping[str, Any], stdin: bytes | None
    ) -> Outcome:
        engine, _, handle = await self._registry.running(sandbox.id)
        command = command_of(body, sandbox.spec.sandbox.environment, stdin)
        begun = monotonic()  # a moment early, rather than late when the server is busy
        with self._registry.work_in(sandbox):
            try:
                process = await self._starting.start(engine, handle, command)
            except CommandNotRunnableError as error:
                return Outcome(stderr=f"{error}\n".encode(), exit_code=error.exit_code)
            if run is not None:
                await run.started(process)
            limit = int(body.get("output_limit", OUTPUT_LIMIT))
            return await _follow(process, begun, limit, body.get("timeout"))


class _Working:
    """An answer that does the *work* first, and is one of *accepted* where that takes long.

    The request does it itself: a task of its own would cost each command three turns of the loop.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, Outcome],
        wait: float | None,
        accepted: Callable[[], Response],
    ) -> None:
        self._work = work
        self._wait = wait
        self._accepted = accepted
        self._answering: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        def accept() -> None:
            self._answering = loop.create_task(self._accepted()(scope, receive, send))

        loop = asyncio.get_running_loop()
        timer = None if self._wait is None else loop.call_later(self._wait, accept)
        try:
            outcome = await self._work
        except Exception:
            if self._answering is None:
                raise
            return  # those who ask for the process are told
        finally:
            if timer is not None:
                timer.cancel()
            if self._answering is not None:
                await self._answering
        if self._answering is None:
            await (await answer_outcome(outcome))(scope, receive, send)


def _accepted(request: Request, key: str) -> Response:
    path = f"/sandboxes/{request.path_params['sandbox_id']}/processes/{key}"
    response = answer({"process_id": key, "state": "running"}, 202)
    response.headers.update({"Location": path, "Preference-Applied": "respond-async"})
    return response


async def _follow(process: Process, begun: float, limit: int, seconds: float | None) -> Outcome:
    """Take the output of a command until it ends, or is killed after *seconds*."""
    streams = {1: Output(limit), 2: Output(limit)}
    clock = None if seconds is None else Clock(process, seconds)
    try:
        async for number, data in process.output():
            streams[number].write(data)
        exit_ = await process.wait()
        if clock is not None:
            await clock.finished()
    finally:
        if clock is not None:
            clock.stop()
    stdout, stderr = streams[1].kept(), streams[2].kept()
    return Outcome(
        stdout=stdout,
        stderr=stderr,
        exit_code=exit_.code,
        signal=exit_.signal,
        timed_out=clock is not None and clock.timed_out(exit_),
        out_of_memory=exit_.out_of_memory,
        truncated=streams[1].total + streams[2].total - len(stdout) - len(stderr),
        duration=round(monotonic() - begun, 6),
    )
