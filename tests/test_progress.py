from __future__ import annotations

import io as streams
import sys
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from lunette._progress import shown, transferring


def test_a_function_is_told_what_is_new() -> None:
    told: list[tuple[int, int | None]] = []
    with transferring(lambda *how_far: told.append(how_far), "a") as tell:
        for done, total in [(0, None), (5, None), (3, None), (5, None), (7, None), (7, 7), (7, 7)]:
            tell(done, total)
    assert told == [(0, None), (5, None), (7, None), (7, 7)]


class Terminal(streams.StringIO):
    def isatty(self) -> bool:
        return True


def show_a_bar() -> None:
    pytest.importorskip("tqdm")
    with transferring(True, "notes.txt") as tell:
        tell(0, 2048)
        tell(2048, 2048)


def test_a_bar_shows_what_is_transferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    show_a_bar()
    assert "notes.txt" in terminal.getvalue()


def test_a_pipe_gets_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # of a test before
    show_a_bar()
    assert capsys.readouterr() == ("", "")


def test_a_notebook_has_a_bar_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    show_a_bar()
    assert "notes.txt" in capsys.readouterr().err


class Told:
    async def __call__(self, done: int, total: int | None) -> None: ...


@pytest.mark.parametrize("tell", [Told(), Told().__call__, partial(Told().__call__, total=None)])
@pytest.mark.parametrize("show", [shown, partial(transferring, what="a")])
def test_a_function_that_nobody_awaits_is_refused(show: Any, tell: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a plain function, and .* is asynchronous"):
        show(tell).__enter__()


def test_nobody_need_be_told() -> None:
    with transferring(False, "a") as tell:
        tell(1, None)
