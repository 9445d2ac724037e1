"""Answers that a check of schemathesis does not expect, and the contract does.

A JSON schema says which requests are well formed. It does not say which sandboxes are there, what
an engine supports, or what a key was used for before; for that the contract has codes.
"""

from __future__ import annotations

from typing import Any

from population import Population, operation_of
from schemathesis.core import NotSet
from schemathesis.core.failures import AcceptedNegativeData, Failure, ServerError
from schemathesis.openapi.checks import (
    EnsureResourceAvailability,
    RejectedPositiveData,
    UseAfterFree,
)
from transfers import digest_of, wire_bytes

__all__ = ["is_excused"]

# Schemathesis takes 404 for an answer to anything; 410 is how the contract says that something is
# not there any more. Not in it: `sandbox_lost` and `sandbox_failed`, which nothing here may cause.
_GONE: set[tuple[str, str | None]] = {("sandbox_destroyed", None), ("sandbox_stopped", None)}

# What an upload is that cannot be gone on with.
_UPLOAD_FAILED: set[tuple[str, str | None]] = {
    ("invalid_request", "path"),  # of something in an archive
    ("invalid_request", None),  # what was sent is no archive, or one that is not taken
    ("digest_mismatch", None),
}

# Of requests that their schema allows: the code, and what its `key` or `path` must be ("*": any).
_REJECTED: dict[str, set[tuple[str, str | None]]] = {
    "create_sandbox": {
        ("not_supported", "*"),  # a service of Compose that this engine has not
        ("invalid_service", "*"),  # a key that Compose has not, unbalanced quotes, a NUL
        ("key_reused", "sandbox_id"),  # the id has another specification
        ("invalid_image", "image"),  # what the registry has is malformed or unsafe
    },
    "get_sandbox": {
        ("not_supported", "*"),  # why it could not be made, after a 202
        ("invalid_service", "*"),
        ("invalid_image", "image"),
    },
    "create_sandbox_from_form": {
        ("not_supported", "*"),  # as above, or a build
        ("invalid_service", "*"),  # as above, or neither `image` nor `service`
        ("invalid_request", "service"),  # its text is no JSON
        ("key_reused", "sandbox_id"),
        ("invalid_image", "image"),
        *_GONE,  # what was made under this key before
    },
    "stop_sandboxes": {
        ("not_supported", "save_state"),  # until snapshots exist
    },
    "exec_command": {
        ("key_reused", "Idempotency-Key"),
        ("invalid_request", "input"),  # is no base64, and says that it is
        ("invalid_request", "path"),  # a `cwd` that no file system takes
        ("not_supported", "user"),  # that the sandbox does not know, or cannot become
    },
    "start_process": {
        ("key_reused", "Idempotency-Key"),
        ("invalid_request", "input"),
        ("invalid_request", "path"),
        ("not_supported", "user"),
    },
    "get_process": {
        ("invalid_request", "path"),  # why it could not be started, after a 202
        ("not_supported", "user"),
    },
    "follow_process": {
        ("invalid_request", "Last-Event-ID"),  # after what the process has written
        ("not_supported", "process_id"),  # a command of exec
    },
    "write_input": {("not_supported", "process_id")},
    "signal_process": {("invalid_request", "signal"), ("not_supported", "process_id")},
    "resize_terminal": {("not_supported", "process_id"), ("not_supported", "tty")},
    "write_file": {
        ("invalid_request", "content"),  # is no base64, and says that it is
        ("invalid_request", "path"),  # that no file system takes, such as a name of 256 bytes
    },
    "upload_file": {("invalid_request", "*"), ("digest_mismatch", None)},  # a digest that is none
    "download_file": {
        ("invalid_request", "path"),
        ("precondition_failed", "*"),
        ("range_not_satisfiable", "*"),
    },
    "read_file": {("invalid_request", "path")},
    "stat_file": {("invalid_request", "path")},
    "list_files": {("invalid_request", "path"), ("listing_too_large", "*")},
    "make_directory": {("invalid_request", "path"), ("key_reused", "Idempotency-Key")},
    "remove_file": {("invalid_request", "path"), ("key_reused", "Idempotency-Key")},
    "move_file": {("invalid_request", "path"), ("key_reused", "Idempotency-Key")},
    "begin_upload": {
        ("invalid_request", "path"),
        ("invalid_request", "mode"),  # of a directory
        ("invalid_request", "if_exists"),
        ("key_reused", "upload_id"),
    },
    "get_upload": _UPLOAD_FAILED,
    "send_upload": _UPLOAD_FAILED,
    "commit_upload": {
        *_UPLOAD_FAILED,
        ("invalid_request", "digest"),  # which was not asked for
    },
    "begin_archive": {
        ("invalid_request", "path"),
        ("invalid_request", "ignore"),
        ("key_reused", "archive_id"),
    },
    "read_archive": {("invalid_request", "path"), ("range_not_satisfiable", "offset")},
    "pull_image": {
        ("invalid_request", "reference"),  # by the grammar of Docker, which no pattern has
        ("not_supported", "reference"),  # an image for another machine
        ("invalid_image", "reference"),
    },
    "remove_image": {("invalid_request", "reference")},
}
_MISMATCH: set[tuple[str, str | None]] = {("digest_mismatch", None)}
# The registry of `origin.py` fails as often as it is asked to.
_FAILED: dict[str, set[tuple[str, str | None]]] = {
    "create_sandbox": {("registry_error", "image")},
    "create_sandbox_from_form": {("registry_error", "image")},
    "get_sandbox": {("registry_error", "image")},
    "pull_image": {("registry_error", "reference")},
}
# Nothing was done, as the contract says, and what is asked for again is done: the machine is busy.
_BUSY: set[tuple[str, str | None]] = {("no_capacity", None), ("no_space", None)}
# What a sandbox that was just made may lack, or why it could not be made after a 202.
_NOT_THERE: set[tuple[str, str | None]] = {
    ("file_not_found", "*"),
    ("process_not_found", "*"),
    ("image_not_found", "image"),
    ("upload_not_found", None),
    ("archive_not_found", None),
}


