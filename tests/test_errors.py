from __future__ import annotations

import errno
import os
import pickle
import subprocess
from typing import Any

import httpx
import pytest
from attrs import evolve

import lunette
from lunette import errors
from lunette._answers import from_answer, from_transport
from lunette.results import ExecResult

REQUEST = httpx.Request(
    "GET", "http://test/sandboxes/s1/files?path=/w/a", headers={"X-API-Key": "s3cret"}
)


def answer(status: int, **problem: Any) -> httpx.Response:
    return httpx.Response(status, json=problem, request=REQUEST)


def from_code(status: int, code: str, **more: Any) -> errors.APIError:
    response = answer(status, code=code, detail="the detail", request_id="r1", **more)
    return from_answer(response)


KINDS = [
    (401, "unauthorized", errors.AuthenticationError, errors.APIError),
    (403, "permission_denied", errors.SandboxPermissionError, PermissionError),
    (404, "file_not_found", errors.SandboxFileNotFoundError, FileNotFoundError),
    (404, "sandbox_not_found", errors.SandboxNotFoundError, errors.SandboxDestroyedError),
    (404, "unknown_endpoint", errors.APIError, errors.APIError),
    (403, "registry_denied", errors.ImageError, errors.LunetteError),
    (404, "image_not_found", errors.ImageNotFoundError, errors.ImageError),
    (409, "image_in_use", errors.ImageError, errors.LunetteError),
    (422, "invalid_image", errors.ImageError, errors.LunetteError),
    (502, "registry_error", errors.ImageError, errors.LunetteError),
    (409, "file_exists", errors.SandboxFileExistsError, FileExistsError),
    (409, "is_a_directory", errors.SandboxIsADirectoryError, IsADirectoryError),
    (409, "not_a_directory", errors.SandboxNotADirectoryError, NotADirectoryError),
    (400, "unsupported_api_version", errors.VersionError, errors.LunetteError),
    (409, "key_given_up", errors.APIError, errors.APIError),
    (404, "process_not_found", errors.ProcessNotFoundError, errors.LunetteError),
    (409, "input_closed", errors.ProcessInputClosedError, BrokenPipeError),
    (409, "input_gap", errors.APIError, errors.APIError),
    (409, "sandbox_paused", errors.SandboxPausedError, errors.LunetteError),
    (409, "outcome_expired", errors.OutcomeExpiredError, errors.LunetteError),
    (410, "sandbox_expired", errors.SandboxExpiredError, errors.SandboxDestroyedError),
    (410, "sandbox_out_of_memory", errors.SandboxOutOfMemoryError, errors.SandboxDestroyedError),
    (429, "too_many_requests", errors.RateLimitError, errors.APIError),
    (410, "sandbox_destroyed", errors.SandboxDestroyedError, errors.LunetteError),
    (410, "sandbox_failed", errors.SandboxFailedError, errors.SandboxDestroyedError),
    (410, "sandbox_lost", errors.SandboxLostError, errors.SandboxDestroyedError),
    (410, "sandbox_stopped", errors.SandboxStoppedError, errors.SandboxDestroyedError),
    (422, "invalid_service", errors.ServiceError, ValueError),
    (422, "not_supported", errors.NotSupportedError, errors.LunetteError),
    (503, "no_capacity", errors.APIError, errors.APIError),
    (422, "invalid_request", errors.APIError, errors.APIError),
    (507, "no_space", errors.APIError, errors.APIError),
]
FILE_KINDS = [
    (400, "digest_mismatch", errno.EIO),
    (404, "archive_not_found", errno.EIO),
    (404, "upload_not_found", errno.EIO),
    (409, "directory_not_empty", errno.ENOTEMPTY),
    (409, "file_busy", errno.EBUSY),
    (409, "file_changed", errno.ESTALE),
    (409, "file_exists", errno.EEXIST),
    (409, "not_a_regular_file", errno.EINVAL),
    (409, "upload_gap", errno.EIO),
    (412, "precondition_failed", errno.ESTALE),
    (413, "file_too_large", errno.EFBIG),
    (413, "listing_too_large", errno.EOVERFLOW),
    (416, "range_not_satisfiable", errno.EIO),
    (422, "invalid_request", errno.EINVAL),
    (507, "no_space", errno.ENOSPC),
]


