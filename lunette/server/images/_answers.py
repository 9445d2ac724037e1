"""Answers of a registry that are no success, and bodies that may be too long."""

from __future__ import annotations

from collections.abc import Collection

import httpx

from lunette._problem import seconds_of

from ._documents import Document, read_object
from ._patience import PassingError
from .errors import ImageError, ImageNotFoundError, RegistryDeniedError, RegistryError

__all__ = ["read_bounded", "refusal"]

_PASSING = {408, 425, 429}
_LONGEST_REFUSAL = 16 * 1024
_LONGEST_SHOWN = 200


def read_bounded(response: httpx.Response, limit: int) -> bytes | None:
    """Read a body as it comes; None if it has over *limit* bytes."""
    content = bytearray()
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > limit:
            return None
    return bytes(content)


def refusal(
    response: httpx.Response, what: str, *, secrets: Collection[str]
) -> ImageError | PassingError:
    """Return what it means that *what* was answered so; reads what is left of the body.

    A reason that quotes one of the *secrets* is not shown.
    """
    host, status = response.url.host, response.status_code
    reason = _reason(response)
    if any(secret in reason for secret in secrets):
        reason = ""
    if status in {401, 403}:
        return RegistryDeniedError(
            f"{host} denies {what} ({status}{reason}): it does not exist, or needs another login;"
            f" run `docker login` for {host} as the user of this server"
        )
    if status == 404:
        return ImageNotFoundError(f"{host} does not have {what}{reason}: check its name and tag")
    if status == 429:
        final = RegistryError(
            f"{host} allows no more requests now ({status}{reason}): wait, or log in"
        )
    else:
        final = RegistryError(f"{host} answered {what} with {status}{reason}")
    if status in _PASSING or status >= 500:
        return PassingError(final, retry_after=seconds_of(response.headers.get("retry-after")))
    return final


def _first_error(found: Document) -> Document:
    if "errors" not in found:  # as token servers have it
        return found
    return dict(found["errors"][0])


def _reason(response: httpx.Response) -> str:
    """Quote the first error of the body, if it is as OCI has it; nothing else of it is shown."""
    content = read_bounded(response, _LONGEST_REFUSAL)
    try:
        found = _first_error(read_object(content or b"", ValueError))
    except (LookupError, TypeError, ValueError):
        return ""
    words = [found[key] for key in ("code", "message") if isinstance(found.get(key), str)]
    text = "".join(c for c in ": ".join(words) if c.isprintable())
    return f", {text[:_LONGEST_SHOWN]}" if text else ""
