"""What a command is asked for, checked and made plain before anything is sent."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..config import checked_seconds

__all__ = ["at_most", "command_fields", "encodable", "seconds", "text", "whole"]

# As in openapi.yaml.
_LONGEST_TIMEOUT = 31_536_000
_LONGEST_PATH = 4096
_LONGEST_USER = 256
_LARGEST_OUTPUT_LIMIT = 16 * 1024 * 1024


def command_fields(
    command: object,
    *,
    cwd: object,
    env: object,
    user: object,
    timeout: object,
    input: object,
    output_limit: object = None,
) -> dict[str, Any]:
    """Return the fields of a request that runs *command*; only what was given is in it."""
    fields: dict[str, Any] = {"command": _command(command)}
    if cwd is not None:
        fields["cwd"] = at_most(_LONGEST_PATH, text(cwd, "cwd"), "cwd")
    if env is not None:
        fields["env"] = _env(env)
    if user is not None:
        fields["user"] = at_most(_LONGEST_USER, text(user, "user"), "user")
    if timeout is not None:
        fields["timeout"] = seconds(timeout, "timeout")
    if output_limit is not None:
        fields["output_limit"] = whole(output_limit, "output_limit", 0, _LARGEST_OUTPUT_LIMIT)
    return fields | _input(input)


def _input(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, bytes | bytearray | memoryview):
        data = cast("bytes", value)
        return {"input": base64.b64encode(data).decode("ascii"), "input_encoding": "base64"}
    return {"input": encodable(value, "input", "a string or bytes")}


def _command(command: object) -> str | list[str]:
    if isinstance(command, str):
        return text(command, "command")
    if not isinstance(command, Sequence) or isinstance(command, bytes | bytearray):
        raise TypeError(f"command must be a string or strings, not {type(command).__name__}")
    parts = cast("Sequence[object]", command)
    words = [_word(part, f"command[{n}]") for n, part in enumerate(parts)]
    if not words or not words[0]:
        raise ValueError("command must name a program")
    return words


def text(value: object, name: str) -> str:
    """Return a *value* that must be a string with something in it."""
    if not _word(value, name):
        raise ValueError(f"{name} must not be empty")
    return _word(value, name)


def at_most(length: int, text: str, name: str) -> str:
    """Return a *text* if it is not too long."""
    if len(text) > length:
        raise ValueError(f"{name} must be at most {length} characters, not {len(text)}")
    return text


def _word(value: object, name: str) -> str:
    text = encodable(value, name)
    if "\0" in text:
        raise ValueError(f"{name} must not contain a NUL character")
    return text


def encodable(value: object, name: str, what: str = "a string") -> str:
    """Return a *value* that must be a string, if it can be sent; *what* says all it may be."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be {what}, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} cannot be written as UTF-8: {error.reason}") from None
    return value


def _env(env: object) -> dict[str, str]:
    if not isinstance(env, Mapping):
        raise TypeError(f"env must be a mapping, not {type(env).__name__}")
    variables = cast("Mapping[object, object]", env)
    return {_variable(k): _word(value, f"env[{k!r}]") for k, value in variables.items()}


def _variable(name: object) -> str:
    variable = text(name, "env: a name")
    if "=" in variable:
        raise ValueError(f"env: the name {variable!r} must not contain '='")
    return variable


def seconds(value: object, name: str) -> float:
    """Return a *value* that must be a number of seconds above 0."""
    try:
        return checked_seconds(value, _LONGEST_TIMEOUT)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} {error}") from None


def whole(value: object, name: str, least: int, most: int) -> int:
    """Return a *value* that must be a whole number of a range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be {least} to {most}, not {value}")
    return value
