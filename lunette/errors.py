"""What can go wrong, each error also being what a Python programmer would catch anyway.

* LunetteError
  · APIError (httpx.HTTPStatusError): the server answered, and the answer is no success
    + AuthenticationError: the key is missing or wrong
    + RateLimitError: the server has too much to do; `retry_after` says when to come back
    + SandboxFileError (OSError): of a file; `errno` is ENOTEMPTY, ESTALE (it changed), ENOSPC, ...
      - SandboxFileNotFoundError (FileNotFoundError)
      - SandboxFileExistsError (FileExistsError)
      - SandboxPermissionError (PermissionError)
      - SandboxIsADirectoryError (IsADirectoryError)
      - SandboxNotADirectoryError (NotADirectoryError)
    + ProcessInputClosedError (BrokenPipeError): nobody reads what is written to a process
  · TransportError (httpx.TransportError): no answer; it is the httpx error of its kind too
    + RequestTimeoutError (httpx.TimeoutException)
  · SandboxDestroyedError: the sandbox takes no commands any more
    + SandboxStoppedError: its own command ended
    + SandboxFailedError: it broke
    + SandboxLostError: it vanished with its server, or was killed from outside
    + SandboxExpiredError: its time was up
    + SandboxOutOfMemoryError: it used more memory than it may
    + SandboxNotFoundError: there is no such sandbox
  · SandboxPausedError: nothing can begin in the sandbox until it is resumed
  · ExecFailedError (subprocess.CalledProcessError): a command failed under `check=True`
  · ExecTimeoutError (TimeoutError): a command was killed by its `timeout`
  · ProcessRunningError (TimeoutError): a process has not ended while it was waited for
  · ProcessNotFoundError: there is no such process
  · OutcomeExpiredError: a command was started, and the server no longer knows how it ended
  · ServiceError (ValueError): the service is no valid Compose service
  · ImageError: the image is malformed or in use, or its registry does not give it
    + ImageNotFoundError: there is no such image
  · NotSupportedError: valid, but this server cannot do it
  · VersionError: client and server speak different versions of the API
  · ConfigError (ValueError): an argument, a variable or the configuration file is wrong
  · ClientClosedError (RuntimeError)
  · EmbeddedServerError (RuntimeError): this machine cannot run the embedded server

Raised from an answer, each is an `APIError` too, so that `except httpx.HTTPError` catches whatever
the server or the network did.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import httpx

from ._problem import read_problem, seconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .results import ExecResult

__all__ = [
    "APIError",
    "AsyncUsageWarning",
    "AuthenticationError",
    "ClientClosedError",
    "ConfigError",
    "EmbeddedServerError",
    "ExecFailedError",
    "ExecTimeoutError",
    "ImageError",
    "ImageNotFoundError",
    "LunetteError",
    "NotSupportedError",
    "OutcomeExpiredError",
    "ProcessInputClosedError",
    "ProcessNotFoundError",
    "ProcessRunningError",
    "RateLimitError",
    "RequestTimeoutError",
    "SandboxDestroyedError",
    "SandboxExpiredError",
    "SandboxFailedError",
    "SandboxFileError",
    "SandboxFileExistsError",
    "SandboxFileNotFoundError",
    "SandboxIsADirectoryError",
    "SandboxLostError",
    "SandboxNotADirectoryError",
    "SandboxNotFoundError",
    "SandboxOutOfMemoryError",
    "SandboxPausedError",
    "SandboxPermissionError",
    "SandboxStoppedError",
    "ServiceError",
    "TransportError",
    "VersionError",
]


class AsyncUsageWarning(UserWarning):
    """Asynchronous code called something that blocks its event loop."""


class LunetteError(Exception):
    """The root of every error of lunette's own."""


class SandboxDestroyedError(LunetteError):
    """The sandbox takes no commands any more."""


class SandboxStoppedError(SandboxDestroyedError):
    """The sandbox's own command has ended, and the sandbox with it."""


class SandboxFailedError(SandboxDestroyedError):
    """The sandbox broke."""


class SandboxLostError(SandboxDestroyedError):
    """The sandbox vanished with its server, or was killed from outside."""


class SandboxExpiredError(SandboxDestroyedError):
    """The sandbox's time was up."""


