"""Rules of openapi.yaml that its validator does not know, and what becomes of it in a wheel.

`nox -s contract` compares generated/ with what the generator makes of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

SOURCE = Path(__file__).parents[1] / "openapi.yaml"
SPEC: dict[str, Any] = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
METHODS = {"get", "put", "post", "delete", "head", "patch"}


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in SPEC["paths"].values():
        for method in METHODS & set(path):
            yield path[method]["operationId"], path[method]


OPERATIONS = dict(operations())


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_described_and_has_a_place(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    (tag,) = operation["tags"]
    assert tag in {t["name"] for t in SPEC["tags"]}
    assert callable(importlib.import_module(f"lunette_api.api.{tag}.{name}")._get_kwargs)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_can_answer_with_a_problem(name: str) -> None:
    assert OPERATIONS[name]["responses"]["default"] == {"$ref": "#/components/responses/Problem"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_takes_one_media_type(name: str) -> None:
    # With two, the generator makes a module that cannot be imported.
    body = OPERATIONS[name].get("requestBody", {"content": {"none": {}}})
    assert len(body["content"]) == 1


def test_operations_are_unique() -> None:
    assert len(OPERATIONS) == len(list(operations()))


def test_every_code_of_a_problem_is_explained_once() -> None:
    table = re.findall(r"^\| \d{3} \| (.*?) \|", SPEC["info"]["description"], re.MULTILINE)
    explained = [code for cell in table for code in re.findall(r"`(\w+)`", cell)]
    assert len(explained) == len(set(explained))
    server = importlib.util.find_spec("lunette.server")
    assert server is not None and server.submodule_search_locations
    (package,) = server.submodule_search_locations
    text = "".join(path.read_text() for path in Path(package).rglob("*.py"))
    assert {code for code in explained if f'"{code}"' not in text} == set()


def examples(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if {"schema", "example"} <= node.keys() or {"schema", "examples"} <= node.keys():
            yield path, node
        for key, value in node.items():
            yield from examples(value, f"{path}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from examples(value, f"{path}/{number}")


EXAMPLES = dict(examples(SPEC))


@pytest.mark.parametrize("where", EXAMPLES)
def test_an_example_fits_its_schema(where: str) -> None:
    node = EXAMPLES[where]
    schema = {"allOf": [node["schema"]], "components": SPEC["components"]}
    found = [e["value"] for e in node.get("examples", {}).values()] + (
        [node["example"]] if "example" in node else []
    )
    for example in found:
        jsonschema_rs.validate(schema, example)


def test_the_server_has_the_contract_of_this_checkout() -> None:
    package = importlib.util.find_spec("lunette.server")
    assert package is not None and package.submodule_search_locations
    shipped = Path(package.submodule_search_locations[0]) / "openapi.yaml"
    if not shipped.exists():
        pytest.skip("lunette is not installed from a wheel here")
    assert shipped.read_bytes() == SOURCE.read_bytes()
