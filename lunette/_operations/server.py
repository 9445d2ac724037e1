"""Which server it is."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
from typing import cast

import httpx

from .. import errors
from .._io import IO
from .._version import API_VERSION, version
from . import is_unknown_endpoint

__all__ = ["is_published"]

logger = logging.getLogger(__name__)


async def is_published(io: IO) -> bool:
    """Say whether the server speaks the published wire alone; ask it once, before anything else."""
    profile = io.profile
    if profile.published is None:
        async with io.alone():
            if profile.published is None:
                profile.published = await _ask(io)
    return profile.published


async def _ask(io: IO) -> bool:
    from lunette_api.api.server import get_capabilities

    try:
        spoken, program = _said(await io.send(get_capabilities._get_kwargs()))
    except errors.APIError as error:
        # A problem of ours, a refused key and a broken server are what they are.
        if not is_unknown_endpoint(error):
            raise
        spoken = program = None
    if spoken is None:
        logger.info("the server has no /capabilities: only the published wire is used")
        return True
    if spoken != API_VERSION:
        raise errors.VersionError(
            f"the server (lunette {program}) speaks version {spoken} of the API, this client"
            f" (lunette {version()}) version {API_VERSION}: install versions that belong together"
        )
    return False


def _said(response: httpx.Response) -> tuple[str | None, object]:
    """Return the version of the API, if the answer is one of ours, and that of the server."""
    try:
        answer: object = response.json()
    except (RecursionError, ValueError):
        return None, None
    if not isinstance(answer, dict):
        return None, None
    fields = cast("dict[str, object]", answer)
    spoken = fields.get("api_version")
    return spoken if isinstance(spoken, str) else None, fields.get("version")
