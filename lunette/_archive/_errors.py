"""What can be wrong with an archive, and how a message shows its names."""

# pathlib would change the paths that the caller gave.
# ruff: noqa: PTH118

from __future__ import annotations

import os

__all__ = ["ArchiveError", "InvalidHeaderError", "located", "shown"]

_SHOWN_CHARACTERS = 120


class ArchiveError(ValueError):
    """The archive is cut off, damaged or hostile; the message says how, and where."""


class InvalidHeaderError(ArchiveError):
    """A header that no archive has; the message is what it has."""


def shown(name: bytes) -> str:
    """Return *name* as a message shows it: on one line, and not too long."""
    text = name[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "surrogateescape")
    cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    return repr(cut)


def located(error: OSError, base: str, path: bytes) -> OSError:
    """Return *error* with the *path* below *base* that it is about."""
    below = os.fsdecode(path)
    return OSError(error.errno, error.strerror, os.path.join(base, below) if below else base)
