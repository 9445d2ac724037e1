"""Request bodies: of the right type, never larger than allowed, and as the contract says."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from lunette.server import _contract, _json
from lunette.server._problems import Problem

__all__ = [
    "JSON_BODY_LIMIT",
    "decode_text",
    "media_type",
    "parse_json",
    "raw",
    "read_json",
    "read_json_body",
    "read_unchecked_json",
    "require_media_type",
]

JSON_BODY_LIMIT = 64 * 1024 * 1024


async def read_json(request: Request, operation: str) -> Any:
    """Read the JSON body of *operation* and check it against the contract."""
    return parse_json(await read_json_body(request), operation)


def parse_json(content: bytes | bytearray, operation: str) -> Any:
    """Read *content* and check it against the contract of *operation*."""
    value = _decode(content)
    _contract.check_body(operation, value)
    return value


async def read_unchecked_json(request: Request) -> Any:
    """Read a JSON body that the caller checks."""
    return _decode(await read_json_body(request))


async def read_json_body(request: Request) -> bytes | bytearray:
    """Read a body that says that it is JSON."""
    require_media_type(request, "application/json")
    return await _read(request)


def _decode(content: bytes | bytearray) -> Any:
    try:
        return _json.decode(content)
    except ValueError as error:
        raise Problem(400, "bad_request", f"the body is no JSON: {error}") from None


def media_type(request: Request) -> str:
    """Return the media type of the body without its parameters, or an empty string."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_media_type(request: Request, *allowed: str) -> None:
    """Refuse other types; a web page can send text/plain anywhere without asking."""
    found = media_type(request)
    if found in allowed:
        return
    names = " or ".join(name for name in allowed if name)
    detail = f"the Content-Type is {found!r} and must be {names}"
    raise Problem(415, "unsupported_media_type", detail)


def decode_text(text: str, encoding: str, key: str) -> bytes:
    """Return the bytes that a field of a body stands for."""
    if encoding == "utf-8":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(422, "invalid_request", f"'{key}' is no base64: {error}", key=key) from None


async def raw(receive: Receive, limit: int | None = None) -> AsyncIterator[bytes]:
    """Yield the body as *receive* gives it."""
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.pop("body", b"")
        total += len(chunk)
        if limit is not None and total > limit:
            raise _too_large(limit)
        if chunk:
            yield chunk
        del chunk  # the next may be long in coming
        if not message.get("more_body", False):
            return


async def _read(request: Request) -> bytes | bytearray:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > JSON_BODY_LIMIT:
        raise _too_large(JSON_BODY_LIMIT)
    body = bytearray()
    async for chunk in raw(request.receive, JSON_BODY_LIMIT):
        body += chunk
    return body


def _too_large(limit: int) -> Problem:
    # Closing is the only way not to read the rest.
    headers = {"Connection": "close"}
    return Problem(413, "body_too_large", f"the body is over {limit} bytes", headers=headers)
