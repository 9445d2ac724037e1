"""Environment files, as Compose has them: `.env` and `env_file`.

python-dotenv reads something similar: of Compose's variables it knows `${VAR}` and `${VAR:-word}`
alone, it has neither `VAR: value` nor `format: raw`, and a line that it does not understand is
logged and left out, where Compose's users get an error with its number.

https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from attrs import frozen

from ._interpolation import Filling, Lookup
from ._text_files import MissingFileError, located, read_text
from .errors import ServiceError

__all__ = ["parse", "parse_raw", "read_dotenv", "read_env_files"]

_BLANK = re.compile(r"(?:[^\S\n]*(?:#[^\n]*)?\n)*[^\S\n]*(?:#[^\n]*\Z)?")
# A key without a value ends at its line.
_KEY = re.compile(r"(?:export[^\S\n]+)?([\w.\-\[\]]+)[^\S\n]*(?:([=:])|(?=\n|\Z))")
_QUOTED = {
    "'": re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL),
    '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL),
}
_LINE = re.compile(r"[^\n]*")
_SPACE = re.compile(r"[^\S\n]*")
_COMMENT = re.compile(r"\s#.*")
_AFTER_QUOTE = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?=\n|\Z)")
_ESCAPE = re.compile(r'\\(?:([abfnrtv"\\$])|(0[0-7]{0,3}))')
_ESCAPED = dict(zip('abfnrtv"\\', '\a\b\f\n\r\t\v"\\', strict=True)) | {"$": "$$"}
_FORMATS = ("raw",)


def read_dotenv(folder: Path, lookup: Lookup) -> dict[str, str]:
    """Read the `.env` of a *folder*; nothing if there is none."""
    path = folder / ".env"
    if path.is_dir():  # some call a virtual environment so
        return {}
    try:
        text = read_text(path, ".env")
    except MissingFileError:
        return {}
    return parse(text, lookup, str(path))


def read_env_files(value: object, base: Path, lookup: Lookup) -> dict[str, str]:
    """Read what `env_file` names, in each of its forms; later files win.

    *lookup* has what their own variables may stand for, beside what stands before in them.
    """
    variables: dict[str, str] = {}
    for entry in _entries(value):
        path = located(entry.path, base, "env_file")
        try:
            text = read_text(path, "env_file")
        except MissingFileError:
            if entry.required:
                raise
            continue
        if entry.raw:
            variables |= parse_raw(text, lookup, str(path))
        else:
            variables |= parse(text, lookup, str(path), variables)
    return variables


@frozen
class _Entry:
    path: str
    required: bool = True
    raw: bool = False


def _entries(value: object) -> list[_Entry]:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return [_entry(item) for item in items]


def _entry(item: object) -> _Entry:
    if isinstance(item, str):
        return _Entry(item)
    if not isinstance(item, Mapping):
        raise ServiceError(f"env_file must be a path, or a list, not {type(item).__name__}")
    fields = dict(cast("Mapping[str, Any]", item))
    path, required, form = (fields.pop(key, None) for key in ("path", "required", "format"))
    if fields:
        raise ServiceError(f"env_file has no {min(fields)!r}; it has path, required and format")
    if not isinstance(path, str):
        raise ServiceError("env_file: each entry needs a path, which is a string")
    if required not in (None, True, False, "true", "false"):
        raise ServiceError("env_file: required must be true or false")
    if form not in (None, *_FORMATS):
        raise ServiceError(f"env_file: the format must be 'raw' or left out, not {form!r}")
    return _Entry(path, required not in (False, "false"), form == "raw")


def _first(lookup: Lookup, others: Mapping[str, str]) -> Lookup:
    def found(name: str) -> str | None:
        value = lookup(name)
        return others.get(name) if value is None else value

    return found


def parse(
    text: str, lookup: Lookup, source: str, before: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Read the text of an environment file; *source* names it in errors.

    A variable in it stands for what *lookup* has, or else for what the file says above, or else for
    what was read *before*.
    """
    variables: dict[str, str] = {}
    reader = _Reader(text, _first(lookup, ChainMap(variables, dict(before or {}))), source)
    while (found := reader.next_variable()) is not None:
        name, value = found
        if value is not None:
            variables[name] = value
    return variables


class _Reader:
    """Reads one variable after the other."""

    def __init__(self, text: str, lookup: Lookup, source: str) -> None:
        self._text = text
        self._lookup = lookup
        self._filling = Filling(lookup)
        self._source = source
        self._at = 0
        self._line, self._counted = 1, 0

    def next_variable(self) -> tuple[str, str | None] | None:
        """Return a name and its value, None if the caller has none; nothing at the end."""
        self._take(_BLANK)
        if self._at == len(self._text):
            return None
        line = self._where()
        key = self._take(_KEY)
        if key is None:
            shown = _LINE.match(self._text, self._at)
            raise ServiceError(f"{line}: {_short(shown)} is no variable, such as NAME=value")
        if key[2] is None:
            return key[1], self._lookup(key[1])
        return key[1], self._value(key[1], f"{line}: {key[1]}")

    def _value(self, name: str, where: str) -> str:
        begin = self._at
        self._take(_SPACE)
        quote = self._text[self._at : self._at + 1]
        if quote not in _QUOTED:
            self._take(_LINE)
            text = _COMMENT.sub("", self._text[begin : self._at], count=1)
            return self._filling.text(text.strip(), where)
        quoted = self._take(_QUOTED[quote])
        if quoted is None:
            raise ServiceError(f"{where}: the quote is never closed")
        if self._take(_AFTER_QUOTE) is None:
            raise ServiceError(f"{self._where()}: {name} has something after its closing quote")
        if quote == "'":
            return quoted[1].replace(r"\'", "'")
        return self._filling.text(_ESCAPE.sub(_unescaped, quoted[1]), where)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _where(self) -> str:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return f"{self._source}, line {self._line}"


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[2], 8)) if found[2] else _ESCAPED[found[1]]


def _short(found: re.Match[str] | None) -> str:
    text = found[0] if found else ""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def parse_raw(text: str, lookup: Lookup, source: str) -> dict[str, str]:
    """Read the text of a file of `format: raw`, in which a value is all that follows its `=`."""
    variables: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not name or re.search(r"\s", name):
            raise ServiceError(f"{source}, line {number}: {name[:60]!r} is no name of a variable")
        found = value if equals else lookup(name)
        if found is not None:
            variables[name] = found
    return variables
