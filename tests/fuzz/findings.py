"""What was found, short enough for the end of an output, which may be all that is seen of it."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from schemathesis.core.failures import Failure

__all__ = ["Findings", "last_lines", "said"]

_MOST_LINES, _MOST_ERRORS = 60, 24
_MOST_FOUND = 9  # of four lines each
_LONGEST = 700
# How schemathesis begins what it could not do, such as a request that has no answer.
_ERRORS = " ERRORS "


class Findings:
    """The failures that the contract does not explain, in a file: written to by schemathesis'
    hooks, so that none is lost however that process ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, failure: Failure, case: Any, response: Any) -> None:
        """Note a failure, and the request and the answer that it was found in."""
        entry = {
            "what": f"{case.operation.label}: {failure.title}",
            "message": " ".join(failure.message.split()),
            "answer": f"{response.status_code}: {response.content[:_LONGEST]!r}",
            "request": case.as_curl_command(headers=dict(response.request.headers)),
        }
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def lines(self) -> list[str]:
        """Return each kind of failure once, as its first request showed it."""
        entries = self._entries()
        counts = Counter(entry["what"] for entry in entries)
        first = {entry["what"]: entry for entry in reversed(entries)}
        shown = [line for what in [*counts][:_MOST_FOUND] for line in _shown(first[what], counts)]
        left = len(counts) - _MOST_FOUND
        return [*shown, f"and {left} more kinds"] if left > 0 else shown

    def _entries(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines()]


def said(output: Iterable[str]) -> list[str]:
    """Return what schemathesis says that it could not do, which is no failure of a check."""
    return [_short(line) for line in itertools.islice(_errors(output), _MOST_ERRORS)]


def last_lines(lines: Iterable[str]) -> list[str]:
    """Return as many *lines* as the end of an output has room for, each made short."""
    return [_short(line) for line in lines if line.strip()][-_MOST_LINES:]


def _errors(output: Iterable[str]) -> Iterator[str]:
    is_error = False
    for line in output:
        if line.startswith("==="):
            is_error = _ERRORS in line
        elif is_error and line.strip():
            yield line


def _shown(entry: dict[str, str], counts: Counter[str]) -> list[str]:
    count = counts[entry["what"]]
    return [
        f"* {entry['what']}" + (f" ({count} times)" if count > 1 else ""),
        *(f"    {_short(entry[key])}" for key in ("message", "answer", "request") if entry[key]),
    ]


def _short(text: str) -> str:
    """Leave out the middle: a command of curl ends with its URL."""
    half, text = _LONGEST // 2, " ".join(text.rstrip().splitlines())
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"
