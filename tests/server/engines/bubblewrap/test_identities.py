"""Ranges of ids, as the servers of a machine take them from each other's sight."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lunette.server.engines.bubblewrap import _identities
from lunette.server.engines.bubblewrap._identities import IMAGE_IDS, IdRange, take_range
from lunette.server.engines.protocol import NoCapacityError

FEW = 3
ANOTHER = f"""
import sys
from pathlib import Path
from lunette.server.engines.bubblewrap import _identities

_identities._LOCKS = Path(sys.argv[1])
_identities._END = _identities._FIRST + {FEW} * _identities._COUNT
print(_identities.take_range().base, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def few_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let there be FEW ranges, and as many tries as it takes."""
    first, count = _identities._FIRST, _identities._COUNT
    monkeypatch.setattr(_identities, "_LOCKS", tmp_path / "ids")
    monkeypatch.setattr(_identities, "_END", first + FEW * count)
    return tmp_path / "ids"


@pytest.fixture
def ranges(few_ranges: Path) -> Generator[list[IdRange]]:
    """What a test puts in here is given back."""
    taken: list[IdRange] = []
    yield taken
    for one in taken:
        one.release()


def test_no_range_is_given_twice(ranges: list[IdRange], few_ranges: Path) -> None:
    for _ in range(FEW):
        ranges.append(take_range())
    bases = sorted(one.base for one in ranges)
    assert bases == [_identities._FIRST + n * _identities._COUNT for n in range(FEW)]
    with pytest.raises(NoCapacityError, match="no free range"):
        take_range()
    given = ranges.pop()
    given.release()
    ranges.append(take_range())
    assert ranges[-1].base == given.base
    assert few_ranges.stat().st_mode & 0o777 == 0o700


def test_another_servers_ranges_are_its_own_until_it_dies(
    ranges: list[IdRange], few_ranges: Path
) -> None:
    with ExitStack() as stack:
        others = [stack.enter_context(another_server(few_ranges)) for _ in range(FEW - 1)]
        theirs = {_base_of(server) for server in others}
        ranges.append(take_range())
        assert len({*theirs, ranges[0].base}) == FEW
        with pytest.raises(NoCapacityError):
            take_range()
        others[0].kill()
        others[0].wait()
        ranges.append(take_range())
        assert ranges[1].base in theirs


def test_no_file_of_an_image_is_a_sandboxs() -> None:
    assert IMAGE_IDS[0] >= _identities._END
    assert (_identities._END - _identities._FIRST) % _identities._COUNT == 0


def another_server(locks: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ANOTHER, str(locks)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _base_of(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    return int(server.stdout.readline())
