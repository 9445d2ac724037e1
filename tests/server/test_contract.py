from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from lunette.server import _contract
from lunette.server._problems import Problem


def _refused(operation: str, body: object) -> Problem:
    with pytest.raises(Problem) as caught:
        _contract.check_body(operation, body)
    assert caught.value.status == 422
    return caught.value


@pytest.mark.parametrize(
    ("body", "key", "words"),
    [
        ([], None, 'the body is not of type "object"'),
        (None, None, 'the body is not of type "object"'),
        ({}, "command", '"command" is a required property'),
        ({"command": 1}, "command", "'command'"),
        ({"command": []}, "command", "'command' has less than 1 item"),
        ({"command": [1]}, "command.0", "'command.0' is not of type"),
        ({"command": "a\0"}, "command", "'command' does not match"),
        ({"command": "x", "nope": 1}, "nope", "'nope' was unexpected"),
        ({"command": "x", "timeout": 0}, "timeout", "'timeout' is less than or equal"),
        ({"command": "x", "timeout": True}, "timeout", "'timeout' is not of type"),
        ({"command": "x", "timeout": 10**400}, "timeout", "'timeout' is greater than"),
        ({"command": "x", "env": {"A": 1}}, "env.A", "'env.A' is not of type"),
        ({"command": "x", "env": {"A=B": "1"}}, "env", "A=B"),
        ({"command": "x", "input_encoding": "hex"}, "input_encoding", "is not one of"),
    ],
)
def test_a_refusal_names_the_field(body: object, key: str | None, words: str) -> None:
    problem = _refused("exec_command", body)
    assert (problem.code, problem.key) == ("invalid_request", key)
    assert words in problem.detail


def test_a_refusal_never_shows_the_value() -> None:
    for value in ({"s3cret": 1}, ["s3cret"], "s3cret\0"):
        body: Any = {"command": "x", "env": {"TOKEN": value}}
        assert "s3cret" not in _refused("exec_command", body).detail


def test_a_refusal_of_the_service_names_its_key() -> None:
    problem = _refused("create_sandbox", {"service": {"image": "host", "working_dir": "here"}})
    assert (problem.code, problem.key) == ("invalid_service", "working_dir")
    problem = _refused("create_sandbox", {"service": {}})
    assert (problem.code, problem.key) == ("invalid_service", "image")
    problem = _refused("create_sandbox", {"service": []})
    assert (problem.code, problem.key) == ("invalid_request", "service")
    problem = _refused("create_sandbox", {})
    assert (problem.code, problem.key) == ("invalid_request", "service")


def test_parameters_are_checked_too() -> None:
    _contract.check_parameters("read_file", {"sandbox_id": "x", "path": "a"})
    for values, key in (
        ({"sandbox_id": "x"}, "path"),
        ({"sandbox_id": "x", "path": ""}, "path"),
        ({"sandbox_id": "x", "path": "a\0"}, "path"),
        ({"sandbox_id": "x", "path": "a" * 4097}, "path"),
    ):
        with pytest.raises(Problem) as caught:
            _contract.check_parameters("read_file", values)
        assert (caught.value.status, caught.value.key) == (422, key)


def _request(query: str, headers: dict[str, str] | None = None) -> Request:
    fields = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
    return Request(
        {
            "type": "http",
            "path_params": {"sandbox_id": "s", "process_id": "p"},
            "query_string": query.encode(),
            "headers": fields,
        }
    )


def test_numbers_and_booleans_of_a_query_are_such() -> None:
    found = _contract.check_query("write_input", _request("offset=9007199254740991&end=true"))
    assert found == {"sandbox_id": "s", "process_id": "p", "offset": 2**53 - 1, "end": True}
    found = _contract.check_query("write_input", _request("offset=0&wait=1.5&end=false"))
    assert (found["offset"], found["wait"], found["end"]) == (0, 1.5, False)
    headers = {"last-event-id": "12", "accept": "*/*"}
    found = _contract.check_query("follow_process", _request("follow=false", headers))
    assert (found["Last-Event-ID"], found["follow"]) == ("12", False)


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("", "offset"),
        ("offset=", "offset"),
        ("offset=-1", "offset"),
        ("offset=1.0", "offset"),
        ("offset=1e3", "offset"),
        ("offset=1_0", "offset"),
        ("offset=%D9%A1", "offset"),  # a digit, in Arabic
        ("offset=9007199254740992", "offset"),
        ("offset=" + "9" * 5000, "offset"),
        ("offset=1&end=1", "end"),
        ("offset=1&end=TRUE", "end"),
        ("offset=1&wait=x", "wait"),
    ],
)
def test_a_query_that_breaks_the_contract(query: str, key: str) -> None:
    with pytest.raises(Problem) as caught:
        _contract.check_query("write_input", _request(query))
    assert (caught.value.status, caught.value.key) == (422, key)


def test_every_operation_with_a_json_body_has_a_validator() -> None:
    operations = _contract.load()["paths"].values()
    bodies = [
        operation["operationId"]
        for path in operations
        for operation in path.values()
        if isinstance(operation, dict)
        and "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert sorted(bodies) == [
        "begin_archive",
        "begin_upload",
        "commit_upload",
        "create_sandbox",
        "exec_command",
        "extend_sandbox",
        "move_file",
        "resize_terminal",
        "signal_process",
        "start_process",
        "stop_sandboxes",
        "write_file",
    ]
    for operation in bodies:
        assert _refused(operation, None).code == "invalid_request"


def test_examples_of_the_contract_pass() -> None:
    schemas = _contract.load()["components"]["schemas"]
    for operation, name in (
        ("begin_archive", "ArchiveRequest"),
        ("begin_upload", "UploadRequest"),
        ("commit_upload", "CommitRequest"),
        ("create_sandbox", "CreateSandbox"),
        ("exec_command", "ExecRequest"),
        ("move_file", "MoveRequest"),
        ("signal_process", "SignalRequest"),
        ("start_process", "StartRequest"),
        ("write_file", "WriteRequest"),
    ):
        for example in schemas[name]["examples"]:
            _contract.check_body(operation, example)
