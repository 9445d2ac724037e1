"""Going in by the pid of a first process, which may be somebody else's by now."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

SANDBOX = (
    *("unshare", "--user", "--map-root-user", "--mount", "--net", "--ipc", "--uts", "--cgroup"),
    *("--pid", "--fork", "sh", "-c", "echo up; exec sleep 600"),
)
ENTER = """
import os, sys
from lunette.server.engines.bubblewrap.inside import entering

way, pid, pidfd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
try:
    if way == "checked":
        entering.enter_checked(pid, pidfd, None)
    else:
        entering.enter(pid, None, lambda: None)
except ProcessLookupError as error:
    print(error)
else:
    print(os.readlink("/proc/self/ns/mnt"))
"""


@pytest.fixture
def first() -> Generator[int]:
    """Yield the pid of the first process of something like a sandbox."""
    with subprocess.Popen(
        SANDBOX, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as outer:
        assert outer.stdout is not None
        assert outer.stdout.readline() == "up\n"
        pid = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text())
        yield pid
        os.kill(pid, 9)


@pytest.fixture
def ended() -> Generator[int]:
    """Yield the pidfd of a process that has ended: the pid may be anybody's."""
    with subprocess.Popen(["true"]) as process:
        fd = os.pidfd_open(process.pid)
    yield fd
    os.close(fd)


def entered(way: str, pid: int, pidfd: int) -> str:
    command = [sys.executable, "-c", ENTER, way, str(pid), str(pidfd)]
    done = subprocess.run(
        command, pass_fds=[pidfd], stdout=subprocess.PIPE, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def mounts_of(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/mnt").readlink())


def test_whoever_has_the_pid_now_is_not_entered(first: int, ended: int) -> None:
    assert entered("checked", first, ended) == "the sandbox has ended"


def test_without_the_look_it_would_be(first: int, ended: int) -> None:
    assert entered("unchecked", first, ended) == mounts_of(first)


def test_the_one_who_still_has_it_is(first: int) -> None:
    pidfd = os.pidfd_open(first)
    try:
        assert entered("checked", first, pidfd) == mounts_of(first)
    finally:
        os.close(pidfd)
