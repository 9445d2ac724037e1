"""Tables, moments and amounts on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

__all__ = ["amount", "moment", "print_table"]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* below *head*, in columns as wide as they need."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
    sys.stdout.flush()


def moment(when: datetime | None) -> str:
    """Say *when* to the minute, in UTC; nothing of what is not known."""
    return "" if when is None else when.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def amount(size: float) -> str:
    """Say *size*, in bytes, with three digits."""
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {_UNITS[-1]}"
