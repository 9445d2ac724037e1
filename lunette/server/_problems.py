"""Everything that a request can end in but an answer, as `application/problem+json`."""

from __future__ import annotations

import contextlib
import errno
import http
import os
from collections.abc import Generator, Mapping
from typing import Any

from starlette.responses import Response

from lunette.server._json import encode
from lunette.server.engines.protocol import (
    CommandNotRunnableError,
    EngineUnavailableError,
    NoCapacityError,
    NoSpaceError,
    NotARegularFileError,
    NotSupportedError,
    SandboxPausedError,
    State,
    Status,
)
from lunette.server.images.errors import ImageError

__all__ = [
    "Problem",
    "as_problem",
    "engine_problem",
    "file_errors",
    "gone",
    "gone_code",
    "host_problem",
    "paused",
]

_LONGEST_DETAIL = 2000

_FILE_PROBLEMS = {
    errno.ENOENT: (404, "file_not_found"),
    errno.EACCES: (403, "permission_denied"),
    errno.EPERM: (403, "permission_denied"),
    errno.EROFS: (403, "permission_denied"),
    errno.EISDIR: (409, "is_a_directory"),
    errno.EEXIST: (409, "file_exists"),
    errno.ENOTEMPTY: (409, "directory_not_empty"),
    errno.ESTALE: (409, "file_changed"),
    errno.ENOTDIR: (409, "not_a_directory"),
    errno.ENXIO: (409, "not_a_regular_file"),
    errno.ENODEV: (409, "not_a_regular_file"),
    errno.EAGAIN: (409, "file_busy"),  # a lease
    errno.EBUSY: (409, "file_busy"),
    errno.ETXTBSY: (409, "file_busy"),
    errno.EINVAL: (422, "invalid_request"),
    errno.EILSEQ: (422, "invalid_request"),
    errno.EMLINK: (422, "invalid_request"),
    errno.EXDEV: (422, "invalid_request"),
    errno.ELOOP: (422, "invalid_request"),
    errno.ENAMETOOLONG: (422, "invalid_request"),
    errno.E2BIG: (422, "invalid_request"),
    errno.EFBIG: (413, "file_too_large"),
    errno.EOVERFLOW: (413, "file_too_large"),
    errno.ENOSPC: (507, "no_space"),
    errno.EDQUOT: (507, "no_space"),
}
# Such as the EIO of a process's memory: a file that cannot be read or written as one.
_OTHER_FILE_PROBLEM = (409, "not_a_regular_file")

_IMAGE_PROBLEMS = {
    "invalid_reference": (422, "invalid_service"),
    "not_found": (404, "image_not_found"),
    "denied": (403, "registry_denied"),
    "registry": (502, "registry_error"),
    "invalid_image": (422, "invalid_image"),
    "platform": (422, "not_supported"),
    "no_space": (507, "no_space"),
    "in_use": (409, "image_in_use"),
    "store": (503, "engine_unavailable"),
    "killed": (503, "no_capacity"),
}

_FULL = {errno.ENOSPC, errno.EDQUOT}
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

_HOW = {
    None: "was destroyed",
    "sandbox_destroyed": "was destroyed",
    "sandbox_expired": "has expired: its ttl, or its idle timeout, was over",
    "sandbox_failed": "failed",
    "sandbox_lost": "was lost, perhaps with the server of before",
    "sandbox_out_of_memory": "used all of its memory",
}
_GONE_CODES = {State.STOPPED: "sandbox_stopped", State.FAILED: "sandbox_failed"}


