"""What each verb does, written once: a file for each tag of openapi.yaml."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import httpx

from .. import errors
from .._answers import from_answer
from .._io import CLEANUP_SECONDS, IO, Request
from .._progress import LOOK_SECONDS, Report

__all__ = [
    "abandon",
    "at_last",
    "check_plain",
    "held_back",
    "is_unknown_endpoint",
    "parsed",
    "preference",
    "seconds_to_wait",
]

T = TypeVar("T")

logger = logging.getLogger(__name__)

# No proxy is known to cut a connection that is idle for less. As in openapi.yaml, both.
_FIRST_WAIT = 20.0
_NEXT_WAIT = 25.0


async def abandon(io: IO, request: Request) -> None:
    """Send a last *request* without hiding the error that made it necessary."""
    await at_last(io, lambda io: io.send(request), f"could not clean up by {request['url']}")


async def at_last(io: IO, work: Callable[[IO], Coroutine[Any, Any, object]], failure: str) -> None:
    """Do *work* that outlives a cancellation, without hiding the error that made it necessary;
    *failure* says in the log what could not be done.
    """

    async def cleanup(io: IO) -> None:
        try:
            await work(io)
        except errors.LunetteError as error:
            logger.warning("%s: %s", failure, error)

    await io.outlive(cleanup, CLEANUP_SECONDS)


def check_plain(response: httpx.Response) -> None:
    """Refuse a body that was packed against our wish: a little of it may become very much."""
    coding = response.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        path = response.request.url.path
        raise from_answer(response, f"{response.status_code} from {path} is packed ({coding[:40]})")


def held_back(io: IO) -> str:
    """Return the `Prefer` of a request whose answer may take longer than a connection lasts."""
    return f"respond-async, wait={int(min(_FIRST_WAIT, io.timeout / 2))}"


def preference(io: IO, report: Report | None) -> str:
    """Return the `Prefer` of a request whose progress is reported, if anybody wants to know."""
    return held_back(io) if report is None else f"respond-async, wait={LOOK_SECONDS}"


def seconds_to_wait(io: IO) -> float:
    """Return the `wait` of a request that follows a 202."""
    return round(min(_NEXT_WAIT, io.timeout / 2), 3)


def is_unknown_endpoint(error: errors.APIError) -> bool:
    """Whether the server has no such path; a code of ours says what else a 404 means."""
    return error.code is None and error.status_code in (404, 405)


def parsed(response: httpx.Response, parse: Callable[[Any], T]) -> T:
    """Read an answer's JSON; what is none of ours is an `APIError` with the answer's status."""
    try:
        return parse(response.json())
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        message = f"{response.status_code} from {response.url.path}, not by a Lunette server"
        raise from_answer(response, message) from error
