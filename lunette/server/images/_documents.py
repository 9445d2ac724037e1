"""JSON of strangers: what is read of a registry, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = ["Document", "Fault", "read_object"]

Document = dict[str, Any]
Fault = Callable[[str], Exception]
"""Makes the error whose message is given."""


def read_object(content: bytes, fault: Fault) -> Document:
    """Read a JSON object; raise what *fault* makes of the reason why it is none."""
    try:
        found = json.loads(content)
        # A lone surrogate would fail only later, where nobody expects it.
        json.dumps(found, ensure_ascii=False).encode()
    except (RecursionError, ValueError):
        raise fault("is no JSON") from None
    if not isinstance(found, dict):
        raise fault("is no JSON object")
    return found  # pyright: ignore[reportUnknownVariableType]
