"""The tag `commands` of the contract."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from starlette.requests import Request
from starlette.responses import Response

from lunette.server import _contract
from lunette.server._bodies import read_json
from lunette.server._json import answer
from lunette.server._problems import Problem, file_errors
from lunette.server._resource import Resource
from lunette.server.engines.protocol import (
    Command,
    CommandNotRunnableError,
    Exit,
    Process,
)
from lunette.server.keys import Run
from lunette.server.output import Output
from lunette.server.registry import Registry

__all__ = ["Commands", "decode_text"]


class Commands:
    """Run commands in sandboxes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this tag."""
        return {
            "/sandboxes/{sandbox_id}/exec": Resource(POST=self._exec),
            "/sandboxes/{sandbox_id}/processes/{process_id}": Resource(DELETE=self._kill),
        }

    async def _exec(self, request: Request) -> Response:
        key = request.headers.get("idempotency-key")
        if key is not None:
            _contract.check_parameters("exec_command", {**request.path_params, _KEY: key})
        body = await read_json(request, "exec_command")
        stdin = _stdin(body)
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])
        command = _command(body, sandbox.spec.sandbox.environment, stdin)
        run = sandbox.keys.claim(key)
        try:
            with self._registry.work_in(sandbox):
                with file_errors():
                    process = await engine.exec(handle, command)
                return answer(await _follow(process, run, body.get("timeout")))
        except CommandNotRunnableError as error:
            return answer(_not_runnable(error))
        finally:
            sandbox.keys.end(run)

    async def _kill(self, request: Request) -> Response:
        _contract.check_parameters("kill_process", request.path_params)
        try:
            sandbox = self._registry.get(request.path_params["sandbox_id"])
            with self._registry.work_in(sandbox):
                await sandbox.keys.kill(request.path_params["process_id"])
        except Problem as problem:
            if problem.status != 410:  # with the sandbox, the command is gone
                raise
        return Response(status_code=204)


_KEY = "Idempotency-Key"


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


@define
class _Clock:
    """Kills a command that is still running after its timeout."""

    process: Process
    end: asyncio.Task[Exit]
    seconds: float
    ran_out: bool = field(default=False, init=False)

    async def run(self) -> None:
        await asyncio.wait([self.end], timeout=self.seconds)
        if self.end.done():
            return
        self.ran_out = True
        await self.process.kill()


async def _follow(process: Process, run: Run, seconds: float | None) -> dict[str, Any]:
    await run.started(process)
    streams = {1: Output(), 2: Output()}
    if seconds is None:
        await _drain(process, streams)
        return _result(streams, await process.wait())
    end = asyncio.ensure_future(process.wait())
    clock = _Clock(process, end, seconds)
    killer = asyncio.create_task(clock.run())
    try:
        await _drain(process, streams)
        exit_ = await end
        await killer
    finally:
        end.cancel()
        killer.cancel()
        # Whatever they end in would hide the error that led here.
        await asyncio.gather(end, killer, return_exceptions=True)
    return _result(streams, exit_, timed_out=clock.ran_out)


async def _drain(process: Process, streams: Mapping[int, Output]) -> None:
    async for number, data in process.output():
        streams[number].write(data)


def _result(
    streams: Mapping[int, Output], exit_: Exit, *, timed_out: bool = False
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    truncated = 0
    for name, stream in (("stdout", streams[1]), ("stderr", streams[2])):
        kept = stream.kept()
        truncated += stream.total - len(kept)
        result.update(_as_text(name, kept))
    result["exit_code"] = exit_.code
    if exit_.signal is not None:
        result["signal"] = exit_.signal
    return {**result, "timed_out": timed_out, "truncated": truncated}


def _as_text(name: str, data: bytes) -> dict[str, str]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        exact = base64.b64encode(data).decode()
        return {name: data.decode(errors="replace"), f"{name}_base64": exact}


def _not_runnable(error: CommandNotRunnableError) -> dict[str, Any]:
    return {
        "stdout": "",
        "stderr": f"{error}\n",
        "exit_code": error.exit_code,
        "timed_out": False,
        "truncated": 0,
    }
