"""What docs/security.md promises is tested by what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lunette.server.engines.bubblewrap._arguments import _DOCKER_LESS_FOUR
from lunette.server.engines.bubblewrap._identities import _COUNT, _FIRST

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 30
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(
            rf"^def {name}\(", (TESTS / path).read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert missing == []


def test_every_promise_names_one() -> None:
    _, _, rest = PAGE.partition("| promise |")
    promises = [line for line in rest.splitlines()[2:] if line.startswith("| ")]
    assert promises
    assert [line for line in promises if "::test_" not in line] == []


@pytest.mark.parametrize("path", re.findall(r"\]\(\.\./([^)]+)\)", PAGE))
def test_links_lead_somewhere(path: str) -> None:
    assert (TESTS.parent / path).exists()


def test_capabilities_and_ids_are_those_of_the_code() -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith("| capabilities of uid 0"))
    assert [f"CAP_{name}" for name in re.findall(r"`([A-Z_]+)`", row)] == list(_DOCKER_LESS_FOUR)
    assert f"{_COUNT:,} for each sandbox, above {_FIRST:,}" in PAGE
