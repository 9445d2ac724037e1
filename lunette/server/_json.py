"""JSON bodies, in and out: what is not JSON after RFC 8259, or not Unicode, does not come in."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast

from starlette.responses import Response

__all__ = ["answer", "answer_large", "decode", "encode"]

# Characters that are encoded at once; some milliseconds of the loop's time.
_PIECE = 256 * 1024


def encode(content: Any) -> bytes:
    """Write *content* as UTF-8."""
    # "replace" is for a lone surrogate, which an error may quote from a request.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def answer(content: Any, status: int = 200) -> Response:
    """Return *content* as a JSON response."""
    return Response(encode(content), status, media_type="application/json")


async def answer_large(content: Mapping[str, Any], is_large: bool) -> Response:
    """Return *content* as a JSON response; one that *is_large* is made in pieces, between which
    the loop does other things.
    """
    if not is_large:
        return answer(content)
    pieces: list[bytes] = []
    for piece in _pieces(content):
        pieces.append(piece.encode(errors="replace"))
        await asyncio.sleep(0)
    return Response(b"".join(pieces), media_type="application/json")


def _pieces(value: object) -> Iterator[str]:
    """Write *value* as `encode` does, a long string in several pieces."""
    if isinstance(value, Mapping):
        before = "{"
        for key, item in cast("Mapping[str, Any]", value).items():
            yield f"{before}{json.dumps(key)}:"
            yield from _pieces(item)
            before = ","
        yield "}" if before == "," else "{}"
    elif isinstance(value, str) and len(value) > _PIECE:
        yield '"'
        for begin in range(0, len(value), _PIECE):
            yield json.dumps(value[begin : begin + _PIECE], ensure_ascii=False)[1:-1]
        yield '"'
    else:
        yield json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
