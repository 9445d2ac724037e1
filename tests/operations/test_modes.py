from __future__ import annotations

from typing import Any

import pytest

from lunette._io import run
from lunette._operations import transfers, tree
from lunette._operations._modes import wire_mode

USUAL = [
    special << 9 | owner << 6 | group << 3 | others
    for special in range(8)
    for owner in (4, 5, 6, 7)
    for group in range(8)
    for others in range(8)
    if group & ~owner == 0 == others & ~group
]
DECIMAL = [555, 600, 640, 644, 660, 664, 700, 711, 750, 755, 770, 775, 777, 1777, 2755, 4755]


@pytest.mark.parametrize("decimal", DECIMAL)
def test_decimal_digits_are_a_slip(decimal: int) -> None:
    with pytest.raises(
        ValueError, match=f"^mode {decimal} is {decimal:#o}; did you mean 0o{decimal}"
    ):
        wire_mode(decimal)


def test_usual_modes_are_none() -> None:
    assert [wire_mode(mode) for mode in USUAL] == [f"{mode:04o}" for mode in USUAL]
    assert {0o755, 0o644, 0o600, 0o1777, 0o2755, 0o4755} <= set(USUAL)
    assert wire_mode(0) == "0000"


def test_every_call_says_so(scripted: Any) -> None:
    options: Any = {"mode": 755, "ignore": None, "progress": False}
    calls = [
        transfers.upload(scripted(), "s1", b"x", "a", **options),
        transfers.download(scripted(), "s1", "a", "b", **options),
        tree.mkdir(scripted(), "s1", "d", mode=755, parents=False, exist_ok=False),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="mode 755 is 0o1363; did you mean 0o755"):
            run(call)
