"""What of a folder Docker would send to build an image: the rules of `.dockerignore`.

https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import field, frozen

from ._go_patterns import PatternError, matcher
from ._text_files import MissingFileError, read_text
from .errors import ServiceError

__all__ = ["Ignore", "read_ignore"]

_LITERAL = re.compile(r"[^*?\[\]\\^]*")
# As Go's reader of lines has it.
_LONGEST_LINE = 64 * 1024
# Of Go's `unicode.IsSpace`, which is not quite that of Python.
_SPACES = "".join(
    [*"\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000", *map(chr, range(0x2000, 0x200B))]
)

Outcomes = tuple[bool, ...]
"""For each pattern, whether it matched a folder or one above it."""


@frozen
class _Pattern:
    matches: Callable[[str], object] = field(repr=False)
    is_exception: bool
    text: str

    def may_match_in(self, folder: str) -> bool:
        """Whether it may match something in *folder*, which ends with a slash."""
        literal = _LITERAL.match(self.text)
        begin = literal[0] if literal else ""
        if begin == self.text:
            begin += "/"
        return begin.startswith(folder) or folder.startswith(begin)


@frozen
class Ignore:
    """The patterns of one file."""

    patterns: Sequence[_Pattern] = ()

    @classmethod
    def parse(cls, text: str, source: str) -> Ignore:
        """Read the text of a `.dockerignore`; *source* names it in errors."""
        patterns: list[_Pattern] = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            if len(line) > _LONGEST_LINE:
                raise ServiceError(f"{source}, line {number}: longer than 64 KiB")
            line = line.removesuffix("\r")
            if line.startswith("#") or not line.strip(_SPACES):
                continue
            try:
                patterns.append(_pattern(line.strip(_SPACES)))
            except PatternError as error:
                shown = repr(line[:60])
                raise ServiceError(f"{source}, line {number}: {shown}: {error}") from None
        return cls(patterns)

    def may_want_in(self, folder: str) -> bool:
        """Whether something in an ignored *folder* may be wanted all the same."""
        # Docker's older builder looks only into folders that an exception begins with, so that
        # `!**/*.py` finds nothing there; in BuildKit, and here, the last pattern decides.
        exceptions = (pattern for pattern in self.patterns if pattern.is_exception)
        return any(pattern.may_match_in(f"{folder}/") for pattern in exceptions)

    def ignores(self, path: str, above: Outcomes = ()) -> tuple[bool, Outcomes]:
        """Say whether *path* is ignored, and what to hand in as *above* for what it holds.

        The last pattern that matches it, or a folder that it is in, decides.
        """
        # Docker asks no pattern that would change nothing, and since 23.0 forgets so, for what is
        # below, that it matches this folder. What is documented, and was so before, is this.
        inherited = above or (False,) * len(self.patterns)
        outcomes = tuple(
            was_matched or bool(pattern.matches(path))
            for pattern, was_matched in zip(self.patterns, inherited, strict=True)
        )
        matching = [p for p, is_matched in zip(self.patterns, outcomes, strict=True) if is_matched]
        return bool(matching) and not matching[-1].is_exception, outcomes


def read_ignore(context: Path, dockerfile: str) -> tuple[Ignore, str | None]:
    """Read what is to be ignored in *context*, and the path of the file that said so.

    A file of the Dockerfile's own, such as `Dockerfile.dockerignore`, wins.
    """
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        path = context / name
        try:
            text = read_text(path, "build")
        except MissingFileError:
            continue
        return Ignore.parse(text, str(path)), name
    return Ignore(), None


def _pattern(text: str) -> _Pattern:
    is_exception = text.startswith("!")
    path = text[1:].strip(_SPACES) if is_exception else text
    if not path:
        raise PatternError("it names nothing")
    path = _cleaned(path)
    if len(path) > 1:
        path = path.removeprefix("/")
    # Docker cleans it once more, and takes another `!` for what was the first one's.
    if not is_exception and path.startswith("!"):
        is_exception, path = True, path[1:]
        if not path:
            raise PatternError("it names nothing")
    return _Pattern(matcher(path), is_exception, path)


def _cleaned(path: str) -> str:
    """Return *path* as Go's `filepath.Clean` does: of two slashes at its start, one is left."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned
