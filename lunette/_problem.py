"""Reading an answer that is no success: `application/problem+json`, or whatever else came."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import httpx

__all__ = ["describe", "read_problem", "seconds_of"]


def describe(response: httpx.Response, problem: Mapping[str, str]) -> str:
    """Say in a sentence what *response*, with its *problem*, is."""
    request = response.request
    where = f"{request.method} {request.url.path}"
    if "code" not in problem:
        body = " ".join(response.text[:200].split()) or "no content"
        return f"{response.status_code} from {where}, not by a Lunette server: {body}"
    tail = f" (request {problem['request_id']})" if problem.get("request_id") else ""
    return f"{problem.get('detail') or problem['code']}{tail}"


def seconds_of(retry_after: str | None) -> float | None:
    """Read `Retry-After` (RFC 9110): seconds, or a date."""
    if retry_after is None:
        return None
    try:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        date = email.utils.parsedate_to_datetime(retry_after)
        return max(0.0, math.ceil(date.timestamp() - time.time()))
    except (OverflowError, TypeError, ValueError):
        return None


def read_problem(response: httpx.Response) -> Mapping[str, str]:
    """Return the words of the problem that *response* describes, nothing if it is none of ours."""
    if response.is_success:
        return {}
    try:
        problem = response.json()
    except (RecursionError, ValueError):
        return {}
    if not isinstance(problem, dict):
        return {}
    fields = cast("Mapping[str, object]", problem)
    return {key: value for key, value in fields.items() if isinstance(value, str)}
