"""What the server asks of an engine.

Errors tell apart what a caller has to know:

    EngineError
    ├── EngineUnavailableError   this machine cannot run the engine, and what is in the way
    ├── NotSupportedError        valid, but not with this engine; `key` names what
    ├── NoCapacityError          nothing was started; later may work
    │   └── NoSpaceError         the disk is full, or nearly
    ├── SandboxGoneError         the sandbox ended; `status` says how
    ├── SandboxPausedError       nothing can begin in it until it is resumed
    └── CommandNotRunnableError  nothing was started: 127 not found, 126 not executable
    ImageError                   an image cannot be had, see `lunette.server.images.errors`
    OSError                      a file inside the sandbox; `errno` and `filename` are set
    └── NotARegularFileError     it is a FIFO, a device or a socket

No engine retries a command.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Literal, Protocol

from attrs import field, frozen

from lunette.server.engines.files import (
    Bytes,
    FileReader,
    FileStat,
    FileWriter,
    IfExists,
    IgnoreRule,
)
from lunette.server.engines.processes import Command, Exit, Process, TerminalSize
from lunette.server.images.image import Progress

__all__ = [
    "DEFAULT_DIRECTORY",
    "Capabilities",
    "Command",
    "CommandNotRunnableError",
    "Engine",
    "EngineError",
    "EngineUnavailableError",
    "Event",
    "Exit",
    "Handle",
    "Images",
    "NoCapacityError",
    "NoSpaceError",
    "NotARegularFileError",
    "NotSupportedError",
    "Process",
    "PullPolicy",
    "PulledImage",
    "Report",
    "SandboxGoneError",
    "SandboxPausedError",
    "SandboxSpec",
    "State",
    "Stats",
    "Status",
    "TerminalSize",
    "Tmpfs",
]

# Where a command starts that neither the service nor the image says more of.
DEFAULT_DIRECTORY = "/workspace"
PullPolicy = Literal["missing", "always", "never"]
Report = Callable[[Progress], None]
"""Is told how far something is, often."""


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
    """How a sandbox is, and why. *exit_code* is that of the service's own command; with
    *out_of_memory* it failed since it had used all of its memory.
    """

    state: State
    reason: str | None = None
    exit_code: int | None = None
    out_of_memory: bool = False


@frozen(kw_only=True)
class Tmpfs:
    """A directory in memory: *size* in bytes, *flags* of exec, ro; owned by *uid* and *gid*."""

    path: str
    size: int | None = None
    mode: int = 0o1777
    uid: int | None = None
    gid: int | None = None
    flags: frozenset[str] = frozenset()


@frozen(kw_only=True)
class SandboxSpec:
    """A Compose service, checked and in one form."""

    id: str
    image: str
    pull_policy: PullPolicy = "missing"
    command: tuple[str, ...] | None = None
    working_dir: str | None = None
    environment: Mapping[str, str] = field(factory=dict[str, str])
    hostname: str = "sandbox"
    extra_hosts: tuple[tuple[str, str], ...] = ()  # (name, address)
    user: str | None = None  # user[:group], each a name or a number
    read_only: bool = False
    tmpfs: tuple[Tmpfs, ...] = ()
    shm_size: int | None = None
    mem_limit: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    disk: int | None = None
    ulimits: Mapping[str, tuple[int, int]] = field(factory=dict[str, tuple[int, int]])
    stop_signal: int | None = None
    stop_grace_period: float = 10.0


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
class Stats:
    """What a sandbox uses, in bytes and seconds; *processes* are all, and their threads. None is
    what is not known, or not limited.
    """

    memory: int
    memory_peak: int | None = None
    memory_limit: int | None = None
    cpu_seconds: float
    processes: int
    disk: int


@frozen(kw_only=True)
class PulledImage:
    """An image that sandboxes can be made from at once; see `Image` in openapi.yaml."""

    reference: str
    image_id: str
    digest: str
    size: int
    unpacked: int
    created: str | None
    pulled_at: str


@frozen(kw_only=True)
class Capabilities:
    """What this engine can do on this machine."""

    isolation: str
    images: tuple[str, ...]
    service_keys: frozenset[str]
    network_modes: tuple[str, ...] = ("none",)
    pulls_images: bool = False
    platform: str = ""
    limits: Mapping[str, int] = field(factory=dict[str, int])  # as `limits` in openapi.yaml
    enforces: tuple[str, ...] = ()
    limits_by: str | None = None


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


class NoSpaceError(NoCapacityError):
    """Nothing was started, since the disk is full or nearly."""


class SandboxGoneError(EngineError):
    """The sandbox ended before or during the call."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.reason or f"the sandbox is {status.state}")
        self.status = status


