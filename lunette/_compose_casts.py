"""Texts that Compose takes for a flag or a number, as the server has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

__all__ = ["cast_values"]

_BOOLEANS = frozenset({"init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty"})
_WORDS = {"true": True, "false": False}
_NUMBER = re.compile(r"-?[0-9]{1,19}")


def cast_values(service: Mapping[str, Any]) -> dict[str, Any]:
    """Return *service* with those flags and numbers that may be texts in Compose.

    Where both are of the schema, such as `pids_limit`, a text stays one.
    """
    found = {
        key: _WORDS.get(value.lower(), value)
        if key in _BOOLEANS and isinstance(value, str)
        else value
        for key, value in service.items()
    }
    if isinstance(found.get("ulimits"), Mapping):
        found["ulimits"] = _numbers(found["ulimits"])
    return found


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        return {key: _numbers(item) for key, item in fields.items()}
    is_number = isinstance(value, str) and _NUMBER.fullmatch(value)
    return int(value) if is_number else value
