from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lunette.server.images._locks import Lock, wait_for_lock

TAKE = """
import os, sys
from pathlib import Path
from lunette.server.images._locks import wait_for_lock
lock = wait_for_lock(Path(sys.argv[1]))
os.kill(os.getpid(), 9)
"""


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path / "lock")
    assert lock is not None
    process = subprocess.Popen([sys.executable, "-c", TAKE, str(tmp_path / "lock")])
    lock.close()
    assert process.wait(30) == -9
    with closing(wait_for_lock(tmp_path / "lock")):
        pass


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