@pytest.mark.parametrize(("status", "code", "kind", "also"), KINDS)
def test_a_code_decides_what_an_answer_means(
    status: int, code: str, kind: type[Exception], also: type[Exception]
) -> None:
    error = from_code(status, code)
    assert isinstance(error, kind)
    assert isinstance(error, also)
    assert isinstance(error, errors.APIError)
    assert isinstance(error, httpx.HTTPStatusError)
    assert type(error).__name__ == kind.__name__
    assert (error.status_code, error.code, error.detail, error.request_id) == (
        status,
        code,
        "the detail",
        "r1",
    )
    assert str(error) == "the detail (request r1)" or isinstance(error, OSError)


@pytest.mark.parametrize(("status", "code", "number"), FILE_KINDS)
def test_what_is_wrong_with_a_file_has_an_errno(status: int, code: str, number: int) -> None:
    error = from_code(status, code, path="/w/a")
    assert isinstance(error, errors.SandboxFileError)
    assert isinstance(error, OSError)
    assert (error.errno, error.filename, error.code) == (number, "/w/a", code)
    assert str(error) == f"[Errno {number}] {error.strerror}: '/w/a' (in the sandbox)"


@pytest.mark.parametrize("said", ["EROFS", "ELOOP", "ETXTBSY"])
def test_an_error_of_a_file_has_the_errno_that_the_server_says(said: str) -> None:
    error = from_code(403, "permission_denied", path="/w/a", errno=said)
    assert isinstance(error, errors.SandboxPermissionError)
    number = getattr(errno, said)
    assert (error.errno, error.strerror) == (number, os.strerror(number))


@pytest.mark.parametrize("said", ["nonsense", {}, 13, None])
def test_an_errno_that_is_none_is_passed_over(said: object) -> None:
    error = from_code(403, "permission_denied", path="/w/a", errno=said)
    assert isinstance(error, errors.SandboxPermissionError)
    assert error.errno == errno.EACCES


def test_an_upload_whose_path_is_not_said() -> None:
    request = httpx.Request("PATCH", "http://test/sandboxes/s1/uploads/u1?offset=0")
    problem = {"code": "upload_not_found", "detail": "the detail"}
    error = from_answer(httpx.Response(404, json=problem, request=request))
    assert isinstance(error, errors.SandboxFileError)
    assert error.filename is None
    assert str(error).endswith("The transfer is over, or was given up (in the sandbox)")


def test_an_html_page_keeps_its_status() -> None:
    page = httpx.Response(502, html="<h1>Bad\n Gateway</h1>", request=REQUEST)
    error = from_answer(page)
    assert type(error) is errors.APIError
    assert (error.status_code, error.code) == (502, None)
    assert str(error).endswith("not by a Lunette server: <h1>Bad Gateway</h1>")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"\xff", b'{"detail": "no code"}', b"[" * 100_000]
)
def test_an_answer_that_is_no_problem(body: bytes) -> None:
    error = from_answer(httpx.Response(500, content=body, request=REQUEST))
    assert type(error) is errors.APIError
    assert "500" in str(error)


def test_file_errors_are_those_of_the_operating_system() -> None:
    error: Any = from_code(404, "file_not_found")
    assert (error.errno, error.strerror, error.filename) == (2, "No such file or directory", "/w/a")
    assert str(error) == "[Errno 2] No such file or directory: '/w/a' (in the sandbox)"
    named: Any = from_answer(answer(404, code="file_not_found", path="/w/b"))
    assert named.filename == "/w/b"


