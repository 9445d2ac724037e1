"""What `exec` and a process that is started have in common: a key, and a command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lunette.server._bodies import decode_text
from lunette.server._load import STARTING_COMMANDS, Gate
from lunette.server._problems import file_errors
from lunette.server._run import Run
from lunette.server.engines.protocol import Command, Engine, Handle, Process, TerminalSize
from lunette.server.registry import Registry, Sandbox
from lunette.server.store import KnownCommand

__all__ = ["Starting", "command_of", "stdin_of", "terminal_size"]


class Starting:
    """Start commands, each key once, and no more at the same time than the server can."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._gate = Gate(STARTING_COMMANDS, "commands that are being started")

    async def joined(
        self, sandbox_id: str, key: str, digest: bytes
    ) -> Run | KnownCommand | Sandbox:
        """Return the command of *key*, or the sandbox for a new one."""
        runs = self._registry.runs(sandbox_id)
        found = runs.join(key, digest)
        if found is not None:
            return found
        sandbox = self._registry.get(sandbox_id)
        if sandbox.handle is None:
            await self._registry.running(sandbox_id)
        # Asked again, since another request may have been faster meanwhile.
        return sandbox.runs.join(key, digest) or sandbox

    async def start(self, engine: Engine, handle: Handle, command: Command) -> Process:
        """Start a command; see `Engine.exec`."""
        self._registry.draining.check()
        with self._gate.entered(), file_errors():
            return await engine.exec(handle, command)


def stdin_of(body: Mapping[str, Any]) -> bytes | None:
    """Return what a command reads first."""
    text = body.get("input")
    if text is None:
        return None
    return decode_text(text, body.get("input_encoding", "utf-8"), "input")


def command_of(body: Mapping[str, Any], service: Mapping[str, str], stdin: bytes | None) -> Command:
    """Return what an engine is to start; *service* is the environment below that of the body."""
    command: str | list[str] = body["command"]
    size = body.get("tty")
    return Command(
        argv=("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command),
        cwd=body.get("cwd"),
        env={**service, **body.get("env", {})},
        stdin=stdin,
        interactive=body.get("interactive", False),
        terminal=None if size is None else terminal_size(size),
        user=body.get("user"),
    )


def terminal_size(body: Mapping[str, Any]) -> TerminalSize:
    """Return a size that the contract has checked; JSON may say 80.0."""
    return TerminalSize(int(body["rows"]), int(body["columns"]))
