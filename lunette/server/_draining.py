"""A server that was told to stop, and lets what runs come to its end."""

from __future__ import annotations

from lunette.server._problems import Problem

__all__ = ["Draining"]

# By then there may be another server.
_RETRY_AFTER = "1"


class Draining:
    """Whether something new may begin."""

    def __init__(self) -> None:
        self._has_begun = False

    def begin(self) -> None:
        """Let nothing new begin any more."""
        self._has_begun = True

    def check(self) -> None:
        """Raise the 503 of what would be new."""
        if self._has_begun:
            headers = {"Retry-After": _RETRY_AFTER}
            raise Problem(503, "no_capacity", "the server is stopping", headers=headers)
