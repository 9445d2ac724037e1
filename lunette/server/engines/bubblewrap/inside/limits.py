"""What the processes of a sandbox may use: by setrlimit(2), by being in a control group, and by who
is killed first where there is no memory left.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Mapping, Sequence

__all__ = [
    "COMMAND_SCORE",
    "WORKER_SCORE",
    "Limits",
    "apply",
    "apply_to",
    "go_first",
    "join",
    "named",
    "of_file_worker",
    "of_sandbox",
    "open_score",
    "set_score",
    "with_room",
    "within",
]

Limits = Mapping[int, tuple[int, int]]
"""(soft, hard) by the number of a resource."""

_MAX_OPEN_FILES = 65_536
# Much for a million names, which may be in one directory.
_FILE_WORKER_DATA = 512 * 1024 * 1024
# In thousandths of the memory that there is, added to what a process has: a small command dies
# before the worker, and all that is inside before the server. A command can give itself less, down
# to what the server has, or the worker where that is root with CAP_SYS_RESOURCE.
WORKER_SCORE, COMMAND_SCORE = 100, 600
_HIGHEST_SCORE = 1000
_NICE = -15
_WALLS = (resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE)


def apply(limits: Limits) -> None:
    """Set what this process may use, and all that it starts."""
    for number, limit in limits.items():
        resource.setrlimit(number, limit)


def apply_to(pid: int, processes: int) -> None:
    """Limit who was there before: by tracing them a command can have them fork."""
    for number, limit in _of_process(processes).items():
        resource.prlimit(pid, number, limit)


def of_sandbox(processes: int, disk: int) -> Limits:
    """Return the limits of a sandbox of so many *processes* and bytes of *disk*."""
    # No single file can be larger than all together may be: that takes no watching.
    largest = _least(disk, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    return {**_of_process(processes), resource.RLIMIT_FSIZE: (largest, largest)}


def of_file_worker(processes: int, disk: int) -> Limits:
    """Return those of `of_sandbox`, and one of memory: the sandbox decides how much there is to
    read, and pays for none of it.
    """
    data = _least(_FILE_WORKER_DATA, resource.getrlimit(resource.RLIMIT_DATA)[1])
    return {**of_sandbox(processes, disk), resource.RLIMIT_DATA: (data, data)}


def named(wanted: Mapping[str, tuple[int, int]]) -> Limits:
    """Return the `ulimits` of a service by their numbers."""
    return {
        getattr(resource, f"RLIMIT_{name.upper()}"): (soft, hard)
        for name, (soft, hard) in wanted.items()
    }


def with_room(own: Limits, wanted: Limits) -> Limits:
    """Return what the worker has, so that it can give its commands what is wanted for them: no
    process here may raise a hard limit.
    """
    given = {n: (own[n][0], _most(own[n][1], wanted[n][1])) for n in wanted if n in own}
    return {**own, **{n: limit for n, limit in given.items() if n not in _WALLS}}


def within(own: Limits, wanted: Limits) -> Limits:
    """Return what commands have of *wanted*: nothing beyond the walls of their sandbox."""
    most_of = {n: own[n][1] for n in _WALLS}
    return {
        n: (_least(soft, most_of[n]), _least(hard, most_of[n])) if n in most_of else (soft, hard)
        for n, (soft, hard) in wanted.items()
    }


def join(entries: Sequence[str]) -> None:
    """Go into groups, with all that this process starts; see `Group` in `_limits`."""
    for entry in entries:
        fd = os.open(entry, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"0")
        finally:
            os.close(fd)


def go_first() -> None:
    """Run before all others in the same group; who this process starts does not."""
    with contextlib.suppress(OSError):  # only root may
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


def open_score() -> int:
    """Return the descriptor of what says how soon this process is killed, see proc(5)."""
    return os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)


def set_score(fd: int, score: int) -> None:
    """Say how soon this process, and who it starts, is killed: never later than the server."""
    with contextlib.suppress(OSError):  # there are machines that do not let it
        os.pwrite(fd, str(min(score, _HIGHEST_SCORE)).encode(), 0)


def _of_process(processes: int) -> dict[int, tuple[int, int]]:
    wanted = {
        resource.RLIMIT_NOFILE: _MAX_OPEN_FILES,
        # Where the machine pipes dumps to a program, core(5), that runs as its root: nothing but 1
        # keeps it from it.
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_NPROC: processes,
    }
    limits = {n: _least(limit, resource.getrlimit(n)[1]) for n, limit in wanted.items()}
    return {number: (limit, limit) for number, limit in limits.items()}


def _least(one: int, other: int) -> int:
    """The stricter of two limits."""
    return max(one, other) if resource.RLIM_INFINITY in (one, other) else min(one, other)


def _most(one: int, other: int) -> int:
    """The laxer of two limits."""
    return min(one, other) if resource.RLIM_INFINITY in (one, other) else max(one, other)
