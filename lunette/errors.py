"""What can go wrong, each error also being what a Python programmer would catch anyway.

* LunetteError
  · APIError (httpx.HTTPStatusError): the server answered, and the answer is no success
    + AuthenticationError: the key is missing or wrong
    + RateLimitError: the server has too much to do; `retry_after` says when to come back
    + SandboxFileNotFoundError (FileNotFoundError)
    + SandboxPermissionError (PermissionError)
    + SandboxIsADirectoryError (IsADirectoryError)
    + SandboxNotADirectoryError (NotADirectoryError)
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
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

import httpx

from ._problem import describe, read_problem, seconds_of

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
    "SandboxFileNotFoundError",
    "SandboxIsADirectoryError",
    "SandboxLostError",
    "SandboxNotADirectoryError",
    "SandboxNotFoundError",
    "SandboxOutOfMemoryError",
    "SandboxPermissionError",
    "SandboxStoppedError",
    "ServiceError",
    "TransportError",
    "VersionError",
    "file_not_found",
    "from_answer",
    "from_transport",
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
        # The request is rebuilt from its method and URL: its headers carry the API key.
        request, response = self.request, self.response
        parts = (request.method, str(request.url), response.status_code, response.headers.raw)
        return _thaw_answer, (_kind(self), str(self.args[0]), *parts, response.content)


class AuthenticationError(APIError):
    """The API key is missing or wrong."""


class RateLimitError(APIError):
    """The server has too much to do, or this key asks too often; nothing was done."""


class _FileError(APIError):
    """What the three-part errors of the operating system say, about a file in a sandbox."""

    _errno: ClassVar[int]

    # OSError's own, which every subclass has; declared for type checkers.
    errno: int | None
    strerror: str | None
    filename: Any

    def _describe(self, problem: Mapping[str, Any]) -> None:
        self.errno = self._errno
        self.strerror = os.strerror(self._errno)
        self.filename = problem.get("path") or self.response.request.url.params.get("path")

    def __str__(self) -> str:
        return f"[Errno {self.errno}] {self.strerror}: {self.filename!r} (in the sandbox)"


class SandboxFileNotFoundError(_FileError, FileNotFoundError):
    """There is no such file or directory in the sandbox."""

    _errno = errno.ENOENT


class SandboxPermissionError(_FileError, PermissionError):
    """The sandbox's user may not do this to that file."""

    _errno = errno.EACCES


class SandboxIsADirectoryError(_FileError, IsADirectoryError):
    """The path in the sandbox is a directory."""

    _errno = errno.EISDIR


class SandboxNotADirectoryError(_FileError, NotADirectoryError):
    """A part of the path in the sandbox is no directory."""

    _errno = errno.ENOTDIR


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
        return _thaw_transport, (_kind(self), _httpx_kind(self), str(self))


class RequestTimeoutError(TransportError, httpx.TimeoutException):
    """One HTTP request took longer than the client's timeout."""


_BY_CODE: Mapping[str, type[LunetteError]] = {
    "file_not_found": SandboxFileNotFoundError,
    "image_in_use": ImageError,
    "image_not_found": ImageNotFoundError,
    "input_closed": ProcessInputClosedError,
    "invalid_image": ImageError,
    "invalid_service": ServiceError,
    "is_a_directory": SandboxIsADirectoryError,
    "not_a_directory": SandboxNotADirectoryError,
    "not_supported": NotSupportedError,
    "outcome_expired": OutcomeExpiredError,
    "permission_denied": SandboxPermissionError,
    "process_not_found": ProcessNotFoundError,
    "registry_denied": ImageError,
    "registry_error": ImageError,
    "sandbox_destroyed": SandboxDestroyedError,
    "sandbox_expired": SandboxExpiredError,
    "sandbox_failed": SandboxFailedError,
    "sandbox_lost": SandboxLostError,
    "sandbox_not_found": SandboxNotFoundError,
    "sandbox_out_of_memory": SandboxOutOfMemoryError,
    "sandbox_stopped": SandboxStoppedError,
    "unsupported_api_version": VersionError,
}
_BY_STATUS: Mapping[int, type[LunetteError]] = {401: AuthenticationError, 429: RateLimitError}


def from_answer(response: httpx.Response, message: str | None = None) -> APIError:
    """Make the error that *response* means; its body must have been read."""
    problem = read_problem(response)
    kind = _BY_CODE.get(str(problem.get("code")), APIError)
    kind = _BY_STATUS.get(response.status_code, kind)
    return _answer(kind, message or describe(response, problem), response)


def file_not_found(response: httpx.Response) -> APIError:
    """Make the error of a missing file whose answer has no code that says so."""
    return _answer(SandboxFileNotFoundError, describe(response, read_problem(response)), response)


def from_transport(
    error: httpx.RequestError, kind: type[LunetteError] | None = None, message: str = ""
) -> LunetteError:
    """Make our error of the same httpx kind as *error*."""
    timed_out = isinstance(error, httpx.TimeoutException)
    kind = kind or (RequestTimeoutError if timed_out else TransportError)
    ours = _transport(kind, type(error), message or str(error) or type(error).__name__)
    with suppress(RuntimeError):  # httpx's way to say that it has none
        ours.request = error.request
    return ours


def _answer(kind: type[LunetteError], message: str, response: httpx.Response) -> APIError:
    return cast("type[APIError]", _also(kind, APIError))(message, response=response)


def _transport(
    kind: type[LunetteError], httpx_kind: type[httpx.RequestError], message: str
) -> TransportError:
    return cast("type[TransportError]", _also(kind, TransportError, httpx_kind))(message)


_combined: dict[tuple[type[Exception], ...], type[LunetteError]] = {}


def _also(kind: type[LunetteError], *others: type[Exception]) -> type[LunetteError]:
    """Return the class that is *kind* and all *others*, known to its readers as *kind*."""
    if (kind, *others) not in _combined:
        _combined[kind, *others] = _combine(kind, others)
    return _combined[kind, *others]


def _combine(kind: type[LunetteError], others: tuple[type[Exception], ...]) -> type[LunetteError]:
    more = [other for other in others if not issubclass(kind, other)]
    more = [c for c in more if not any(o is not c and issubclass(o, c) for o in more)]
    if not more:
        return kind
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return cast("type[LunetteError]", type(kind.__name__, (kind, *more), names))


def _kind(error: LunetteError) -> type[LunetteError]:
    """The class of *error* that can be imported, for pickle."""
    public = (c for c in type(error).__mro__ if globals().get(c.__name__) is c)
    return cast("type[LunetteError]", next(public))


def _httpx_kind(error: LunetteError) -> type[httpx.RequestError]:
    return next(c for c in type(error).__mro__ if c.__module__.startswith("httpx"))


def _thaw_answer(
    kind: type[LunetteError],
    message: str,
    method: str,
    url: str,
    status: int,
    headers: list[tuple[bytes, bytes]],
    content: bytes,
) -> APIError:
    # The content was decoded when it came, so its headers must not say otherwise.
    kept = [(key, value) for key, value in headers if key.lower() != b"content-encoding"]
    request = httpx.Request(method, url)
    return _answer(
        kind, message, httpx.Response(status, headers=kept, content=content, request=request)
    )


_thaw_transport = _transport
