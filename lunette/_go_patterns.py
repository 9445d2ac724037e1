"""Patterns as Docker matches them, to the letter.

Docker checks a pattern with Go's `filepath.Match` and then makes a regular expression of it by its
own rules (github.com/moby/patternmatcher), whose leaks are a part of what users have: `[*]` is no
star, and `^*` is everything. So its expression is built here as it is there, and then read as Go
reads it. pathspec knows none of this: its patterns are git's.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["PatternError", "matcher"]

_ESCAPED = frozenset(".+()|{}$")
_CONTROLS = dict(zip("afnrtv", "\a\f\n\r\t\v", strict=True))
_CLASSES = {"d": "0-9", "s": r"\t\n\f\r ", "w": "0-9A-Za-z_"}
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_ASSERTIONS = {"A": r"\A", "b": r"\b", "B": r"\B", "z": r"\Z"}
_ASCII_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class PatternError(ValueError):
    """Docker does not take this pattern."""


def matcher(pattern: str) -> Callable[[str], object]:
    """Return what says whether a path, of slashes, matches a cleaned *pattern*."""
    _check(pattern)
    expression, kind = _expression(pattern)
    if kind == "exact":
        return lambda path: path == pattern
    if kind == "prefix":
        prefix = pattern.removesuffix("**")
        return lambda path: path.startswith(prefix)
    if kind == "suffix":
        suffix = pattern[2:]
        return lambda path: path.endswith(suffix) or f"/{path}" == suffix
    try:
        return re.compile(_Expression(expression).in_python(), re.ASCII).match
    except re.error as error:
        raise PatternError(str(error)) from None


def _expression(pattern: str) -> tuple[str, str]:
    """Return the expression that Docker makes of *pattern*, and how it uses it."""
    made, kind, at = "^", "exact", 0
    while at < len(pattern):
        start, character = at, pattern[at]
        at += 1
        if pattern.startswith("**", start):
            at += 1 + pattern.startswith("/", start + 2)
            if at < len(pattern):
                made, kind = f"{made}(.*/)?", "regexp"
            elif kind == "exact":
                kind = "prefix"
            else:
                made, kind = f"{made}.*", "regexp"
            kind = "suffix" if start == 0 else kind
        elif character in "*?":
            made, kind = made + ("[^/]*" if character == "*" else "[^/]"), "regexp"
        elif character == "\\":  # never the last, of a pattern that was checked
            made, kind = f"{made}\\{pattern[at]}", "regexp"
            at += 1
        elif character in "[]":
            made, kind = made + character, "regexp"
        else:
            made += f"\\{character}" if character in _ESCAPED else character
    return made, kind


class _Expression:
    """A regular expression of Go's, of those that can come of a pattern."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def in_python(self) -> str:
        made: list[str] = []
        while self._at < len(self._text):
            made.append(self._part())
        return "".join(made) + r"\Z"

    def _part(self) -> str:
        for ours in ("(.*/)?", ".*"):
            if self._skip(ours):
                return ours
        if self._skip("["):
            return self._class()
        character = self._next()
        if character == "\\":
            return self._escape(in_class=False)
        # A star repeats a class, and a caret is an anchor wherever it stands.
        return character if character in "*^" else re.escape(character)

    def _class(self) -> str:
        made = "[^" if self._skip("^") else "["
        is_first = True
        while is_first or not self._skip("]"):
            is_first = False
            made += self._posix() or self._range()
        return f"{made}]"

    def _posix(self) -> str:
        found = re.compile(r"\[:(\^?)(\w+):\]").match(self._text, self._at)
        if found is None:
            return ""
        if found[1] or found[2] not in _POSIX:
            raise PatternError(f"{found[0]} is not supported")
        self._at = found.end()
        return _POSIX[found[2]]

    def _range(self) -> str:
        low = self._member()
        # A hyphen before the end is one.
        if self._text.startswith("-", self._at) and self._text[self._at + 1 :][:1] not in ("", "]"):
            self._at += 1
            return f"{low}-{self._member()}"
        return low

    def _member(self) -> str:
        character = self._next()
        return self._escape(in_class=True) if character == "\\" else _literal(character)

    def _escape(self, *, in_class: bool) -> str:
        character = self._next()
        if character in _CONTROLS:
            return _literal(_CONTROLS[character])
        if character in _CLASSES:
            return _CLASSES[character] if in_class else f"[{_CLASSES[character]}]"
        if character.lower() in _CLASSES and not in_class:
            return f"[^{_CLASSES[character.lower()]}]"
        if character in _ASSERTIONS and not in_class:
            return _ASSERTIONS[character]
        if character in _ASCII_LETTERS or character.isdigit() or not character.isascii():
            raise PatternError(f"\\{character} is not supported")
        return _literal(character) if in_class else re.escape(character)

    def _skip(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _next(self) -> str:
        if self._at == len(self._text):
            raise PatternError("it ends within brackets")
        self._at += 1
        return self._text[self._at - 1]


def _literal(character: str) -> str:
    """Return *character* as it stands in a class of Python's."""
    return f"\\{character}" if character in r"\]^-[&~|" else character


def _check(pattern: str) -> None:
    """Raise what Go's `filepath.Match` does of a malformed pattern."""
    at = 0
    while at < len(pattern):
        if pattern[at] == "[":
            at = _after_brackets(pattern, at + 1)
        elif pattern[at] == "\\":
            _check_more(pattern, at + 1)
            at += 2
        else:
            at += 1


def _after_brackets(pattern: str, at: int) -> int:
    at += pattern.startswith("^", at)
    is_first = True
    while is_first or not pattern.startswith("]", at):
        is_first = False
        at = _after_member(pattern, at)
        if pattern.startswith("-", at):
            at = _after_member(pattern, at + 1)
    return at + 1


def _after_member(pattern: str, at: int) -> int:
    _check_more(pattern, at)
    if pattern[at] in "-]":
        raise PatternError(f"{pattern[at]!r} within brackets needs a backslash")
    at += pattern[at] == "\\"
    _check_more(pattern, at + 1)  # at least the closing one
    return at + 1


def _check_more(pattern: str, at: int) -> None:
    if at >= len(pattern):
        raise PatternError("it ends within brackets, or after a backslash")
