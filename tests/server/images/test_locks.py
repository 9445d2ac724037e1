from __future__ import annotations

import multiprocessing
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lunette.server.images._locks import Lock, wait_for_lock


def _take(path: str, answers: Any) -> None:
    lock = wait_for_lock(Path(path))
    answers.put(os.getpid())
    os.kill(os.getpid(), 9)
    lock.close()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    process = spawn.Process(target=_take, args=(str(tmp_path / "lock"), answers))
    lock = Lock.take(tmp_path / "lock")
    assert lock is not None
    process.start()
    lock.close()
    process.join(30)
    with closing(wait_for_lock(tmp_path / "lock")):
        assert process.exitcode == -9


def test_a_lock_on_a_file_that_was_renamed_is_none(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Lock.take(path) or pytest.fail("it is free"):
        assert Lock.take(path) is None
        assert Lock.take(path, shared=True) is None
        path.rename(tmp_path / "finished")
        with Lock.take(path) or pytest.fail("it is another file"):
            pass


def test_shared_locks(tmp_path: Path) -> None:
    one, two = (Lock.take(tmp_path / "lock", shared=True) for _ in range(2))
    assert one is not None
    assert two is not None
    assert Lock.take(tmp_path / "lock") is None
    one.close()
    two.close()


def test_a_lock_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        Lock.take(tmp_path / "lock")
