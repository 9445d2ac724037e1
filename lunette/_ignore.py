"""What of a directory is left out: the lines of a `.gitignore`, as regular expressions.

It is Git's own matching (its `dir.c` and `wildmatch.c`), but that `?` is a character, not a byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import cast

__all__ = ["compile_rules", "lines_of"]

_LONGEST_LINE = 4096  # as in openapi.yaml
_MOST_LINES = 1000
_SPECIAL = re.compile(r"[*?\[\\]")
_IN_A_NAME = "[^/]"
_NOTHING = "(?!)"
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t-\\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def lines_of(ignore: str | Sequence[str] | None) -> list[str]:
    """Return the lines that *ignore* has; raise TypeError or ValueError for what are none."""
    texts = _texts(ignore)
    lines = [line.removesuffix("\r") for text in texts for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) > _MOST_LINES:
        raise ValueError(f"ignore has {len(lines)} lines, and the most are {_MOST_LINES}")
    if any(len(line) > _LONGEST_LINE for line in lines):
        raise ValueError(f"ignore has a line of more than {_LONGEST_LINE} characters")
    return lines


def _texts(ignore: object) -> list[str]:
    if ignore is None:
        return []
    texts: list[object] = [ignore]
    if isinstance(ignore, Iterable) and not isinstance(ignore, str):
        texts = list(cast("Iterable[object]", ignore))
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(
                "ignore must be lines of a .gitignore, as a string or a sequence of strings,"
                f" not {type(text).__name__}"
            )
    return cast("list[str]", texts)


def compile_rules(lines: Sequence[str]) -> list[tuple[str, bool]]:
    """Return a rule for each of *lines* that can match: the regular expression of relative paths,
    those of directories with a slash at the end, and whether what it matches is ignored.

    The last rule that matches decides; nothing below an ignored directory is looked at.
    """
    found = [_rule(line) for line in lines_of(lines)]
    return [rule for rule in found if rule is not None]


def _rule(line: str) -> tuple[str, bool] | None:
    pattern = _stripped(line)
    ignored = not pattern.startswith("!")
    pattern = pattern if ignored else pattern[1:]
    is_directory = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    is_path = "/" in pattern
    pattern = pattern.removeprefix("/")
    if not pattern:
        return None
    found = _Pattern(pattern, is_path=is_path).regex()
    if found is None:
        return None
    above = "" if is_path else "(?:.*/)?"
    # The slash of a directory is no part of what the pattern matches.
    end = "/" if is_directory else "/?"
    return f"(?s:{above}{found}(?<!/){end})\\Z", ignored


def _stripped(line: str) -> str:
    """Return *line* without the spaces at its end, but for one that is escaped."""
    bare = line.rstrip(" ")
    escapes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if escapes % 2 and len(bare) < len(line) else bare


class _Pattern:
    """A glob of Git's; if it *is_path*, `**` between slashes is any number of directories."""

    def __init__(self, text: str, *, is_path: bool) -> None:
        self._text = text
        self._is_path = is_path
        self._at = 0

    def regex(self) -> str | None:
        """Return its regular expression; None if it matches nothing."""
        literal = self._literal()
        # Git matches what follows the literal beginning as a pattern of its own.
        parts = [re.escape(self._text[:literal])]
        self._at = literal
        while self._at < len(self._text):
            part = self._next(literal)
            if part is None:
                return None
            parts.append(part)
        return "".join(parts)

    def _literal(self) -> int:
        special = _SPECIAL.search(self._text)
        return special.start() if special else len(self._text)

    def _next(self, start: int) -> str | None:
        letter = self._text[self._at]
        if letter == "*":
            return self._stars(start)
        self._at += 1
        if letter == "?":
            return _IN_A_NAME
        if letter == "[":
            return self._set()
        if letter == "\\":
            letter = self._text[self._at : self._at + 1]
            self._at += 1
        return re.escape(letter) if letter else None

    def _stars(self, start: int) -> str:
        text, begin = self._text, self._at
        while text[self._at : self._at + 1] == "*":
            self._at += 1
        rest = text[self._at :]
        is_whole = begin == start or text[begin - 1] == "/"
        is_whole = is_whole and (not rest or rest.startswith(("/", "\\/")))
        if not (self._is_path and is_whole and self._at - begin > 1):
            return f"{_IN_A_NAME}*"
        if rest.startswith("/"):
            self._at += 1
            return "(?:.*/)?"
        return ".*"

    def _set(self) -> str | None:
        """Read what follows a `[`; None if it never ends, or has a class that there is not."""
        negated = self._peek() in ("!", "^")
        self._at += negated
        parts: list[str] = []
        previous: str | None = ""  # what a range may begin with
        while previous is not None and (self._peek() != "]" or not parts):
            part, previous = self._member(previous)
            parts.append(part)
        if previous is None:
            return None
        self._at += 1
        return _set_of("".join(parts), negated=negated)

    def _member(self, previous: str) -> tuple[str, str | None]:
        """Read one member of a set, and return what a range may begin with now; None for none."""
        letter, self._at = self._peek(), self._at + 1
        following = self._peek()
        if letter == "-" and previous and following not in ("", "]"):
            self._at += 1
            last = self._escaped(following)
            if not last:
                return "", None
            return (f"{_in_set(previous)}-{_in_set(last)}" if previous <= last else ""), ""
        if letter == "[" and following == ":" and (name := self._class()) is not None:
            return _CLASSES.get(name, ""), "" if name in _CLASSES else None
        found = self._escaped(letter)
        return (_in_set(found), found) if found else ("", None)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _escaped(self, letter: str) -> str:
        """Return *letter*, or if it is a backslash the next one; nothing at the end."""
        if letter != "\\":
            return letter
        letter, self._at = self._peek(), self._at + 1
        return letter

    def _class(self) -> str | None:
        """Read the rest of a `[:name:]`; None if it is none."""
        end = self._text.find("]", self._at + 1)
        name = self._text[self._at + 1 : end]
        if end >= 0 and not name.endswith(":"):
            return None
        self._at = end + 1
        return name[:-1] if end >= 0 else ""


def _in_set(letter: str) -> str:
    return f"\\{letter}" if letter in "\\]^-[&~|" else letter


def _set_of(letters: str, *, negated: bool) -> str:
    if not letters:
        return _IN_A_NAME if negated else _NOTHING
    return f"(?!/)[{'^' if negated else ''}{letters}]"
