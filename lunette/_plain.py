"""What a caller gives becomes plain JSON, of a bounded size and depth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from .errors import ServiceError

__all__ = ["Plainer", "encodable"]

# Deeper than any service; a cycle is deeper still.
_DEEPEST = 64
# Characters, and as many for each value: a list that holds another one ten times, and so on, is
# small until it is written out.
_LARGEST = 16 * 1024 * 1024
_PER_VALUE = 64


class Plainer:
    """Makes values plain, until all of them together are too large."""

    def __init__(self) -> None:
        self._left = _LARGEST

    def mapping(
        self, mapping: Mapping[object, object], where: str, depth: int = 0
    ) -> dict[str, Any]:
        """Return a copy of *mapping* in the types of JSON; *where* names it in errors."""
        if depth > _DEEPEST:
            raise ServiceError(f"{_cut(where)} is nested more than {_DEEPEST} deep, or in itself")
        copy: dict[str, Any] = {}
        for key, value in mapping.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: {key!r} must be a string, not {type(key).__name__}")
            self._spend(key)
            copy[encodable(key, where)] = self.value(value, f"{where}.{key}", depth)
        return copy

    def value(self, value: object, where: str, depth: int) -> Any:
        """Return a copy of *value* in the types of JSON."""
        self._spend(value)
        if isinstance(value, str):
            return encodable(value, where)
        if isinstance(value, float) and not math.isfinite(value):
            raise ServiceError(f"{where} must be a finite number, not {value}")
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(value, Mapping):
            return self.mapping(cast("Mapping[object, object]", value), where, depth + 1)
        if isinstance(value, list | tuple):
            return self._items(cast("list[object]", value), where, depth + 1)
        raise TypeError(
            f"{where} must be a string, number, list or mapping, not {type(value).__name__}"
        )

    def _items(self, items: list[object], where: str, depth: int) -> list[Any]:
        if depth > _DEEPEST:
            raise ServiceError(f"{_cut(where)} is nested more than {_DEEPEST} deep, or in itself")
        return [self.value(item, f"{where}[{n}]", depth) for n, item in enumerate(items)]

    def _spend(self, value: object) -> None:
        self._left -= _PER_VALUE + (len(value) if isinstance(value, str) else 0)
        if self._left < 0:
            raise ServiceError("the service is larger than 16 MiB")


def encodable(text: str, where: str) -> str:
    """Return *text* if it can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ServiceError(f"{where} cannot be written as UTF-8: {error.reason}") from None
    return text


def _cut(where: str) -> str:
    return where if len(where) <= 80 else f"{where[:80]}..."
