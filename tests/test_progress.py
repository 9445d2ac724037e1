from __future__ import annotations

import pytest

from lunette._progress import transferring


def test_a_function_is_told_what_is_new() -> None:
    told: list[tuple[int, int | None]] = []
    with transferring(lambda *how_far: told.append(how_far), "a") as tell:
        for done, total in [(0, None), (5, None), (3, None), (5, None), (7, None), (7, 7), (7, 7)]:
            tell(done, total)
    assert told == [(0, None), (5, None), (7, None), (7, 7)]


def test_a_bar_shows_what_is_transferred(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    with transferring(True, "notes.txt") as tell:
        tell(0, 2048)
        tell(2048, 2048)
    assert "notes.txt" in capsys.readouterr().err


def test_nobody_need_be_told() -> None:
    with transferring(False, "a") as tell:
        tell(1, None)
