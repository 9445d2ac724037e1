"""The contract at work: bodies and parameters are checked against openapi.yaml itself."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
from jsonschema_rs import ValidationError, ValidationErrorKind
from starlette.requests import Request

from lunette.server._problems import Problem

__all__ = ["api_version", "check_body", "check_parameters", "check_query", "check_service", "load"]

_METHODS = ("get", "put", "post", "patch", "delete")
# Stands for the value in messages, which may be secret, or megabytes.
_MASK = "{value}"


def check_body(operation: str, body: object) -> None:
    """Raise the 422 of a JSON body that breaks the contract."""
    _check(_body_validator(operation), body)


def check_parameters(operation: str, values: Mapping[str, str]) -> None:
    """Raise the 422 of path, query and header parameters that break the contract."""
    _check(_parameter_validator(operation), dict(values))


def check_query(operation: str, request: Request) -> dict[str, Any]:
    """Return the parameters of the path, the query and the headers, numbers and booleans as such;
    raise the 422 of those that break the contract.
    """
    values: dict[str, Any] = {**request.path_params, **request.query_params}
    for name, parameter in _parameters(operation).items():
        if parameter["in"] == "header" and name in request.headers:
            values[name] = request.headers[name]
        read = _READ.get(parameter["schema"].get("type"))
        if read is not None and name in values:
            values[name] = read(values[name])
    _check(_parameter_validator(operation), values)
    return values


def _number(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) and "_" not in text else text


def _integer(text: str) -> int | str:
    # Longer ones are over every limit, and slow to read.
    return int(text) if re.fullmatch(r"-?[0-9]{1,30}", text) else text


def _boolean(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text, text)


_READ: dict[str | None, Callable[[str], object]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
}


def check_service(service: object) -> None:
    """Raise the 422 of a value that is no Compose service."""
    _check(_service_validator(), {"service": service})


def api_version() -> str:
    """Return the version of the contract."""
    version: str = load()["info"]["version"]
    return version


@functools.cache
def load() -> dict[str, Any]:
    """Read openapi.yaml: packaged beside this file, or at the top of the checkout."""
    import yaml

    packaged = Path(__file__).with_name("openapi.yaml")
    path = packaged if packaged.exists() else Path(__file__).parents[2] / "openapi.yaml"
    # Some builds of PyYAML lack libyaml; they take 150 ms for this instead of 10.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open("rb") as file:
        document: dict[str, Any] = yaml.load(file, Loader=loader)
    return document


@functools.cache
def _body_validator(operation: str) -> jsonschema_rs.Draft202012Validator:
    content = _operations()[operation]["requestBody"]["content"]
    return _validator(content["application/json"]["schema"])


@functools.cache
def _parameter_validator(operation: str) -> jsonschema_rs.Draft202012Validator:
    found = _parameters(operation)
    properties = {name: parameter["schema"] for name, parameter in found.items()}
    required = [name for name, parameter in found.items() if parameter["required"]]
    return _validator({"type": "object", "properties": properties, "required": required})


@functools.cache
def _parameters(operation: str) -> dict[str, Any]:
    found = [_resolved(p) for p in _operations()[operation]["parameters"]]
    return {parameter["name"]: parameter for parameter in found}


@functools.cache
def _service_validator() -> jsonschema_rs.Draft202012Validator:
    return _validator({"properties": {"service": {"$ref": "#/components/schemas/Service"}}})


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    document = {**schema, "components": load()["components"]}
    return jsonschema_rs.Draft202012Validator(document, mask=_MASK)


@functools.cache
def _operations() -> dict[str, Any]:
    return {
        path[method]["operationId"]: {
            **path[method],
            "parameters": [*path.get("parameters", ()), *path[method].get("parameters", ())],
        }
        for path in load()["paths"].values()
        for method in _METHODS
        if method in path
    }


def _resolved(parameter: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in parameter:
        return parameter
    name = parameter["$ref"].rpartition("/")[2]
    found: dict[str, Any] = load()["components"]["parameters"][name]
    return found


def _check(validator: jsonschema_rs.Draft202012Validator, value: object) -> None:
    try:
        validator.validate(value)
    except ValidationError as error:
        raise _problem(_sharpest(error)) from None


def _problem(error: ValidationError) -> Problem:
    path = [str(part) for part in (*error.instance_path, *_named_by(error.kind))]
    is_service = path[0:1] == ["service"] and len(path) > 1
    code = "invalid_service" if is_service else "invalid_request"
    name = f"'{'.'.join(path)}'" if error.instance_path else "the body"
    detail = error.message.replace(_MASK, name)
    if name not in detail:
        detail = f"{name}: {detail}"
    key = ".".join(path[1:] if is_service else path) or None
    return Problem(422, code, detail, key=key)


def _named_by(kind: ValidationErrorKind) -> list[str]:
    match kind:
        case ValidationErrorKind.Required(name):
            return [name]
        case ValidationErrorKind.AdditionalProperties(unexpected):
            return unexpected[:1]
        case _:
            return []


def _sharpest(error: ValidationError) -> ValidationError:
    """Return the branch of a oneOf that says most: the deepest, and not just "another type"."""
    if not isinstance(error.kind, ValidationErrorKind.OneOfNotValid):
        return error
    branches = [inner for branch in error.kind.context for inner in branch]
    sharpest = max(branches, key=lambda e: (len(e.instance_path), e.kind.name != "type"))
    if sharpest.kind.name == "type" and len(sharpest.instance_path) == len(error.instance_path):
        return error
    return sharpest
