"""What the server asks of an engine.

Errors tell apart what a caller has to know:

    EngineError
    ├── EngineUnavailableError   this machine cannot run the engine, and what is in the way
    ├── NotSupportedError        valid, but not with this engine; `key` names what
    ├── NoCapacityError          nothing was started; later may work
    ├── SandboxGoneError         the sandbox ended; `status` says how
    └── CommandNotRunnableError  nothing was started: 127 not found, 126 not executable
    OSError                      a file inside the sandbox; `errno` and `filename` are set
    └── NotARegularFileError     it is a FIFO, a device or a socket

No engine retries a command.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from enum import StrEnum
from typing import Literal, Protocol

from attrs import field, frozen

__all__ = [
    "Capabilities",
    "Command",
    "CommandNotRunnableError",
    "Engine",
    "EngineError",
    "EngineUnavailableError",
    "Event",
    "Exit",
    "FileReader",
    "Handle",
    "NoCapacityError",
    "NotARegularFileError",
    "NotSupportedError",
    "Process",
    "SandboxGoneError",
    "SandboxSpec",
    "State",
    "Status",
]


class State(StrEnum):
    """The states of `SandboxState` in openapi.yaml."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"


@frozen(kw_only=True)
class Status:
    """How a sandbox is, and why. *exit_code* is that of the service's own command."""

    state: State
    reason: str | None = None
    exit_code: int | None = None


@frozen(kw_only=True)
class SandboxSpec:
    """A Compose service, checked and in one form."""

    id: str
    image: str
    command: tuple[str, ...] | None = None
    working_dir: str = "/workspace"
    environment: Mapping[str, str] = field(factory=dict[str, str])
    hostname: str = "sandbox"


@frozen(kw_only=True)
class Command:
    """A program to run: *argv* is never empty; *stdin* is None for an empty standard input."""

    argv: tuple[str, ...]
    cwd: str | None = None
    env: Mapping[str, str] = field(factory=dict[str, str])
    stdin: bytes | None = None


@frozen(kw_only=True)
class Exit:
    """How a command ended: *code* as a shell would show it, 128 + n for a death by *signal* n."""

    code: int
    signal: int | None = None


@frozen
class Handle:
    """What an engine needs to find a sandbox again, as plain JSON."""

    sandbox_id: str


@frozen
class Event:
    """A sandbox went to another state by itself."""

    handle: Handle
    status: Status


@frozen(kw_only=True)
class Capabilities:
    """What this engine can do on this machine."""

    isolation: str
    images: tuple[str, ...]
    service_keys: frozenset[str]
    network_modes: tuple[str, ...] = ("none",)


class EngineError(Exception):
    """The root of what engines raise about themselves."""


class EngineUnavailableError(EngineError):
    """This machine cannot run the engine. The message says what is in the way and the mend."""


class NotSupportedError(EngineError):
    """The engine cannot do what *key* asks for."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class NoCapacityError(EngineError):
    """Nothing was started."""


class SandboxGoneError(EngineError):
    """The sandbox ended before or during the call."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.reason or f"the sandbox is {status.state}")
        self.status = status


class CommandNotRunnableError(EngineError):
    """The program is not there (*exit_code* 127) or cannot be executed (126)."""

    def __init__(self, exit_code: Literal[126, 127], message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotARegularFileError(OSError):
    """The path is a FIFO, a device or a socket, which could block or never end."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EINVAL, "Not a regular file", path)


class Process(Protocol):
    """A running command."""

    def output(self) -> AsyncIterator[tuple[Literal[1, 2], bytes]]:
        """Yield what the command writes, as (1 or 2, bytes), until the command itself has ended.

        Pulled: a command whose output nobody takes waits. Children that outlive the command do not
        hold this open.
        """
        ...

    async def wait(self) -> Exit:
        """Wait for the end of the command; raise SandboxGoneError if its sandbox goes first."""
        ...

    async def kill(self) -> None:
        """Kill the command and all that it started, and return when nothing of it runs."""
        ...


class FileReader(Protocol):
    """An open file of a sandbox: *size* bytes in chunks; close it on every way out."""

    size: int

    def chunks(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


class Engine(Protocol):
    """One way to isolate. Every method is idempotent where its name allows it."""

    name: str
    capabilities: Capabilities

    async def start(self) -> None:
        """Get ready; raise EngineUnavailableError where this machine cannot run sandboxes."""
        ...

    async def aclose(self) -> None:
        """Destroy every sandbox and give back all that the engine holds."""
        ...

    async def create(self, spec: SandboxSpec) -> Handle:
        """Make a sandbox and return when it takes commands; nothing is left of one that failed."""
        ...

    async def inspect(self, handle: Handle) -> Status: ...

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens to sandboxes by itself, for all of them, until the engine closes."""
        ...

    async def destroy(self, handle: Handle) -> None:
        """End every process and remove every file of a sandbox. Idempotent."""
        ...

    async def exec(self, handle: Handle, command: Command) -> Process:
        """Start a command. Raise CommandNotRunnableError, or OSError for its *cwd*; then nothing
        was started.
        """
        ...

    async def get(self, handle: Handle, path: str) -> FileReader:
        """Open a regular file inside the sandbox; relative paths start at its working directory."""
        ...

    async def put(self, handle: Handle, path: str, data: AsyncIterable[bytes]) -> None:
        """Write a file whole or not at all: parents made, arrival by rename; an error of *data*
        leaves no trace.
        """
        ...
