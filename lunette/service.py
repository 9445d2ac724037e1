"""The specification of a sandbox: one service in the words of Docker Compose."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, cast

from ._compose import KEYS
from .errors import ServiceError

__all__ = ["checked"]

# What this server's engine cannot do is for the server to refuse, by name; what Compose does not
# know is a slip, and found here.


def checked(service: object) -> dict[str, Any]:
    """Check *service* and make it plain JSON, with the caller's environment filled in."""
    if not isinstance(service, Mapping):
        raise TypeError(
            'service must be a mapping such as {"image": "python:3.11-slim"}, '
            f"not {type(service).__name__}"
        )
    plain = _plain(cast("Mapping[object, object]", service), "service")
    for key, value in plain.items():
        _check_key(key, value)
    if not plain.get("image"):
        raise ServiceError('the service names no image; the smallest one is {"image": "host"}')
    if plain.get("environment") is not None:
        plain["environment"] = _environment(plain["environment"])
    return {key: value for key, value in plain.items() if value is not None}


def _check_key(key: str, value: object) -> None:
    if key == "x-lunette" and not isinstance(value, Mapping):
        raise ServiceError(f"x-lunette must be a mapping, not {type(value).__name__}")
    if key in KEYS or key.startswith("x-"):
        return
    import difflib  # only a slip pays for it

    nearest = difflib.get_close_matches(key, KEYS, n=1, cutoff=0)
    raise ServiceError(f"Compose knows no service key {key!r}; did you mean {nearest[0]!r}?")


def _environment(value: object) -> dict[str, Any]:
    """Read both of Compose's forms; a variable without a value has the caller's, if any."""
    if isinstance(value, Mapping):
        variables = dict(cast("Mapping[str, Any]", value))
    elif isinstance(value, list):
        variables = dict(map(_variable, cast("list[object]", value)))
    else:
        raise ServiceError(f"environment must be a mapping or a list, not {type(value).__name__}")
    for name, content in variables.items():
        _check_variable(name, content)
    filled = {k: _ours(k) if v is None else v for k, v in variables.items()}
    return {name: content for name, content in filled.items() if content is not None}


def _ours(name: str) -> str | None:
    value = os.environ.get(name)
    return None if value is None else _encodable(value, f"environment.{name}")


def _variable(entry: object) -> tuple[str, str | None]:
    if not isinstance(entry, str):
        raise ServiceError(f"environment: {entry!r} must be a string such as 'NAME=value'")
    name, equals, value = entry.partition("=")
    return name, value if equals else None


def _check_variable(name: str, value: object) -> None:
    if not name or "=" in name or "\0" in name:
        raise ServiceError(f"environment: {name!r} is no name of a variable")
    if not isinstance(value, str | int | float | None):
        raise ServiceError(f"environment.{name} must be a string, not {type(value).__name__}")
    if isinstance(value, str) and "\0" in value:
        raise ServiceError(f"environment.{name} must not contain a NUL character")


def _plain(mapping: Mapping[object, object], where: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in mapping.items():
        if not isinstance(key, str):
            raise TypeError(f"{where}: {key!r} must be a string, not {type(key).__name__}")
        plain[_encodable(key, where)] = _plain_value(value, f"{where}.{key}")
    return plain


def _encodable(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ServiceError(f"{where} cannot be written as UTF-8: {error.reason}") from None
    return text


def _plain_value(value: object, where: str) -> Any:
    if isinstance(value, str):
        return _encodable(value, where)
    if isinstance(value, float) and not math.isfinite(value):
        raise ServiceError(f"{where} must be a finite number, not {value}")
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return _plain(cast("Mapping[object, object]", value), where)
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        return [_plain_value(item, f"{where}[{n}]") for n, item in enumerate(items)]
    raise TypeError(
        f"{where} must be a string, number, list or mapping, not {type(value).__name__}"
    )
