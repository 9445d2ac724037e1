"""Which of our errors an answer means, and which one that never came."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import cast

import httpx

from ._problem import describe, read_problem
from .errors import (
    APIError,
    AuthenticationError,
    ImageError,
    ImageNotFoundError,
    LunetteError,
    NotSupportedError,
    OutcomeExpiredError,
    ProcessInputClosedError,
    ProcessNotFoundError,
    RateLimitError,
    RequestTimeoutError,
    SandboxDestroyedError,
    SandboxExpiredError,
    SandboxFailedError,
    SandboxFileError,
    SandboxFileExistsError,
    SandboxFileNotFoundError,
    SandboxIsADirectoryError,
    SandboxLostError,
    SandboxNotADirectoryError,
    SandboxNotFoundError,
    SandboxOutOfMemoryError,
    SandboxPausedError,
    SandboxPermissionError,
    SandboxStoppedError,
    ServiceError,
    TransportError,
    VersionError,
)

__all__ = ["file_not_found", "from_answer", "from_transport", "thaw_answer", "thaw_transport"]

_BY_CODE: Mapping[str, type[LunetteError]] = {
    "archive_not_found": SandboxFileError,
    "digest_mismatch": SandboxFileError,
    "directory_not_empty": SandboxFileError,
    "file_busy": SandboxFileError,
    "file_changed": SandboxFileError,
    "file_exists": SandboxFileExistsError,
    "file_not_found": SandboxFileNotFoundError,
    "file_too_large": SandboxFileError,
    "image_in_use": ImageError,
    "image_not_found": ImageNotFoundError,
    "input_closed": ProcessInputClosedError,
    "invalid_image": ImageError,
    "invalid_service": ServiceError,
    "is_a_directory": SandboxIsADirectoryError,
    "listing_too_large": SandboxFileError,
    "not_a_directory": SandboxNotADirectoryError,
    "not_a_regular_file": SandboxFileError,
    "not_supported": NotSupportedError,
    "outcome_expired": OutcomeExpiredError,
    "permission_denied": SandboxPermissionError,
    "precondition_failed": SandboxFileError,
    "process_not_found": ProcessNotFoundError,
    "range_not_satisfiable": SandboxFileError,
    "registry_denied": ImageError,
    "registry_error": ImageError,
    "sandbox_destroyed": SandboxDestroyedError,
    "sandbox_expired": SandboxExpiredError,
    "sandbox_failed": SandboxFailedError,
    "sandbox_lost": SandboxLostError,
    "sandbox_not_found": SandboxNotFoundError,
    "sandbox_out_of_memory": SandboxOutOfMemoryError,
    "sandbox_paused": SandboxPausedError,
    "sandbox_stopped": SandboxStoppedError,
    "unsupported_api_version": VersionError,
    "upload_gap": SandboxFileError,
    "upload_not_found": SandboxFileError,
}
# About a file where they name one; else about making a sandbox, or any request.
_BY_CODE_WITH_PATH: Mapping[str, type[LunetteError]] = {
    "invalid_request": SandboxFileError,
    "no_space": SandboxFileError,
}
_BY_STATUS: Mapping[int, type[LunetteError]] = {401: AuthenticationError, 429: RateLimitError}


def from_answer(response: httpx.Response, message: str | None = None) -> APIError:
    """Make the error that *response* means; its body must have been read."""
    problem = read_problem(response)
    code = str(problem.get("code"))
    kind = _BY_CODE.get(code, APIError)
    if "path" in problem:
        kind = _BY_CODE_WITH_PATH.get(code, kind)
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
    ours = thaw_transport(kind, type(error), message or str(error) or type(error).__name__)
    with suppress(RuntimeError):  # httpx's way to say that it has none
        ours.request = error.request
    return ours


def thaw_answer(
    kind: type[LunetteError],
    message: str,
    method: str,
    url: str,
    status: int,
    headers: list[tuple[bytes, bytes]],
    content: bytes,
) -> APIError:
    """Make the error of an answer, as pickle has kept it."""
    # The content was decoded when it came, so its headers must not say otherwise.
    kept = [(key, value) for key, value in headers if key.lower() != b"content-encoding"]
    request = httpx.Request(method, url)
    return _answer(
        kind, message, httpx.Response(status, headers=kept, content=content, request=request)
    )


def thaw_transport(
    kind: type[LunetteError], httpx_kind: type[httpx.RequestError], message: str
) -> TransportError:
    """Make an error of no answer, as pickle has kept it."""
    return cast("type[TransportError]", _also(kind, TransportError, httpx_kind))(message)


def _answer(kind: type[LunetteError], message: str, response: httpx.Response) -> APIError:
    return cast("type[APIError]", _also(kind, APIError))(message, response=response)


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