def is_excused(failure: Failure, case: Any, response: Any, population: Population) -> bool:
    """Say whether the contract explains what a check has found."""
    operation = operation_of(case)
    if operation is None:
        return False
    if isinstance(failure, RejectedPositiveData):
        if _has(response, _MISMATCH):
            return not _is_as_sent(operation, case, population)
        return _has(response, _REJECTED.get(operation, set())) or _is_gone(case, response)
    if isinstance(failure, ServerError):
        return _has(response, _FAILED.get(operation, set())) or _passes(response, population)
    if isinstance(failure, AcceptedNegativeData):
        # That a sandbox is gone is found before the rest of the request is looked at.
        return _is_gone(case, response) or _is_empty_upload(operation, case)
    if isinstance(failure, EnsureResourceAvailability):
        return _has(response, _NOT_THERE) or _was_never_made(case, response, population)
    if isinstance(failure, UseAfterFree):
        # A command that was killed has an outcome and output, which its key gives while keys live.
        # What a path leads to may be another file; an upload that was committed stays so.
        return (
            (operation in ("get_process", "follow_process") and "/processes/" in failure.free)
            or failure.free.endswith("/files")
            or (operation == "get_upload" and "/uploads/" in failure.free)
        )
    return False


def _is_as_sent(operation: str, case: Any, population: Population) -> bool:
    """Whether a request names the length and the digest of what was sent."""
    if operation == "upload_file":
        found: bool = case.headers.get("Repr-Digest") == digest_of(wire_bytes(case.body))
        return found
    upload = population.transfers.latest
    if upload is None or operation != "commit_upload":
        return False
    digest = case.body.get("digest", digest_of(upload.sent))
    return bool(case.body["length"] == len(upload.sent) and digest == digest_of(upload.sent))


def _is_gone(case: Any, response: Any) -> bool:
    return "sandbox_id" in case.path_parameters and _has(response, _GONE)


def _passes(response: Any, population: Population) -> bool:
    """Whether the server had no room for something for a while only."""
    return _has(response, _BUSY) and population.is_served_later(response.request)


def _was_never_made(case: Any, response: Any, population: Population) -> bool:
    """Whether the sandbox, which was being made at a 202, could not be, as its own path says."""
    if not _has(response, {("sandbox_not_found", None)}):
        return False
    problem = population.problem_of(case.path_parameters["sandbox_id"])
    codes = _REJECTED["get_sandbox"] | _FAILED["get_sandbox"] | _NOT_THERE
    return problem is not None and _is_one_of(problem, codes)


def _is_empty_upload(operation: str, case: Any) -> bool:
    """Whether no body was sent to where an empty body is an empty file: on the wire, the same."""
    return operation in ("upload_file", "send_upload") and isinstance(case.body, NotSet)


def _has(response: Any, codes: set[tuple[str, str | None]]) -> bool:
    """Whether an answer is a problem of one of *codes*."""
    if response.headers.get("content-type") != ["application/problem+json"]:
        return False
    return _is_one_of(response.json(), codes)


def _is_one_of(problem: dict[str, Any], codes: set[tuple[str, str | None]]) -> bool:
    subject = "path" if "path" in problem else problem.get("key")
    return bool({(problem["code"], subject), (problem["code"], "*")} & codes)