@pytest.mark.parametrize(
    "kind",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ReadError,
        httpx.ReadTimeout,
        httpx.RemoteProtocolError,
        httpx.LocalProtocolError,
        httpx.WriteError,
        httpx.DecodingError,
    ],
)
def test_no_answer_is_the_httpx_error_of_its_kind(kind: type[httpx.RequestError]) -> None:
    error = from_transport(kind("why", request=REQUEST))
    assert isinstance(error, kind)
    assert isinstance(error, errors.TransportError)
    assert isinstance(error, httpx.HTTPError)
    assert isinstance(error, errors.RequestTimeoutError) == issubclass(kind, httpx.TimeoutException)
    assert (str(error), error.request) == ("why", REQUEST)


RESULT = ExecResult("out", "err", 3, signal=9, stdout_base64="b3V0")

SAMPLES = [
    *(from_code(status, code) for status, code, _, _ in KINDS),
    *(from_code(status, code, path="/w/b") for status, code, _ in FILE_KINDS),
    from_answer(httpx.Response(502, html="<h1>", request=REQUEST)),
    from_transport(httpx.ReadTimeout("slow", request=REQUEST)),
    from_transport(httpx.ConnectError("refused")),
    from_transport(httpx.ReadError("cut"), errors.SandboxLostError, "it died"),
    errors.AuthenticationError("no", response=answer(401)),
    errors.ClientClosedError("closed"),
    errors.EmbeddedServerError("no room"),
    errors.ConfigError("wrong"),
    errors.ExecFailedError(["false"], RESULT),
    errors.ExecTimeoutError("sleep", 2, RESULT),
    errors.LunetteError("any"),
    errors.NotSupportedError("no"),
    errors.ProcessNotFoundError("no"),
    errors.ProcessRunningError("p1", 2.5),
    from_code(404, "image_not_found"),
    errors.SandboxDestroyedError("gone"),
    errors.SandboxFailedError("gone"),
    errors.SandboxLostError("gone"),
    errors.SandboxPausedError("paused"),
    errors.SandboxNotFoundError("gone"),
    errors.SandboxStoppedError("gone"),
    errors.ServiceError("wrong"),
    errors.TransportError("cut"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=repr)
def test_every_error_survives_pickling_without_the_key(error: errors.LunetteError) -> None:
    frozen = pickle.dumps(error)
    copy = pickle.loads(frozen)

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert b"s3cret" not in frozen
    for name in (
        "status_code",
        "code",
        "detail",
        "request_id",
        "result",
        "filename",
        "errno",
        "strerror",
    ):
        assert getattr(copy, name, None) == getattr(error, name, None)
    if isinstance(error, errors.APIError):
        assert isinstance(copy, errors.APIError)
        assert copy.response.content == error.response.content


def test_every_error_has_a_sample_and_a_place_in_the_tree() -> None:
    kinds = {
        c for c in vars(errors).values() if isinstance(c, type) and c.__module__.endswith(".errors")
    }
    public = {c for c in kinds if issubclass(c, errors.LunetteError) and c.__name__[0] != "_"}
    sampled = {base for sample in SAMPLES for base in type(sample).__mro__}
    assert public <= sampled
    for kind in public:
        assert kind.__name__ in str(errors.__doc__)
        assert getattr(lunette, kind.__name__) is kind


def test_exec_errors_are_what_python_has_for_it() -> None:
    assert issubclass(errors.ExecFailedError, subprocess.CalledProcessError)
    assert issubclass(errors.ExecTimeoutError, TimeoutError)
    failed = errors.ExecFailedError("false", RESULT)
    assert (failed.returncode, failed.cmd, failed.stdout, failed.stderr) == (
        3,
        "false",
        "out",
        "err",
    )
    killed = errors.ExecFailedError("false", evolve(RESULT, out_of_memory=True))
    assert str(killed) == f"{failed} It was killed: its sandbox had no memory left."
