from __future__ import annotations

from pathlib import Path

import pytest

from lunette._operations._targets import target_of


def test_a_file_that_is_only_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with (tmp_path / "a").open("rb") as file, pytest.raises(ValueError, match="open for writing"):
        target_of(file, "a", None)
    with (tmp_path / "a").open() as text, pytest.raises(TypeError, match="binary mode"):
        target_of(text, "a", None)  # type: ignore[arg-type]


def test_a_file_is_not_written_to_a_directory(tmp_path: Path) -> None:
    for path in (str(tmp_path), f"{tmp_path}/", f"{tmp_path}/new/"):
        with pytest.raises(IsADirectoryError, match=r"write '.*/a\.txt'"):
            target_of(path, "d/a.txt", None)
    assert not list(tmp_path.iterdir())
