"""The tag `commands` of the contract."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import signal
import uuid
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lunette.server import _contract
from lunette.server._bodies import parse_json, read_json_body
from lunette.server._json import answer, answer_large
from lunette.server._load import STARTING_COMMANDS, Gate
from lunette.server._problems import Problem, file_errors
from lunette.server._resource import Resource
from lunette.server._waiting import preferred_wait, queried_wait
from lunette.server.engines.protocol import (
    Command,
    CommandNotRunnableError,
    Process,
)
from lunette.server.output import OUTPUT_LIMIT, Outcome, Output
from lunette.server.registry import Registry, Sandbox
from lunette.server.runs import Run, seen
from lunette.server.store import KnownCommand

__all__ = ["Commands", "decode_text"]

_KEY = "Idempotency-Key"
_LARGE = 256 * 1024


class Commands:
    """Run commands in sandboxes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._starting = Gate(STARTING_COMMANDS, "commands that are being started")

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this tag."""
        return {
            "/sandboxes/{sandbox_id}/exec": Resource(POST=self._exec),
            "/sandboxes/{sandbox_id}/processes/{process_id}": Resource(
                GET=self._get, DELETE=self._kill
            ),
        }

    async def _exec(self, request: Request) -> ASGIApp:
        key = request.headers.get("idempotency-key")
        if key is not None:
            _contract.check_parameters("exec_command", {**request.path_params, _KEY: key})
        content = await read_json_body(request)
        body = parse_json(content, "exec_command")
        stdin = _stdin(body)
        wait = preferred_wait(request)
        if key is None and wait is None:
            # Of the published wire: a command that nobody can name.
            sandbox = self._registry.get(request.path_params["sandbox_id"])
            return await _answer(await self._run(sandbox, None, body, stdin))
        key = key or uuid.uuid4().hex
        digest = hashlib.blake2b(content, digest_size=16).digest()
        found = await self._joined(request, key, digest)
        if isinstance(found, Sandbox):
            run = found.runs.begin(key, digest)
            work = found.runs.follow(run, self._run(found, run, body, stdin))
            return _Working(work, wait, lambda: _accepted(request, key))
        outcome = await _outcome_of(found, wait)
        return _accepted(request, key) if outcome is None else await _answer(outcome)

    async def _joined(
        self, request: Request, key: str, digest: bytes
    ) -> Run | KnownCommand | Sandbox:
        """Return the command of *key*, or the sandbox for a new one."""
        sandbox_id = request.path_params["sandbox_id"]
        runs = self._registry.runs(sandbox_id)
        found = runs.join(key, digest)
        if found is not None:
            return found
        sandbox = self._registry.get(sandbox_id)
        if sandbox.handle is None:
            await self._registry.running(sandbox_id)
        # Asked again, since another request may have been faster meanwhile.
        return sandbox.runs.join(key, digest) or sandbox

    async def _run(
        self, sandbox: Sandbox, run: Run | None, body: Mapping[str, Any], stdin: bytes | None
    ) -> Outcome:
        engine, _, handle = await self._registry.running(sandbox.id)
        command = _command(body, sandbox.spec.sandbox.environment, stdin)
        begun = monotonic()  # a moment early, rather than late when the server is busy
        with self._registry.work_in(sandbox):
            try:
                with self._starting.entered(), file_errors():
                    process = await engine.exec(handle, command)
            except CommandNotRunnableError as error:
                return Outcome(stderr=f"{error}\n".encode(), exit_code=error.exit_code)
            if run is not None:
                await run.started(process)
            limit = int(body.get("output_limit", OUTPUT_LIMIT))
            return await _follow(process, begun, limit, body.get("timeout"))

    async def _get(self, request: Request) -> Response:
        _contract.check_query("get_process", request)
        key = request.path_params["process_id"]
        found = self._found(request.path_params["sandbox_id"], key)
        outcome = await _outcome_of(found, queried_wait(request))
        if outcome is None:
            return answer({"process_id": key, "state": "running"})
        return await answer_large(
            {"process_id": key, "state": "ended", "result": _wire(outcome)}, outcome.size > _LARGE
        )

    def _found(self, sandbox_id: str, key: str) -> Run | KnownCommand:
        found = self._registry.runs(sandbox_id).find(key)
        if found is not None:
            return found
        self._registry.get(sandbox_id)
        raise Problem(404, "process_not_found", f"no command was sent under the key '{key}'")

    async def _kill(self, request: Request) -> Response:
        _contract.check_parameters("kill_process", request.path_params)
        try:
            sandbox = self._registry.get(request.path_params["sandbox_id"])
            with self._registry.work_in(sandbox):
                await sandbox.runs.kill(request.path_params["process_id"])
        except Problem as problem:
            if problem.status != 410:  # with the sandbox, the command is gone
                raise
        return Response(status_code=204)


async def _outcome_of(found: Run | KnownCommand, wait: float | None) -> Outcome | None:
    """Return how a command ended, or None if it still runs after *wait* seconds."""
    if isinstance(found, Run):
        return await found.outcome(wait)
    outcome = await found.outcome()
    if outcome is None:
        detail = "the command was started, but how it ended is not known any more"
        raise Problem(409, "outcome_expired", detail)
    return outcome


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
            await (await _answer(outcome))(scope, receive, send)


async def _answer(outcome: Outcome) -> Response:
    return await answer_large(_wire(outcome), outcome.size > _LARGE)


def _accepted(request: Request, key: str) -> Response:
    path = f"/sandboxes/{request.path_params['sandbox_id']}/processes/{key}"
    response = answer({"process_id": key, "state": "running"}, 202)
    response.headers.update({"Location": path, "Preference-Applied": "respond-async"})
    return response


def decode_text(text: str, encoding: str, key: str) -> bytes:
    """Return the bytes that a field of a body stands for."""
    if encoding == "utf-8":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(422, "invalid_request", f"'{key}' is no base64: {error}", key=key) from None


def _stdin(body: Mapping[str, Any]) -> bytes | None:
    text = body.get("input")
    if text is None:
        return None
    return decode_text(text, body.get("input_encoding", "utf-8"), "input")


def _command(body: Mapping[str, Any], service: Mapping[str, str], stdin: bytes | None) -> Command:
    command: str | list[str] = body["command"]
    argv = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
    env = {**service, **body.get("env", {})}
    return Command(argv=argv, cwd=body.get("cwd"), env=env, stdin=stdin)


async def _follow(process: Process, begun: float, limit: int, seconds: float | None) -> Outcome:
    """Take the output of a command until it ends, or is killed after *seconds*."""
    streams = {1: Output(limit), 2: Output(limit)}
    clock = None if seconds is None else _Clock(process, seconds)
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
        # Who died by another hand at the last moment did not time out.
        timed_out=clock is not None and clock.ran_out and exit_.signal == signal.SIGKILL,
        truncated=streams[1].total + streams[2].total - len(stdout) - len(stderr),
        duration=round(monotonic() - begun, 6),
    )


class _Clock:
    """Kills a command that is still running after its timeout."""

    def __init__(self, process: Process, seconds: float) -> None:
        self.ran_out = False
        self._process = process
        self._killing: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._killing = asyncio.ensure_future(self._kill())
        self._killing.add_done_callback(seen)

    async def _kill(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await self._process.wait()
                return  # its output alone is not all taken yet
        self.ran_out = True
        await self._process.kill()

    async def finished(self) -> None:
        """Wait for the end of a kill that has begun, whatever that is."""
        if self._killing is not None:
            await asyncio.wait([self._killing])

    def stop(self) -> None:
        """Forget the timeout."""
        self._timer.cancel()
        if self._killing is not None:
            self._killing.cancel()


def _wire(outcome: Outcome) -> dict[str, Any]:
    """Return the `ExecResponse` of the contract."""
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
    return result


def _as_text(name: str, data: bytes) -> dict[str, str]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        exact = base64.b64encode(data).decode()
        return {name: data.decode(errors="replace"), f"{name}_base64": exact}