class Problem(Exception):
    """A request that cannot be served: *code* is one of openapi.yaml."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        path: str | None = None,
        key: str | None = None,
        errno: str | None = None,
        offset: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.path = path
        self.key = key
        self.errno = errno
        self.offset = offset
        self.headers = headers

    def again(self) -> Problem:
        """Return a copy to be raised, which does not grow by another traceback."""
        return Problem(
            self.status,
            self.code,
            self.detail,
            path=self.path,
            key=self.key,
            errno=self.errno,
            offset=self.offset,
            headers=self.headers,
        )

    def response(self, request_id: str) -> Response:
        """Return the answer that tells it."""
        body = encode(self.body(request_id))
        return Response(body, self.status, self.headers, media_type="application/problem+json")

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the `Problem` of the contract."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail[:_LONGEST_DETAIL],
            "request_id": request_id,
        }
        more = {
            "path": self.path,
            "key": self.key,
            "errno": self.errno,
            "offset": self.offset,
        }
        return body | {name: value for name, value in more.items() if value is not None}


def gone(sandbox_id: str, status: Status | None = None, *, code: str | None = None) -> Problem:
    """Return the 410 of a sandbox that ended as *status*, or of which the *code* is known; of
    neither, that it was destroyed.
    """
    if status is None:
        return Problem(410, code or "sandbox_destroyed", f"sandbox '{sandbox_id}' {_HOW[code]}")
    code = gone_code(status)
    why = status.reason or code.replace("_", " ")
    return Problem(410, code, f"sandbox '{sandbox_id}' is gone: {why}")


def gone_code(status: Status) -> str:
    """Return the code of a sandbox that ended as *status*."""
    if status.out_of_memory:
        return "sandbox_out_of_memory"
    return _GONE_CODES.get(status.state, "sandbox_lost")


def paused(sandbox_id: str) -> Problem:
    """Return the 409 of a sandbox in which nothing can begin."""
    return Problem(409, "sandbox_paused", f"sandbox '{sandbox_id}' is paused: resume it first")


def engine_problem(error: Exception) -> Problem | None:
    """Return the problem that an engine's error is, if it is the caller's to know."""
    match error:
        case NotSupportedError():
            return Problem(422, "not_supported", str(error), key=error.key)
        case NoSpaceError():
            return Problem(507, "no_space", str(error))
        case NoCapacityError():
            return Problem(503, "no_capacity", str(error) or "no capacity")
        case SandboxPausedError():
            return Problem(409, "sandbox_paused", str(error))
        case EngineUnavailableError():
            return Problem(503, "engine_unavailable", str(error))
        case ImageError():
            status, code = _IMAGE_PROBLEMS.get(error.kind, (500, "internal_error"))
            return Problem(status, code, str(error), key="image")
        case CommandNotRunnableError():  # of the service; exec answers this with 126 or 127
            return Problem(422, "invalid_service", str(error), key="command")
        case _:
            return None


def as_problem(error: BaseException) -> Problem:
    """Return the problem that any error is; what nobody foresaw is an internal one."""
    if isinstance(error, Problem):
        return error
    found = engine_problem(error) if isinstance(error, Exception) else None
    return found or Problem(500, "internal_error", "the server failed; its log says how")


@contextlib.contextmanager
def file_errors() -> Generator[None]:
    """Turn the error of a file inside a sandbox into its problem.

    Not for what was started already: an exhausted server has done nothing here.
    """
    try:
        yield
    except OSError as error:
        problem = _file_problem(error)
        if problem is None:
            raise
        raise problem from error


def host_problem(error: OSError) -> Problem:
    """Return the problem of a host that cannot make a sandbox; it names no path of the host."""
    what = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in _FULL:
        return Problem(507, "no_space", f"the server has no room for another sandbox: {what}")
    return Problem(503, "no_capacity", f"the server cannot make a sandbox now: {what}")


def _file_problem(error: OSError) -> Problem | None:
    if error.errno in _EXHAUSTED:
        return Problem(503, "no_capacity", f"the server is exhausted: {os.strerror(error.errno)}")
    # Without a file name it is a fault of the server's own, such as a connection to a worker.
    if error.filename is None or error.errno is None:
        return None
    path = os.fsdecode(error.filename).encode(errors="replace").decode()
    if isinstance(error, NotARegularFileError):
        status, code, what = 409, "not_a_regular_file", "Not a regular file"
    else:
        status, code = _FILE_PROBLEMS.get(error.errno, _OTHER_FILE_PROBLEM)
        what = error.strerror or os.strerror(error.errno)  # an archive has its own
    name = errno.errorcode.get(error.errno)
    return Problem(status, code, f"{what}: '{path}'", path=path, errno=name)
