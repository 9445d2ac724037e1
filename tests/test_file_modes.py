from __future__ import annotations

import io
import itertools
import pathlib
from typing import Any

import pytest

from lunette._file_modes import read_mode


def of_python(mode: str, tmp_path: pathlib.Path) -> type[Exception] | None:
    path = tmp_path / "a"
    if "x" in mode:
        path.unlink(missing_ok=True)
    else:
        path.touch()
    try:
        path.open(mode).close()
    except ValueError as error:
        return type(error)
    return None


def test_modes_are_those_of_python(tmp_path: pathlib.Path) -> None:
    for length in (0, 1, 2, 3):
        for letters in itertools.product("rwxabtU", repeat=length):
            mode = "".join(letters)
            expected = of_python(mode, tmp_path)
            if expected is None:
                opening = read_mode("a", mode, None, None, None)
                assert opening.is_binary == ("b" in mode)
                assert opening.action in mode
            else:
                with pytest.raises(expected):
                    read_mode("a", mode, None, None, None)


@pytest.mark.parametrize("mode", ["r+", "w+", "a+b", "rb+"])
def test_no_file_is_read_and_written_at_once(mode: str) -> None:
    with pytest.raises(ValueError, match="read or written, not both: open it twice"):
        read_mode("a", mode, None, None, None)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("r", "no-such-codec", None, None), LookupError),
        (("r", None, None, "\n\n"), ValueError),
        (("rb", "utf-8", None, None), ValueError),
        (("wb", None, "strict", None), ValueError),
        (("ab", None, None, ""), ValueError),
        ((None, None, None, None), TypeError),
    ],
)
def test_what_python_refuses_is_refused(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_mode("a", *arguments)
    with pytest.raises(error):
        io.open("/dev/null", arguments[0], -1, *arguments[1:])  # noqa: UP020, SIM115


def test_a_path_may_be_one_of_pathlib() -> None:
    assert read_mode(pathlib.PurePosixPath("/w/a"), "r", None, None, None).path == "/w/a"
    assert read_mode(pathlib.PureWindowsPath("w") / "a", "r", None, None, None).path == "w/a"
    with pytest.raises(ValueError, match="not valid UTF-8"):
        read_mode("\udcff", "r", None, None, None)