class SandboxPausedError(EngineError):
    """Nothing was done, since the sandbox is paused."""


class CommandNotRunnableError(EngineError):
    """The program is not there (*exit_code* 127) or cannot be executed (126)."""

    def __init__(self, exit_code: Literal[126, 127], message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotARegularFileError(OSError):
    """The path is a FIFO, a device or a socket, which could block or never end."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EINVAL, "Not a regular file", path)


class Images(Protocol):
    """The images that an engine has pulled."""

    async def all(self) -> Sequence[PulledImage]: ...

    async def pull(self, reference: str, policy: PullPolicy, report: Report) -> PulledImage:
        """Get an image; whoever asks for the same meanwhile shares the work, which ends when all
        of them are cancelled. Raise an ImageError.
        """
        ...

    async def remove(self, reference: str) -> None:
        """Forget a reference and remove what only it needed; raise an ImageError."""
        ...


class Engine(Protocol):
    """One way to isolate. Every method is idempotent where its name allows it."""

    name: str
    capabilities: Capabilities

    @property
    def images(self) -> Images | None:
        """None where there are but those of `capabilities.images`."""
        ...

    async def start(self) -> None:
        """Get ready; raise EngineUnavailableError where this machine cannot run sandboxes."""
        ...

    async def aclose(self) -> None:
        """Destroy every sandbox and give back all that the engine holds."""
        ...

    async def prepare(self, spec: SandboxSpec, report: Report) -> None:
        """Get what `create` needs and may take long, such as the image. It can be cancelled."""
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

    async def stats(self, handle: Handle) -> Stats:
        """Measure what a sandbox uses; what of it is slow to find may be seconds old."""
        ...

    async def pause(self, handle: Handle) -> None:
        """Freeze all that runs in a sandbox, whatever it does about it. Idempotent.

        Until `resume`, what would begin something in it raises SandboxPausedError; what is there
        can be killed, and its output taken.
        """
        ...

    async def resume(self, handle: Handle) -> None:
        """Let a paused sandbox go on. Idempotent."""
        ...

    async def exec(self, handle: Handle, command: Command) -> Process:
        """Start a command. Raise CommandNotRunnableError, OSError for its *cwd*, or
        NotSupportedError for its *user*; then nothing was started.
        """
        ...

    # Files. Relative paths start at the sandbox's working directory; errors are OSErrors with the
    # path that was asked for. What may take long has a process of its own, beside the commands.

    async def get(self, handle: Handle, path: str) -> FileReader:
        """Open a regular file inside the sandbox."""
        ...

    async def begin_put(
        self,
        handle: Handle,
        path: str,
        *,
        mode: int | None = None,
        if_exists: IfExists = "replace",
    ) -> FileWriter:
        """Begin a file: parents are made, arrival is by rename. Without a *mode* a new file has
        0644 and an old one keeps its own. "append" writes to the file that is there as it comes.
        """
        ...

    async def begin_unpack(self, handle: Handle, path: str) -> FileWriter:
        """Begin a directory, which what is written, a tar archive, makes or is merged into."""
        ...

    async def pack(self, handle: Handle, path: str, rules: Sequence[IgnoreRule]) -> Bytes:
        """Begin to make a tar archive of what is in a directory, but for what *rules* ignore."""
        ...

    async def list_directory(self, handle: Handle, path: str, depth: int) -> Bytes:
        """Begin to list a directory, *depth* 0 without a bound: first its real path as JSON, then
        each entry as the JSON of a `FileInfo` of openapi.yaml, a line each.
        """
        ...

    async def stat(self, handle: Handle, path: str, *, follow_symlinks: bool) -> FileStat: ...

    async def mkdir(
        self, handle: Handle, path: str, *, mode: int, parents: bool, exist_ok: bool
    ) -> None: ...

    async def remove(self, handle: Handle, path: str, *, recursive: bool) -> None: ...

    async def move(self, handle: Handle, source: str, target: str) -> None: ...
