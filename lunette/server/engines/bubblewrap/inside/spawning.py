"""Starting a command, by a worker that is what the command may be already."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Collection, Mapping, Sequence
from typing import Any

__all__ = ["Limits", "least", "most", "set_limits", "spawn"]

Limits = Mapping[int, tuple[int, int]]
"""(soft, hard) by the number of a resource."""


def least(one: int, other: int) -> int:
    """Return the stricter of two limits."""
    return max(one, other) if resource.RLIM_INFINITY in (one, other) else min(one, other)


def most(one: int, other: int) -> int:
    """Return the laxer of two limits."""
    return min(one, other) if resource.RLIM_INFINITY in (one, other) else max(one, other)


def set_limits(limits: Limits) -> None:
    """Set what this process may use, and all that it starts."""
    for number, limit in limits.items():
        resource.setrlimit(number, limit)


def spawn(
    argv: list[str],
    env: dict[str, str],
    streams: Sequence[int],
    *,
    ignored: Collection[signal.Signals],
    limits: Limits,
) -> int:
    """Start *argv* in a session of its own, with *streams* as its standard ones; return its pid.

    What this process *ignored* is not ignored there. *limits* are the command's alone.
    """
    program = _find(argv[0], env.get("PATH", os.defpath))
    if limits:  # which posix_spawn cannot set
        return _fork(program, argv, env, streams, ignored, limits)
    return os.posix_spawn(
        program,
        argv,
        env,
        file_actions=_standard_streams(streams),
        setsid=True,
        setsigmask=(),
        setsigdef=ignored,
    )


def _fork(
    program: str,
    argv: list[str],
    env: dict[str, str],
    streams: Sequence[int],
    ignored: Collection[signal.Signals],
    limits: Limits,
) -> int:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for number in ignored:
                signal.signal(number, signal.SIG_DFL)
            for target, fd in enumerate(streams):
                os.dup2(fd, target)
            set_limits(limits)
            os.execve(program, argv, env)
        except (OSError, ValueError) as error:  # the latter for a NUL, as of posix_spawn
            why = error.errno if isinstance(error, OSError) else errno.EINVAL
            os.write(writing, str(why).encode())
        finally:
            os._exit(127)
    os.close(writing)
    failure = os.read(reading, 16)
    os.close(reading)
    if failure:
        os.waitpid(pid, 0)
        raise OSError(int(failure), os.strerror(int(failure)), program)
    return pid


def _standard_streams(fds: Sequence[int]) -> list[tuple[Any, ...]]:
    return [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)]


def _find(program: str, path: str) -> str:
    """Look *program* up as a shell does: in *path*, inside the sandbox."""
    if "/" in program:
        return program
    found: OSError = FileNotFoundError(2, os.strerror(2), program)
    for directory in path.split(os.pathsep):
        candidate = os.path.join(directory or ".", program)
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            found = PermissionError(13, os.strerror(13), program)
    raise found
