"""Requests as schemathesis makes them end in 404 mostly; aimed, they reach what is behind."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

from aim_files import FileAim
from population import Population, operation_of
from schemathesis.core.parameters import ParameterLocation
from services import aimed_reference, aimed_service, bounded_service

__all__ = ["Aim"]

_COMMANDS = (
    "echo hello; echo there >&2",
    "cat",
    "exit 3",
    "kill -TERM $$",
    "sleep 0.1",
    "sleep 30",
    "head -c 100000 /dev/urandom",
    "yes | head -c 300000; ls /nope",
    "(sleep 0.1; echo late > /workspace/late) &",
    "mkdir -p d; ln -sf d l; ln -sf loop loop; mkfifo pipe; rm -rf a.txt; touch .hidden",
    ["python3", "-c", "import sys; print(sys.stdin.read())"],
    ["env"],
    ["no-such-program"],
    ["/etc/passwd"],
)
_PREFERENCES = (
    "respond-async",
    "respond-async, wait=0",
    "respond-async,wait=1",
    'wait="2"; a=b, respond-async',
    "handling=lenient",
)
# Of each operation: how often a good image, a refused one, no valid name, and what was generated.
# A pull is a process, and takes as long as twenty other requests.
_REFERENCES: dict[str | None, tuple[float, ...]] = {
    "pull_image": (0.2, 0.15, 0.5, 0.15),
    "remove_image": (0.3, 0.1, 0.3, 0.3),
}
_OF_PROCESSES = ("follow_process", "resize_terminal", "signal_process", "write_input")
_USERS = ("root", "0", "nobody", "65534:65534", "no-such-user")
_SIGNALS = ("SIGTERM", "USR1", "int", "SIGKILL", 2, 9, 19, 18, 64)
_LONG = 3600
_KEYS = tuple(f"key-{number}" for number in range(12))


class Aim:
    """Fills a request with what the *population* has; what breaks the contract stays as it is."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._choice = population.choice
        self._files = FileAim(population)

    def __call__(self, case: Any) -> None:
        # Hypothesis gives up where a request that it sends again has another answer.
        self._choice.seed(self._population.seed + _content(case))
        operation = operation_of(case)
        if not _is_negative(case, ParameterLocation.PATH):
            self._aim_path(case, operation)
        if not _is_negative(case, ParameterLocation.QUERY):
            self._aim_query(case, operation)
        if not _is_negative(case, ParameterLocation.HEADER):
            self._aim_headers(case, operation)
        if not _is_negative(case, ParameterLocation.BODY):
            self._aim_body(case, operation)

    def _aim_path(self, case: Any, operation: str | None) -> None:
        if "reference" in case.path_parameters and not _is_of_a_link(case, "reference"):
            given = str(case.path_parameters["reference"])
            weights = _REFERENCES.get(operation, (0, 0, 0, 1))
            found = aimed_reference(self._choice, given, weights=weights)
            case.path_parameters["reference"] = found
        given = case.path_parameters.get("sandbox_id")
        if not isinstance(given, str) or _is_of_a_link(case, "sandbox_id"):
            return
        case.path_parameters["sandbox_id"] = self._sandbox_for(operation, given)
        if "process_id" in case.path_parameters:
            self._aim_process(case, operation)
        if not case.path_parameters.keys().isdisjoint(("upload_id", "archive_id")):
            self._files.aim_transfer(case, operation)
        if "files" in case.operation.definition.raw["tags"]:
            self._population.furnish(case.path_parameters["sandbox_id"])

    def _aim_process(self, case: Any, operation: str | None) -> None:
        if operation == "start_process" and self._often(0.7):
            case.path_parameters["process_id"] = self._population.new_id()
        elif self._often(0.8):
            command = self._population.command(started=operation in _OF_PROCESSES)
            if command is None:
                return
            case.path_parameters["sandbox_id"] = command.sandbox_id
            case.path_parameters["process_id"] = command.key
            if operation == "start_process" and self._often(0.5):
                case.body = copy.deepcopy(command.body)

    def _sandbox_for(self, operation: str | None, given: str) -> str:
        living, gone, new = self._population.living, self._population.gone, self._population.new_id
        shares: dict[str | None, tuple[float, float, float]] = {
            "create_sandbox": (0.3, 0.1, 0.5),
            "delete_sandbox": (0.3, 0.2, 0.3),
        }
        weights = (*shares.get(operation, (0.85, 0.05, 0.02)), 0.1)
        choose = self._choice.choices((living, gone, new, lambda: given), weights)[0]
        return choose()

    def _aim_query(self, case: Any, operation: str | None) -> None:
        self._files.aim_query(case, operation)
        if operation == "write_input":
            case.query["wait"] = self._choice.choice((0, 0.05))
            if self._often(0.7):
                case.query["offset"] = 0
        if operation == "follow_process" and self._often(0.6):
            case.query["follow"] = "false"

    def _aim_headers(self, case: Any, operation: str | None) -> None:
        if "Prefer" in case.headers and self._often(0.8):
            case.headers["Prefer"] = self._choice.choice(_PREFERENCES)
        if "Idempotency-Key" in case.headers and self._often(0.6):
            if operation == "exec_command":
                self._repeat(case)
            else:
                case.headers["Idempotency-Key"] = self._population.new_id()
        self._files.aim_headers(case, operation)

    def _aim_body(self, case: Any, operation: str | None) -> None:
        if not isinstance(case.body, dict):
            self._files.aim_bytes(case, operation)
            return
        body = copy.deepcopy(case.body)  # of coverage, parts are shared
        aim = getattr(self, f"_body_{operation}", None)
        if aim is not None:
            aim(case, body)
        self._files.aim_body(case, operation, body)
        case.body = body

    def _repeat(self, case: Any) -> None:
        """Send a command again, or another one under its key."""
        case.headers["Idempotency-Key"] = self._choice.choice(_KEYS)
        command = self._population.command()
        if command is None or self._often(0.4):
            return
        case.path_parameters["sandbox_id"] = command.sandbox_id
        case.headers["Idempotency-Key"] = command.key
        if not _is_negative(case, ParameterLocation.BODY) and self._often(0.7):
            case.body = copy.deepcopy(command.body)

    def _body_extend_sandbox(self, case: Any, body: dict[str, Any]) -> None:
        _lengthen(body, "seconds")

    def _body_start_process(self, case: Any, body: dict[str, Any]) -> None:
        self._body_exec_command(case, body)
        body["interactive"] = self._often(0.5)
        if self._often(0.7):
            body.pop("tty", None)

    def _body_signal_process(self, case: Any, body: dict[str, Any]) -> None:
        if self._often(0.8):
            body["signal"] = self._choice.choice(_SIGNALS)

    def _body_exec_command(self, case: Any, body: dict[str, Any]) -> None:
        if any(body == command.body for command in self._population.commands):
            return  # to be repeated to the letter
        if self._often(0.6):
            body["command"] = copy.copy(self._choice.choice(_COMMANDS))
        if self._often(0.8):
            body.pop("cwd", None)
        if "user" in body:
            body["user"] = self._choice.choice(_USERS)
        if self._often(0.6):
            body.pop("user", None)
        # Nothing may run for long: what waits for it would wait too.
        body["timeout"] = min(body.get("timeout", 1), self._choice.choice((0.05, 0.2, 1)))
        self._encode(body, "input", "input_encoding")

    def _body_write_file(self, case: Any, body: dict[str, Any]) -> None:
        body["path"] = self._files.path_of(case, body["path"])
        self._encode(body, "content", "encoding")

    def _body_stop_sandboxes(self, case: Any, body: dict[str, Any]) -> None:
        if self._often(0.8):
            body.pop("save_state", None)
        if self._often(0.7):
            ids = (self._population.living(), self._population.gone(), self._population.new_id())
            body["sandbox_ids"] = self._choice.sample(ids, self._choice.randint(0, 3))

    def _body_create_sandbox(self, case: Any, body: dict[str, Any]) -> None:
        _lengthen(body, "ttl", "idle_timeout")
        known = self._population.specifications.get(case.path_parameters.get("sandbox_id"))
        if known is not None and self._often(0.7):
            body.update(copy.deepcopy(known))
        elif self._often(0.85):
            body["service"] = aimed_service(self._choice, body["service"])
        else:
            bounded_service(self._choice, body["service"])

    def _body_create_sandbox_from_form(self, case: Any, body: dict[str, Any]) -> None:
        if self._often(0.1):
            return
        for key in ("dockerfile", "build_context", "service"):
            body.pop(key, None)
        body["image"] = "host"
        if self._often(0.5):
            body["service"] = json.dumps(aimed_service(self._choice, {}) | {"x-more": [None]})

    def _encode(self, body: dict[str, Any], field: str, encoding: str) -> None:
        """Let a field that says so be base64."""
        if body.get(encoding) == "base64" and field in body and self._often(0.8):
            content: str = body[field]
            body[field] = base64.b64encode(content.encode(errors="replace")).decode()

    def _often(self, share: float) -> bool:
        return self._choice.random() < share


def _lengthen(body: dict[str, Any], *names: str) -> None:
    """Let nothing expire while it is under attack."""
    for name in names:
        if isinstance(body.get(name), int | float):
            body[name] = max(body[name], _LONG)


def _content(case: Any) -> str:
    parts = (case.path_parameters, case.query, dict(case.headers), case.body)
    return repr((case.method, case.path, *parts))


def _is_of_a_link(case: Any, name: str) -> bool:
    """Whether the answer to an earlier request said what to send."""
    return name in case._override.path_parameters


def _is_negative(case: Any, location: ParameterLocation) -> bool:
    """Whether the request is meant to break the contract there."""
    found: bool = case.meta is not None and case.meta.is_negative_at(location)
    return found