class SandboxOutOfMemoryError(SandboxDestroyedError):
    """The sandbox used more memory than it may."""


class SandboxNotFoundError(SandboxDestroyedError):
    """The server knows no such sandbox."""


class SandboxPausedError(LunetteError):
    """The sandbox is paused: nothing can begin in it until it is resumed."""


class ServiceError(LunetteError, ValueError):
    """The service is no valid Compose service."""


class ImageError(LunetteError):
    """The image is malformed or in use, or its registry does not give it."""


class ImageNotFoundError(ImageError):
    """There is no such image."""


class NotSupportedError(LunetteError):
    """What was asked for is valid, but this server cannot do it."""


class VersionError(LunetteError):
    """Client and server speak different versions of the API; the message says which."""


class OutcomeExpiredError(LunetteError):
    """The command was started, and the server no longer knows how it ended; it is not run again."""


class ProcessNotFoundError(LunetteError):
    """The server knows no such process in this sandbox."""


class ConfigError(LunetteError, ValueError):
    """An argument, an environment variable or the configuration file is wrong."""


class ClientClosedError(LunetteError, RuntimeError):
    """The client was closed."""


class EmbeddedServerError(LunetteError, RuntimeError):
    """The embedded server cannot be started here; the message says why and the mend."""


class ExecFailedError(LunetteError, subprocess.CalledProcessError):
    """A command that had to succeed (`check=True`) failed; `result` is what it did."""

    def __init__(self, command: str | Sequence[str], result: ExecResult) -> None:
        super().__init__(result.exit_code, command, result.stdout, result.stderr)
        self.result = result

    def __str__(self) -> str:
        why = " It was killed: its sandbox had no memory left." if self.result.out_of_memory else ""
        return f"{super().__str__()}{why}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cmd, self.result)


class ExecTimeoutError(LunetteError, TimeoutError):
    """A command was killed by its timeout; `result` is the output so far."""

    def __init__(self, command: str | Sequence[str], timeout: float, result: ExecResult) -> None:
        super().__init__(f"command timed out after {timeout:g} seconds: {command!r}")
        self.command = command
        self.timeout = timeout
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.command, self.timeout, self.result)


class ProcessRunningError(LunetteError, TimeoutError):
    """A process has not ended while it was waited for, and goes on."""

    def __init__(self, process_id: str, timeout: float) -> None:
        super().__init__(f"process {process_id} still runs after {timeout:g} seconds of waiting")
        self.process_id = process_id
        self.timeout = timeout

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.process_id, self.timeout)


class APIError(LunetteError, httpx.HTTPStatusError):
    """The server's answer was no success; `code` is the stable reason, if it gave one.

    `retry_after` are the seconds after which the server wants to be asked again, if it said so.
    """

    status_code: int
    code: str | None
    detail: str | None
    request_id: str | None
    retry_after: float | None

    def __init__(self, message: str, *, response: httpx.Response) -> None:
        # By name: where ServiceError is an APIError too, `super()` would be ValueError.
        httpx.HTTPStatusError.__init__(self, message, request=response.request, response=response)
        problem = read_problem(response)
        self.status_code = response.status_code
        self.code = problem.get("code")
        self.detail = problem.get("detail")
        self.request_id = problem.get("request_id") or response.headers.get("x-request-id")
        self.retry_after = seconds_of(response.headers.get("retry-after"))
        self._describe(problem)

    def _describe(self, problem: Mapping[str, Any]) -> None:
        """Take what a subclass needs of the server's *problem*."""

    def __reduce__(self) -> tuple[Any, ...]:
        from ._answers import thaw_answer

        # The request is rebuilt from its method and URL: its headers carry the API key.
        request, response = self.request, self.response
        parts = (request.method, str(request.url), response.status_code, response.headers.raw)
        return thaw_answer, (_kind(self), str(self.args[0]), *parts, response.content)


class AuthenticationError(APIError):
    """The API key is missing or wrong."""


class RateLimitError(APIError):
    """The server has too much to do, or this key asks too often; nothing was done."""


_NUMBERS = {name: number for number, name in errno.errorcode.items()}
_OTHER = errno.EIO  # in a class that declares `errno` the module is out of sight


