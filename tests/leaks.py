"""What a run of the tests leaves behind: nothing, or it fails."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from lunette import _embedded

__all__ = ["left_behind", "nobodys_directories", "nothing_left"]

_SECONDS = 15.0
_NAMES = (
    *("lunette.server", "lunette-forkserver", "lunette serve", "bwrap "),
    *("docker-registry", "dockerd"),
)


@pytest.fixture(scope="session", autouse=True)
def nothing_left() -> Generator[None]:
    """Fail the run when anything of ours outlives it; of all fixtures this one ends last."""
    before = left_behind()
    yield
    if "LUNETTE_CI" not in os.environ:
        return  # what is left may be that of another run on this machine
    if _embedded._current is not None:  # pyright: ignore[reportPrivateUsage]
        _embedded._current.stop()  # pyright: ignore[reportPrivateUsage]
    wait_until_nothing_is_left(before)


def wait_until_nothing_is_left(before: set[str], seconds: float = _SECONDS) -> None:
    """Wait for what is on its way out, and fail with what stays."""
    deadline = time.monotonic() + seconds
    while left := left_behind() - before:
        if time.monotonic() > deadline:
            pytest.fail("left behind:\n" + "\n".join(sorted(left)), pytrace=False)
        time.sleep(0.05)


def left_behind() -> set[str]:
    """Describe what there is of this run, or of nobody; other runs on this machine go their way."""
    if sys.platform != "linux":
        return set()
    processes = _processes()
    return {
        *(f"process {pid}: {command}" for pid, command in processes.items()),
        *(f"socket {name}" for name in _sockets({os.getpid(), *processes})),
        *(f"mount {line}" for line in _mounts()),
        *(f"directory {path}" for path in nobodys_directories()),
    }


def _processes() -> dict[int, str]:
    """Servers, fork servers and what runs in sandboxes, by name or by another pid namespace."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            pid = int(entry.name)
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if _elsewhere(entry) or any(name in command for name in _NAMES):
                commands[pid] = command.strip() or "(a zombie, or a thread of the kernel)"
    return {pid: command for pid, command in commands.items() if _is_ours(pid, parents, commands)}


def _elsewhere(process: Path) -> bool:
    return (process / "ns/pid").readlink() != Path("/proc/self/ns/pid").readlink()


def _is_ours(pid: int, parents: dict[int, int], commands: dict[int, str]) -> bool:
    """Whether this run started it, or nobody is left who did."""
    while pid in commands:
        pid = parents.get(pid, 1)
    while pid not in {0, 1, os.getpid()}:
        pid = parents.get(pid, 1)
        if pid in {0, 1}:
            return False  # somebody else's: another run, or the service manager's
    return True


def _sockets(holders: set[int]) -> set[str]:
    names: dict[str, str] = {}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and ("/lunette-" in fields[7] or "@lunette/" in fields[7]):
            names[f"socket:[{fields[6]}]"] = fields[7]
    held: set[str] = set()
    for pid in holders:
        with suppress(OSError):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    held.add(str(fd.readlink()))
    return {name for inode, name in names.items() if inode in held}


def _mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if "/lunette-" in line]


def nobodys_directories() -> list[Path]:
    """Return the servers' directories that no living process has locked."""
    found = Path(tempfile.gettempdir()).glob("lunette-*")
    return [path for path in found if _is_nobodys(path)]


def _is_nobodys(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
