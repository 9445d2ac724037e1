"""JSON bodies, in and out: what is not JSON after RFC 8259, or not Unicode, does not come in."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from starlette.responses import Response

__all__ = ["answer", "decode", "encode"]


def encode(content: Any) -> bytes:
    """Write *content* as UTF-8."""
    # "replace" is for a lone surrogate, which an error may quote from a request.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def answer(content: Any, status: int = 200) -> Response:
    """Return *content* as a JSON response."""
    return Response(encode(content), status, media_type="application/json")


def decode(body: bytes | bytearray) -> Any:
    """Read JSON; raise ValueError with a message for people."""
    text = body.decode()
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\ud" in text or "\\uD" in text:
        _refuse_lone_surrogates(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a string has a lone surrogate") from None
