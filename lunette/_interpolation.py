"""Variables in the texts of a Compose file: `$VAR`, `${VAR:-default}` and the others.

https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from .errors import ServiceError

__all__ = ["Filling", "Lookup", "callers", "interpolated"]

logger = logging.getLogger(__name__)

Lookup = Callable[[str], str | None]
"""The value of a variable, or None if it is not set."""

# More than anybody writes; each level is searched again for its closing brace.
_DEEPEST = 50
# Each variable may hold others twice, and so on.
_LARGEST = 16 * 1024 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:?)([-?+])(.*))?", re.DOTALL)
_BRACES = re.compile(r"\$\{|\}")


def callers(name: str) -> str | None:
    """Look *name* up in the environment of this process."""
    return os.environ.get(name)


def interpolated(value: Any, lookup: Lookup, where: str) -> Any:
    """Return *value*, which is as YAML has it, with the variables of every text filled in.

    Keys stay as they are. *where* is the file and the path of the value, for errors.
    """
    return Filling(lookup).value(value, where)


class Filling:
    """Fills variables in, until all of it together is too large."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._left = _LARGEST

    def value(self, value: Any, where: str) -> Any:
        """Fill in every text of *value* but keys."""
        if isinstance(value, str):
            return self.text(value, where)
        if isinstance(value, list):
            items = enumerate(cast("list[object]", value))
            return [self.value(item, f"{where}[{n}]") for n, item in items]
        if isinstance(value, Mapping):
            fields = cast("Mapping[str, Any]", value)
            return {key: self.value(item, f"{where}.{key}") for key, item in fields.items()}
        return value

    def text(self, text: str, where: str) -> str:
        """Return *text* with its variables filled in; one that is not set is empty, and warned of.

        Raises `ServiceError`, which begins with *where*.
        """
        pieces: list[str] = []
        end = 0
        while (dollar := text.find("$", end)) >= 0:
            pieces.append(text[end:dollar])
            if text.startswith("${", dollar):
                end = _closing(text, dollar, where) + 1
                pieces.append(self._braced(text[dollar + 2 : end - 1], where))
            elif name := _NAME.match(text, dollar + 1):
                end = name.end()
                pieces.append(self._direct(name[0], where))
            else:  # of two, the second is meant; one that begins no variable is itself
                end = dollar + (2 if text.startswith("$$", dollar) else 1)
                pieces.append("$")
        pieces.append(text[end:])
        return "".join(pieces)

    def _braced(self, inner: str, where: str) -> str:
        found = _BRACED.fullmatch(inner)
        if found is None:
            shown = _shown(f"${{{inner}}}")
            raise ServiceError(f"{where}: {shown} is no variable of Compose's; $$ is a dollar sign")
        name, colon, operator, word = found.groups()
        if operator is None:
            return self._direct(name, where)
        value = self._lookup(name)
        is_given = bool(value) if colon else value is not None
        if is_given != (operator == "+"):
            return self._counted(value, where) if is_given and value else ""
        text = self.text(word, where)
        if operator == "?":
            why = f": {text}" if text else ""
            raise ServiceError(f"{where}: the variable {name} {_lacks(value)}{why}")
        return text

    def _direct(self, name: str, where: str) -> str:
        value = self._lookup(name)
        if value is not None:
            return self._counted(value, where)
        logger.warning("%s: the variable %s is not set; it is left empty", where, name)
        return ""

    def _counted(self, value: str, where: str) -> str:
        self._left -= len(value)
        if self._left < 0:
            raise ServiceError(f"{where}: the values of all variables are larger than 16 MiB")
        return value


def _closing(text: str, start: int, where: str) -> int:
    """Return where the brace of the `${` at *start* closes; as Compose, only `${` opens one."""
    depth = 0
    for brace in _BRACES.finditer(text, start):
        depth += -1 if brace[0] == "}" else 1
        if not depth:
            return brace.start()
        if depth > _DEEPEST:
            raise ServiceError(f"{where}: variables are nested more than {_DEEPEST} deep")
    raise ServiceError(f"{where}: {_shown(text[start:])} has no closing brace; $$ is a dollar sign")


def _lacks(value: str | None) -> str:
    return "is not set" if value is None else "is empty"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
