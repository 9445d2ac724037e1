"""Processes, which live on by themselves, and what is asked of commands: the rest of the tag
`commands`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from time import monotonic
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from lunette.server import _contract
from lunette.server._bodies import parse_json, raw, read_json, read_json_body, require_media_type
from lunette.server._events import Events
from lunette.server._input import Input, closed
from lunette.server._json import answer, answer_large
from lunette.server._load import FOLLOWERS, Gate, announced_bytes, input_gate
from lunette.server._outcomes import answer_process, outcome_of
from lunette.server._problems import Problem
from lunette.server._pump import pump
from lunette.server._resource import Resource
from lunette.server._run import Run, seen
from lunette.server._started import Started
from lunette.server._starting import Starting, command_of, stdin_of, terminal_size
from lunette.server._waiting import disconnected, queried_wait
from lunette.server.engines.protocol import CommandNotRunnableError, Exit, Process
from lunette.server.output import OUTPUT_LIMIT, Outcome
from lunette.server.registry import Registry, Sandbox
from lunette.server.store import KnownCommand

__all__ = ["INPUT_CHUNK", "Processes"]

# The largest body of standard input.
INPUT_CHUNK = 1 << 20
_KEY = "Idempotency-Key"
_LAST_EVENT = "Last-Event-ID"
_LARGE = 256 * 1024
_CLOSE_SECONDS = 2.0
_WITHOUT_INPUT = (
    "it was started without input=PIPE or tty=True in Python, 'interactive' or 'tty' in the API"
)


class Processes:
    """Start processes, and follow, feed, signal and end them."""

    def __init__(self, registry: Registry, starting: Starting, bodies: Gate) -> None:
        self._registry = registry
        self._starting = starting
        self._bodies = bodies
        self._unread = input_gate()
        self._followers = Gate(FOLLOWERS, "followers of processes")
        self._living: set[asyncio.Task[Outcome]] = set()
        self._draining: set[asyncio.Task[None]] = set()

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this tag."""
        path = "/sandboxes/{sandbox_id}/processes"
        one = f"{path}/{{process_id}}"
        return {
            one: Resource(GET=self._get, PUT=self._start, DELETE=self._kill),
            path: Resource(GET=self._list),
            f"{one}/output": Resource(GET=self._follow),
            f"{one}/input": Resource(PUT=self._write),
            f"{one}/signal": Resource(POST=self._signal),
            f"{one}/terminal": Resource(PUT=self._resize),
        }

    async def aclose(self) -> None:
        """Wait for those that end with their sandboxes, and leave what does not."""
        tasks: list[asyncio.Task[Any]] = [*self._living, *self._draining]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _list(self, request: Request) -> Response:
        _contract.check_query("list_processes", request)
        runs = self._sandbox(request).runs.all()
        size = sum(run.command_size for run in runs)
        return await answer_large(
            {"processes": [run.describe() for run in runs]}, is_large=size > _LARGE
        )

    async def _get(self, request: Request) -> Response:
        _contract.check_query("get_process", request)
        sandbox_id, key = _ids(request)
        found = self._found(sandbox_id, key)
        started = self._registry.runs(sandbox_id).started(key)
        outcome = await outcome_of(found, queried_wait(request), started)
        if outcome is None:
            return answer(started.describe() if started else _bare(key, "running"))
        known = started.describe() if started else _bare(key, "ended")
        return await answer_process(known, outcome)

    async def _start(self, request: Request) -> Response:
        _contract.check_parameters("start_process", request.path_params)
        sandbox_id, key = _ids(request)
        content = await read_json_body(request)
        body = parse_json(content, "start_process")
        stdin = stdin_of(body)
        # Not that of an `exec` with the same body.
        digest = hashlib.blake2b(content, digest_size=16, person=b"start").digest()
        found = await self._starting.joined(sandbox_id, key, digest)
        if isinstance(found, Sandbox):
            started = self._begin(found, key, digest, body, stdin)
            await started.ready()
            return answer(started.describe(), 201)
        known = self._registry.runs(sandbox_id).started(key)
        if known is not None:
            await known.ready()
            return answer(known.describe())
        outcome = await outcome_of(found, 0)
        code = {} if outcome is None else {"exit_code": outcome.exit_code}
        return answer(_bare(key, "ended") | code)

    def _begin(
        self,
        sandbox: Sandbox,
        key: str,
        digest: bytes,
        body: Mapping[str, Any],
        stdin: bytes | None,
    ) -> Started:
        started = Started(
            key,
            digest,
            body["command"],
            log=sandbox.runs.new_log(),
            input=Input(len(stdin or b"")),
            name=body.get("name"),
            takes_input=body.get("interactive", False) or "tty" in body,
            has_terminal="tty" in body,
            output_limit=int(body.get("output_limit", OUTPUT_LIMIT)),
        )
        sandbox.runs.start(started)
        launch = functools.partial(self._launch, sandbox, body, stdin)
        live = self._live(sandbox, started, launch, body.get("timeout"))
        task = asyncio.create_task(sandbox.runs.follow(started, live))
        self._living.add(task)
        task.add_done_callback(self._living.discard)
        task.add_done_callback(seen)  # those who ask for the process are told
        return started

    async def _launch(
        self, sandbox: Sandbox, body: Mapping[str, Any], stdin: bytes | None
    ) -> Process:
        """Start a process, and count its input until it has read it."""
        with contextlib.ExitStack() as unread:
            if stdin:
                unread.enter_context(self._unread.entered(len(stdin)))
            engine, _, handle = await self._registry.running(sandbox.id)
            command = command_of(body, sandbox.spec.sandbox.environment, stdin)
            process = await self._starting.start(engine, handle, command)
            if stdin:
                self._let_go_of(process, unread.pop_all())
        return process

    def _let_go_of(self, process: Process, unread: contextlib.ExitStack) -> None:
        """Close *unread* when *process* has read what it began with, or never will."""

        def done(task: asyncio.Task[None]) -> None:
            self._draining.discard(task)
            unread.close()
            seen(task)

        task = asyncio.create_task(process.drained())
        self._draining.add(task)
        task.add_done_callback(done)

    async def _live(
        self,
        sandbox: Sandbox,
        run: Started,
        launch: Callable[[], Awaitable[Process]],
        seconds: float | None,
    ) -> Outcome:
        begun = monotonic()
        with self._registry.work_in(sandbox):
            try:
                process = await launch()
            except CommandNotRunnableError as error:
                run.log.write(2, f"{error}\n".encode())
                exit_, timed_out = Exit(code=error.exit_code), False
            else:
                del launch  # with all that the process was told, which may be much
                await run.started(process)
                exit_, timed_out = await pump(process, run.log, seconds)
            duration = round(monotonic() - begun, 6)
            run.log.finish()
            return await run.with_output(
                Outcome(
                    exit_code=exit_.code,
                    signal=exit_.signal,
                    timed_out=timed_out,
                    out_of_memory=exit_.out_of_memory,
                    duration=duration,
                )
            )

    async def _kill(self, request: Request) -> Response:
        _contract.check_parameters("kill_process", request.path_params)
        sandbox_id, key = _ids(request)
        try:
            sandbox = self._registry.get(sandbox_id)
            with self._registry.work_in(sandbox):
                await sandbox.runs.kill(key)
        except Problem as problem:
            if problem.status != 410:  # with the sandbox, the command is gone
                raise
        return Response(status_code=204)

    async def _follow(self, request: Request) -> Response:
        given = _contract.check_query("follow_process", request)
        started = await self._started(request)
        offset = int(given.get(_LAST_EVENT, 0))
        if offset > started.log.end:
            detail = f"the process has written {started.log.end} bytes, not {offset}"
            raise Problem(422, "invalid_request", detail, key=_LAST_EVENT)
        following = given.get("follow", True)
        return Events(started, offset, self._followers, following=following)

    async def _write(self, request: Request) -> Response:
        given = _contract.check_query("write_input", request)
        require_media_type(request, "application/octet-stream", "")
        size = min(announced_bytes(request.scope["headers"]), INPUT_CHUNK)
        with self._bodies.entered(size):
            data = b"".join([chunk async for chunk in raw(request.receive, INPUT_CHUNK)])
            started = await self._usable(request)
            if not started.takes_input:
                raise closed(_WITHOUT_INPUT)
            end, wait = given.get("end", False), float(given.get("wait", 0))
            writing = started.input.write(int(given["offset"]), data, end=end, wait=wait)
            with self._registry.work_in(self._sandbox(request)):
                offset = await _while_connected(request, writing)
        return answer({"offset": offset})

    async def _signal(self, request: Request) -> Response:
        given = _contract.check_query("signal_process", request)
        number = _signal_number((await read_json(request, "signal_process"))["signal"])
        started = await self._usable(request)
        if number == signal.SIGKILL:
            return await self._kill(request)
        with self._registry.work_in(self._sandbox(request)):
            await started.signal(number, given.get(_KEY))
        return Response(status_code=204)

    async def _resize(self, request: Request) -> Response:
        _contract.check_query("resize_terminal", request)
        size = terminal_size(await read_json(request, "resize_terminal"))
        started = await self._usable(request)
        if not started.has_terminal:
            raise Problem(422, "not_supported", "the process has no terminal", key="tty")
        with self._registry.work_in(self._sandbox(request)):
            if started.process is not None:
                await started.process.resize(size)
        return Response(status_code=204)

    async def _usable(self, request: Request) -> Started:
        """Return a process that was started; raise what its sandbox came to."""
        started = await self._started(request)
        if started.problem is not None:
            raise started.problem.again()
        return started

    def _sandbox(self, request: Request) -> Sandbox:
        return self._registry.get(request.path_params["sandbox_id"])

    async def _started(self, request: Request) -> Started:
        """Return a process that was started, when it has; raise why there is none."""
        sandbox_id, key = _ids(request)
        started = self._registry.runs(sandbox_id).started(key)
        if started is None:
            self._registry.get(sandbox_id)
            self._found(sandbox_id, key)
            detail = (
                f"'{key}' is a command of exec, and cannot be followed, written to or signalled;"
                " start it, or give exec an on_stdout"
            )
            raise Problem(422, "not_supported", detail, key="process_id")
        await started.ready()
        return started

    def _found(self, sandbox_id: str, key: str) -> Run | KnownCommand:
        found = self._registry.runs(sandbox_id).find(key)
        if found is not None:
            return found
        self._registry.get(sandbox_id)
        detail = (
            f"there is no process '{key}' in this sandbox: processes are found by their whole id"
        )
        raise Problem(404, "process_not_found", detail)


def _ids(request: Request) -> tuple[str, str]:
    return request.path_params["sandbox_id"], request.path_params["process_id"]


def _bare(key: str, state: str) -> dict[str, Any]:
    return {"process_id": key, "state": state}


async def _while_connected(request: Request, work: Coroutine[Any, Any, int]) -> int:
    """Do *work* for as long as the client waits for it."""
    task = asyncio.ensure_future(work)
    listener = asyncio.create_task(disconnected(request.receive))
    try:
        await asyncio.wait([task, listener], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        listener.cancel()


def _signal_number(given: str | float) -> int:
    if not isinstance(given, str):
        return int(given)
    name = given.upper()
    found = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
    if found is None:
        raise Problem(422, "invalid_request", f"there is no signal '{given}'", key="signal")
    return found.value
