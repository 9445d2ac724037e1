"""A command from its request to its end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from time import time
from typing import Any

from attrs import define, field

from lunette.server.engines.protocol import Process
from lunette.server.output import Outcome

__all__ = ["Run", "seen"]

# As in openapi.yaml.
_SHOWN = 4096
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def _shown(command: str | list[str]) -> str | list[str]:
    """Return what is kept of a command, which may be megabytes long."""
    if isinstance(command, str):
        return command if len(command) <= _SHOWN else command[:_SHOWN] + _ELLIPSIS
    room = _SHOWN
    for index, argument in enumerate(command):
        if len(argument) > room:
            return [*command[:index], argument[: max(0, room)] + _ELLIPSIS]
        room -= len(argument) + 1
    return command


@define(eq=False)
class Run:
    """A command under its *key*; *body* is the digest of its request."""

    key: str
    body: bytes
    command: str | list[str] = field(factory=list[str], converter=_shown, repr=False)
    process: Process | None = field(default=None, kw_only=True)
    given_up: bool = field(default=False, kw_only=True)
    begun: float = field(factory=time, init=False)
    _ended: asyncio.Future[Outcome] | None = field(default=None, init=False)

    def describe(self) -> dict[str, Any]:
        """Return the `Process` of the contract, without an outcome."""
        return {
            "process_id": self.key,
            "state": "running",
            "command": self.command,
            "tty": False,
            "started": False,
            "started_at": self.started_at,
        }

    @property
    def command_size(self) -> int:
        """The bytes of the command, roughly."""
        return len(self.command) if isinstance(self.command, str) else sum(map(len, self.command))

    @property
    def started_at(self) -> str:
        return datetime.fromtimestamp(self.begun, UTC).isoformat().replace("+00:00", "Z")

    async def started(self, process: Process) -> None:
        """Note the process; kill it if the client gave up while it was being started."""
        self.process = process
        if self.given_up:
            await process.kill()

    async def outcome(self, wait: float | None) -> Outcome | None:
        """Return how the command ended, or None if that takes more than *wait* seconds."""
        ended = self._end()
        await asyncio.wait([ended], timeout=wait)
        return ended.result() if ended.done() else None

    async def kill(self) -> None:
        """Kill the command and return when it has ended."""
        self.given_up = True
        ended = self._end()
        if self.process is not None and not ended.done():
            await self.process.kill()
        await asyncio.wait([ended])

    def end(self, outcome: Outcome) -> None:
        """Tell who waits how the command ended."""
        if self._ended is not None:
            self._ended.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Tell who waits why there is no outcome."""
        if self._ended is None:
            return
        if isinstance(error, Exception):
            self._ended.set_exception(error)
        else:
            self._ended.cancel()

    def _end(self) -> asyncio.Future[Outcome]:
        """Return what tells of the end; most commands have nobody but their own request."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
            self._ended.add_done_callback(seen)  # who waits may leave
        return self._ended


def seen(future: asyncio.Future[Any]) -> None:
    """Note an error whose every reader may have left."""
    if not future.cancelled():
        future.exception()
