"""What of a tree is left out: the last rule that matches a path decides."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["Rules"]


class Rules:
    """Each rule is a regular expression of paths, those of directories with a slash at the end, and
    whether what it matches is ignored.
    """

    def __init__(self, rules: Sequence[tuple[str, bool]]) -> None:
        self._rules = [(re.compile(rule).match, ignored) for rule, ignored in reversed(rules)]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def ignore(self, path: str) -> bool:
        """Whether *path* is left out, with all that is below."""
        for matches, ignored in self._rules:
            if matches(path):
                return ignored
        return False
