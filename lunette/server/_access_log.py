"""Who asked for what, when the answer is over: one line a request.

A line has nothing that a client could put a secret into: of the path it has the template, and of
what is in it the id of the sandbox.
"""

from __future__ import annotations

import logging
import re
from time import monotonic
from typing import Any

from starlette.types import Scope

__all__ = ["Entry", "entry", "refused", "template"]

logger = logging.getLogger("lunette.access")

_UNKNOWN = "(unknown)"
_PLAIN = re.compile(r"[0-9A-Za-z_.-]{1,64}")


class Entry:
    """The line of a request that has begun."""

    def __init__(self, scope: Scope, request_id: str) -> None:
        self._scope = scope
        self._request_id = request_id
        self._begun = monotonic()

    def write(self, status: int | None) -> None:
        """Write it; without *status* the client left before it was answered."""
        scope = self._scope
        logger.info(
            "%s %s %s %s %.1fms %s%s",
            _host(scope.get("client")),
            scope["method"],
            template(scope),
            status or "left",
            (monotonic() - self._begun) * 1000,
            self._request_id,
            _sandbox(scope.get("path_params", {})),
        )


def entry(scope: Scope, request_id: str) -> Entry | None:
    """Begin the line of a request, if anybody wants it."""
    return Entry(scope, request_id) if logger.isEnabledFor(logging.INFO) else None


def template(scope: Scope) -> str:
    """Return the path of a request as the contract spells it."""
    return getattr(scope.get("endpoint"), "path", None) or _UNKNOWN


def refused(client: tuple[str, int] | None, status: int, request_id: str) -> None:
    """Write the line of what was no request, or one too much."""
    logger.info("%s refused %s %s", _host(client), status, request_id)


def _host(client: tuple[str, int] | None) -> str:
    return client[0] if client else "unix"


def _sandbox(parameters: dict[str, Any]) -> str:
    found = str(parameters.get("sandbox_id", ""))
    return f" [{found}]" if _PLAIN.fullmatch(found) else ""
