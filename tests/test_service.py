from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from lunette._compose import KEYS
from lunette.errors import ServiceError
from lunette.service import checked


def test_what_is_asked_for_is_what_is_sent() -> None:
    service = {"image": "host", "command": ["a"], "labels": {"a": "b"}, "mem_limit": "1g"}
    assert checked(service) == service
    assert checked(MappingProxyType({"image": "a", "command": ("b",)})) == {
        "image": "a",
        "command": ["b"],
    }


def test_a_key_without_a_value_is_left_out() -> None:
    assert checked({"image": "a", "command": None}) == {"image": "a"}


@pytest.mark.parametrize("service", ["python:3.11", Path("compose.yaml"), None, 1, ["image"]])
def test_what_is_no_mapping(service: Any) -> None:
    with pytest.raises(TypeError, match="service must be a mapping such as"):
        checked(service)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("img", "image"), ("environemnt", "environment"), ("workdir", "working_dir"), ("env", "env")],
)
def test_a_slip_is_told_the_nearest_key(key: str, nearest: str) -> None:
    with pytest.raises(ServiceError, match=f"no service key '{key}'; did you mean '{nearest}"):
        checked({"image": "host", key: "x"})


def test_extensions() -> None:
    assert checked({"image": "a", "x-any": 1, "x-lunette": {}}) == {
        "image": "a",
        "x-any": 1,
        "x-lunette": {},
    }
    with pytest.raises(ServiceError, match="x-lunette must be a mapping, not str"):
        checked({"image": "a", "x-lunette": "b"})


@pytest.mark.parametrize("service", [{}, {"image": ""}, {"image": None}, {"build": "."}])
def test_an_image_is_needed(service: Any) -> None:
    with pytest.raises(ServiceError, match="names no image"):
        checked(service)


@pytest.mark.parametrize("key", sorted(KEYS - {"environment", "image"}))
def test_every_key_of_compose_is_sent(key: str) -> None:
    assert checked({"image": "a", key: "b"}) == {"image": "a", key: "b"}


def test_environment_is_filled_in_from_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "value")
    monkeypatch.delenv("UNSET", raising=False)
    as_list = ["A=1", "B=", "C=x=y", "SET", "UNSET"]
    as_mapping = {"A": "1", "B": "", "C": "x=y", "SET": None, "UNSET": None}
    expected = {"A": "1", "B": "", "C": "x=y", "SET": "value"}
    for environment in (as_list, tuple(as_list), as_mapping):
        assert checked({"image": "a", "environment": environment})["environment"] == expected


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ("A=1", "environment must be a mapping or a list, not str"),
        ([1], "environment: 1 must be a string"),
        (["=1"], "environment: '' is no name"),
        ({"A=B": "1"}, "environment: 'A=B' is no name"),
        ({"A": ["1"]}, "environment.A must be a string, not list"),
        ({"A": "\ud800"}, "service.environment.A cannot be written as UTF-8"),
        (["B=1", "A=\ud800"], r"service.environment\[1\] cannot be written as UTF-8"),
        ({"\ud800": "1"}, "service.environment cannot be written as UTF-8"),
        ({"A": float("nan")}, "service.environment.A must be a finite number, not nan"),
        ({"A": float("-inf")}, "service.environment.A must be a finite number, not -inf"),
        ({"A": "a\0b"}, "environment.A must not contain a NUL"),
    ],
)
def test_a_wrong_environment(environment: Any, names: str) -> None:
    with pytest.raises(ServiceError, match=names):
        checked({"image": "a", "environment": environment})


@pytest.mark.parametrize(
    ("service", "names"),
    [
        ({"image": "a", 1: "b"}, "service: 1 must be a string, not int"),
        ({"image": Path("a")}, "service.image must be a string, number, list or mapping, not"),
        (
            {"image": "a", "ports": [80, b"81"]},
            r"service.ports\[1\] must be .*, not bytes",
        ),
        ({"image": "a", "deploy": {"x": {1, 2}}}, "service.deploy.x must be a string, .*, not set"),
    ],
)
def test_what_is_no_json_is_named(service: Any, names: str) -> None:
    with pytest.raises(TypeError, match=names):
        checked(service)


def test_a_value_of_the_caller_that_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", os.fsdecode(b"\xff"))
    with pytest.raises(ServiceError, match=r"environment\.A cannot be written as UTF-8"):
        checked({"image": "a", "environment": ["A"]})


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"a": "\ud800"}, "service.labels.a cannot be written as UTF-8"),
        (["\ud800"], r"service.labels\[0\] cannot be written as UTF-8"),
        ({"a": float("inf")}, "service.labels.a must be a finite number, not inf"),
    ],
)
def test_wrong_labels(labels: Any, names: str) -> None:
    with pytest.raises(ServiceError, match=names):
        checked({"image": "a", "labels": labels})
