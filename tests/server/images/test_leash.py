from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lunette.server.images._leash import Leash, LetGoError
from lunette.server.images.errors import ImageError

GUARD = 60.0


@pytest.fixture
def leash() -> Iterator[tuple[Leash, int]]:
    read, write = os.pipe()
    yield Leash(read), write
    os.close(read)
    with contextlib.suppress(OSError):
        os.close(write)


def test_a_leash_reads_a_line_and_waits_for_the_end(leash: tuple[Leash, int]) -> None:
    held, write = leash
    os.write(write, b"one")
    os.write(write, b" line\nmore")
    assert held.line() == b"one line"
    held.check()
    held.pause(0.01)
    os.write(write, b"ignored")
    held.check()
    os.close(write)
    with pytest.raises(LetGoError):
        held.check()
    with pytest.raises(LetGoError):
        held.pause(GUARD)


def test_a_leash_that_ends_before_its_line(leash: tuple[Leash, int]) -> None:
    held, write = leash
    os.write(write, b"half")
    os.close(write)
    with pytest.raises(LetGoError):
        held.line()


def test_a_line_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * (2 << 20))
    with (tmp_path / "long").open("rb") as file, pytest.raises(ImageError, match="1 MiB"):
        Leash(file.fileno()).line()


def test_the_thread_of_a_leash_ends_with_it(leash: tuple[Leash, int]) -> None:
    held, write = leash
    for _ in range(3):
        with held:
            os.write(write, b"ignored")
        assert "lunette-leash" not in {thread.name for thread in threading.enumerate()}