class SandboxFileError(APIError, OSError):
    """A file of a sandbox, or its way in or out, is not as it must be; `errno` says what it is."""

    _errno: ClassVar[int] = _OTHER

    # OSError's own, declared for type checkers.
    errno: int | None
    strerror: str | None
    filename: Any

    def _describe(self, problem: Mapping[str, Any]) -> None:
        self.errno, words = _MEANINGS.get(str(self.code), (self._errno, None))
        said = _NUMBERS.get(str(problem.get("errno")))
        if said not in (None, self.errno):
            self.errno, words = said, None
        self.strerror = words or os.strerror(self.errno)
        self.filename = problem.get("path") or self.response.request.url.params.get("path")

    def __str__(self) -> str:
        which = "" if self.filename is None else f": {self.filename!r}"
        return f"[Errno {self.errno}] {self.strerror}{which} (in the sandbox)"


class SandboxFileNotFoundError(SandboxFileError, FileNotFoundError):
    """There is no such file or directory in the sandbox."""

    _errno = errno.ENOENT


class SandboxFileExistsError(SandboxFileError, FileExistsError):
    """There is a file or directory of this name in the sandbox already."""

    _errno = errno.EEXIST


class SandboxPermissionError(SandboxFileError, PermissionError):
    """The sandbox's user may not do this to that file."""

    _errno = errno.EACCES


class SandboxIsADirectoryError(SandboxFileError, IsADirectoryError):
    """The path in the sandbox is a directory."""

    _errno = errno.EISDIR


class SandboxNotADirectoryError(SandboxFileError, NotADirectoryError):
    """A part of the path in the sandbox is no directory."""

    _errno = errno.ENOTDIR


# What has no class of Python's own, and words where those of the errno would mislead.
_MEANINGS: Mapping[str, tuple[int, str | None]] = {
    "archive_not_found": (errno.EIO, "The transfer is over, or was given up"),
    "digest_mismatch": (errno.EIO, "What arrived is not what was sent"),
    "directory_not_empty": (errno.ENOTEMPTY, None),
    "file_busy": (errno.EBUSY, None),
    "file_changed": (errno.ESTALE, "Changed while it was read"),
    "file_too_large": (errno.EFBIG, None),
    "invalid_request": (errno.EINVAL, None),
    "listing_too_large": (errno.EOVERFLOW, "Too many files to list"),
    "no_space": (errno.ENOSPC, None),
    "not_a_regular_file": (errno.EINVAL, "Not a regular file"),
    "precondition_failed": (errno.ESTALE, "Changed while it was read"),
    "range_not_satisfiable": (errno.EIO, "There are no such bytes"),
    "upload_gap": (errno.EIO, "Bytes before these are missing"),
    "upload_not_found": (errno.EIO, "The transfer is over, or was given up"),
}


class ProcessInputClosedError(APIError, BrokenPipeError):
    """Nobody reads what is written to a process any more, or it has no such input."""

    # OSError's own, declared for type checkers.
    errno: int | None
    strerror: str | None

    def _describe(self, problem: Mapping[str, Any]) -> None:
        self.errno = errno.EPIPE
        self.strerror = os.strerror(errno.EPIPE)

    def __str__(self) -> str:
        return f"[Errno {self.errno}] {self.strerror}: {self.args[0]}"


class TransportError(LunetteError, httpx.TransportError):
    """No answer came; each is the httpx error of its kind too, such as `httpx.ConnectError`."""

    def __reduce__(self) -> tuple[Any, ...]:
        from ._answers import thaw_transport

        return thaw_transport, (_kind(self), _httpx_kind(self), str(self))


class RequestTimeoutError(TransportError, httpx.TimeoutException):
    """One HTTP request took longer than the client's timeout."""


def _kind(error: LunetteError) -> type[LunetteError]:
    """The class of *error* that can be imported, for pickle."""
    public = (c for c in type(error).__mro__ if globals().get(c.__name__) is c)
    return cast("type[LunetteError]", next(public))


def _httpx_kind(error: LunetteError) -> type[httpx.RequestError]:
    return next(c for c in type(error).__mro__ if c.__module__.startswith("httpx"))
