"""YAML as Compose reads it, of files that nobody need trust.

PyYAML reads the text; what its plain scalars mean is YAML 1.1's there, in which `no` is false and
`22:22` is 1342, so that is done here: the core of YAML 1.2, and `0755` octal as Go's reader has it,
since that is how modes of files are written. Each alias is written out, at most to 16 MiB.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from .errors import ServiceError

__all__ = ["parse_yaml"]

_DEEPEST = 64
_LARGEST = 16 * 1024 * 1024
_PER_VALUE = 64

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
# The regular expressions of the specification, section 10.3.2, and Go's octal numbers.
_PLAIN: list[tuple[str, str, str]] = [
    ("null", r"null|Null|NULL|~|", "nN~"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
]
# Larger ones take Python long, and no key of Compose's.
_LONGEST_NUMBER = 64


def parse_yaml(text: str, source: str) -> Any:
    """Read one document; *source* names it in errors, which are `ServiceError`."""
    import yaml

    try:
        node: Any = yaml.compose(text, Loader=_loader())
    except RecursionError:
        raise ServiceError(f"{source}: nested too deeply") from None
    except yaml.YAMLError as error:
        raise ServiceError(f"{source}{_place(error)}: no YAML: {_problem(error)}") from None
    return None if node is None else _Writing(source).value(node, 0)


@cache
def _loader() -> Any:
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.resolver import BaseResolver
    from yaml.scanner import Scanner

    class Loader(Reader, Scanner, Parser, Composer, BaseResolver):
        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)
            BaseResolver.__init__(self)

    loader: Any = Loader
    for name, pattern, first in _PLAIN:
        # An empty scalar is looked up under the empty text.
        initials = [*first, ""] if name == "null" else list(first)
        loader.add_implicit_resolver(_TAG + name, re.compile(rf"(?:{pattern})\Z"), initials)
    return loader


class _Writing:
    """Writes out the nodes of one document as plain values."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._left = _LARGEST

    def value(self, node: Any, depth: int) -> Any:
        self._left -= _PER_VALUE + (len(node.value) if node.id == "scalar" else 0)
        if self._left < 0:
            raise self._error(node, "larger than 16 MiB, with all aliases written out")
        if depth > _DEEPEST:
            raise self._error(node, f"nested more than {_DEEPEST} deep, or in itself")
        if node.id == "scalar":
            return self._scalar(node)
        kind = {"sequence": "seq", "mapping": "map"}[node.id]
        if node.tag != _TAG + kind:
            raise self._error(node, f"the tag {node.tag!r} is not supported")
        if kind == "map":
            return self._mapping(node, depth + 1)
        return [self.value(item, depth + 1) for item in node.value]

    def _scalar(self, node: Any) -> Any:
        read = _SCALARS.get(node.tag.removeprefix(_TAG))
        if read is None or (read is not str and len(node.value) > _LONGEST_NUMBER):
            raise self._error(node, f"{node.value[:60]!r} cannot be read as {node.tag!r}")
        try:
            return read(node.value)
        except (KeyError, ValueError):  # of what has an explicit tag
            raise self._error(node, f"{node.value[:60]!r} is no {node.tag!r}") from None

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged = self._merged(value_node, depth) | merged
                continue
            key = self._key(key_node)
            if key in own:
                raise self._error(key_node, f"the key {key[:60]!r} is there twice")
            own[key] = self.value(value_node, depth)
        return merged | own

    def _key(self, node: Any) -> str:
        key = self.value(node, 0)
        if not isinstance(key, str):
            shown = f"{node.value[:60]!r} " if node.id == "scalar" else ""
            raise self._error(node, f"the key {shown}must be a string; put it in quotes")
        return key

    def _merged(self, node: Any, depth: int) -> dict[str, Any]:
        found: Any = self.value(node, depth)
        sources = cast("list[object]", found if isinstance(found, list) else [found])
        merged: dict[str, Any] = {}
        for source in sources:
            if not isinstance(source, dict):
                raise self._error(node, "<< takes a mapping, or a list of mappings")
            merged = cast("dict[str, Any]", source) | merged  # the first one wins
        return merged

    def _error(self, node: Any, what: str) -> ServiceError:
        return ServiceError(f"{self._source}, line {node.start_mark.line + 1}: {what}")


def _integer(text: str) -> int:
    sign, digits = (text[0], text[1:]) if text[0] in "-+" else ("", text)
    if re.fullmatch("0[0-7]+", digits):
        return int(sign + digits, 8)
    if digits[:2] in ("0o", "0x"):
        return int(text, 0)
    return int(text)


_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": lambda _: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _integer,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "merge": str,
}


def _place(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1}"


def _problem(error: Any) -> str:
    return getattr(error, "problem", None) or str(error).split("\n")[0]
