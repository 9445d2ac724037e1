"""What the verbs answer."""

from __future__ import annotations

import base64
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from attrs import Factory, field, frozen

__all__ = [
    "ExecResult",
    "FileInfo",
    "ImageInfo",
    "ProcessInfo",
    "SandboxInfo",
    "SandboxStats",
    "StopFailure",
    "StopResult",
]


def _is_zero(result: ExecResult) -> bool:
    return result.exit_code == 0


@frozen(repr=False)
class ExecResult:
    """What a command did.

    *stdout* and *stderr* show bytes that are not UTF-8 as U+FFFD; *stdout_bytes* and *stderr_bytes*
    are exact. *signal* is the one that ended the command, *out_of_memory* whether that was since
    its sandbox had no memory left, *truncated* the number of bytes that the server left out of both
    streams, *duration* the seconds from the command's start to its end, where the server says them.
    """

    stdout: str
    stderr: str
    exit_code: int
    success: bool = field(default=Factory(_is_zero, takes_self=True))
    signal: int | None = field(default=None, kw_only=True)
    timed_out: bool = field(default=False, kw_only=True)
    out_of_memory: bool = field(default=False, kw_only=True)
    truncated: int = field(default=0, kw_only=True)
    # No part of what the command did: two that did the same are equal.
    duration: float | None = field(default=None, kw_only=True, eq=False)
    _stdout_base64: str | None = field(default=None, kw_only=True, alias="stdout_base64")
    _stderr_base64: str | None = field(default=None, kw_only=True, alias="stderr_base64")

    @property
    def stdout_bytes(self) -> bytes:
        """Standard output as it was."""
        return _exact(self.stdout, self._stdout_base64)

    @property
    def stderr_bytes(self) -> bytes:
        """Standard error as it was."""
        return _exact(self.stderr, self._stderr_base64)

    def __repr__(self) -> str:
        return f"ExecResult(exit_code={self.exit_code}, success={self.success})"


def _exact(text: str, encoded: str | None) -> bytes:
    return text.encode() if encoded is None else base64.b64decode(encoded)


@frozen(kw_only=True)
class FileInfo:
    """What a file or a directory of a sandbox is.

    *path* is absolute, with no symbolic link in its directory. *size* is in bytes, *mode* the
    permissions, *mtime* the time of the last change in seconds since 1970; *target* is where a
    symbolic link points. In names that are not UTF-8, `os.fsencode` finds the bytes. It is taken
    wherever a path in the sandbox is.
    """

    path: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    mode: int = field(repr=oct)
    mtime: float
    uid: int
    gid: int
    target: str | None = None

    def __fspath__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.type == "file"

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.type == "directory"

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self.type == "symlink"


@frozen(kw_only=True)
class SandboxInfo:
    """What the server says of a sandbox.

    *state* is one of pending, running, paused, stopped, failed and lost; *reason* says why it is
    not running. *service* comes without the values of its environment. At *expires_at* it will be
    destroyed, if nobody uses or extends it.
    """

    sandbox_id: str
    state: str
    reason: str | None = None
    exit_code: int | None = None
    engine: str
    service: Mapping[str, Any]
    labels: Mapping[str, str]
    created_at: datetime
    expires_at: datetime | None = None


@frozen(kw_only=True)
class SandboxStats:
    """What a sandbox uses.

    *memory* is that of its processes, *memory_peak* the most that it was and *memory_limit* what it
    may be, in bytes; None is what the server cannot tell, or no limit. *cpu_seconds* is processor
    time since the sandbox began. *processes* are all, with their threads and the sandbox's own.
    *disk* are the bytes that its files take on disk.
    """

    memory: int
    memory_peak: int | None = None
    memory_limit: int | None = None
    cpu_seconds: float
    processes: int
    disk: int


@frozen(kw_only=True)
class ImageInfo:
    """What the server says of an image that it has pulled.

    *image_id* is the digest of its configuration, *digest* that of its manifest. *size* is in bytes
    of compressed layers, *unpacked* in bytes on disk. *created* is what the image says.
    """

    reference: str
    image_id: str
    digest: str
    size: int
    unpacked: int
    created: str | None = None
    pulled_at: datetime | None = None


@frozen(kw_only=True)
class ProcessInfo:
    """What the server says of a command.

    *state* is running or ended. One that was *started* by `start` can be followed, written to and
    signalled; others are those of `exec`. *output_offset* are the bytes that it has written.
    """

    id: str
    name: str | None = None
    command: str | Sequence[str] | None = None
    state: str
    tty: bool = False
    started: bool = False
    started_at: datetime | None = None
    exit_code: int | None = None
    output_offset: int = 0


@frozen
class StopFailure:
    """A sandbox that could not be stopped, and why."""

    sandbox_id: str
    error: str


@frozen
class StopResult:
    """What became of the sandboxes that were to be stopped."""

    stopped: list[str]
    failed: list[StopFailure]

    if not TYPE_CHECKING:
        # For type checkers a plain client's answer is no awaitable; at run time it is forgiven.
        def __await__(self) -> Generator[Any, Any, Self]:
            from ._loops import warn_awaited

            warn_awaited("stop_sandboxes")
            return self
            yield
