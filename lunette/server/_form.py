"""The published form of making a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from lunette.server import _json
from lunette.server._bodies import JSON_BODY_LIMIT, media_type, raw, require_media_type
from lunette.server._problems import Problem

__all__ = ["fields_of", "read_form", "service_of"]

_BUILDS = ("build_context", "dockerfile")
_MOST_FIELDS = 16
_DRAIN_SECONDS = 2.0
_CLOSE = {"Connection": "close"}  # the only way not to read the rest


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form that builds nothing."""
    require_media_type(request, "multipart/form-data", "application/x-www-form-urlencoded")
    body = raw(request.receive, JSON_BODY_LIMIT)
    try:
        form = await _parsed(request, body)
    except MultiPartException as error:
        detail = f"the body is no form: {error.message}"
        raise Problem(400, "bad_request", detail, headers=_CLOSE) from None
    except Problem:
        await _drain(body)
        raise
    try:
        for key in form:
            _refuse_build(key)
        return {key: value for key, value in form.items() if isinstance(value, str)}
    finally:
        await form.close()


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Read on for a moment: a client that is still sending may be one that reads no answer then."""
    with contextlib.suppress(Problem, ClientDisconnect, TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in body:
                pass


async def _parsed(request: Request, body: AsyncIterator[bytes]) -> FormData:
    stream = cast("Any", body)  # starlette asks for a generator, and iterates
    if media_type(request) != "multipart/form-data":
        return await FormParser(request.headers, stream).parse()
    parser = _Parts(
        request.headers,
        stream,
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=JSON_BODY_LIMIT,
    )
    return await parser.parse()


class _Parts(MultiPartParser):
    """Refuses what is not for here as soon as it begins: a build's context may be gigabytes."""

    def on_headers_finished(self) -> None:
        try:
            super().on_headers_finished()
        finally:  # which says more than that this is one file too many
            _refuse_build(self._current_part.field_name)


def _refuse_build(field: str) -> None:
    if field in _BUILDS:
        detail = "this server's engine builds no images: give it an image that is built"
        raise Problem(422, "not_supported", detail, key="build", headers=_CLOSE)


def service_of(form: Mapping[str, str]) -> object:
    """Return the service that a form asks for, unchecked."""
    if "service" not in form:
        return {"image": form["image"]} if "image" in form else {}
    try:
        service: object = _json.decode(form["service"].encode())
    except ValueError as error:
        detail = f"'service' is no JSON: {error}"
        raise Problem(422, "invalid_request", detail, key="service") from None
    fields = fields_of(service)
    return {"image": form["image"], **fields} if fields and "image" in form else service


def fields_of(value: object) -> Mapping[str, Any]:
    """Return *value* if it is a JSON object, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
