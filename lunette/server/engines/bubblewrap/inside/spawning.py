"""Starting a command, by a worker that is what the command may be already, or more."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import termios
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, NoReturn

from lunette.server.engines.bubblewrap.inside import kernel, limits

__all__ = ["Start", "WrongDirectoryError", "become", "spawn"]

_DIRECTORY = b"."
_START_MS = 2000


class WrongDirectoryError(OSError):
    """The user of the command may not be in its working directory."""


class Start(NamedTuple):
    """What to start: *argv* in a session of its own, with *streams* as its standard ones.

    One stream is a terminal, and all three. *user* is (uid, gid, groups), None who this process is.
    What this process *ignored* is not ignored there. *limits* are the command's alone.
    """

    argv: list[str]
    env: dict[str, str]
    streams: Sequence[int]
    ignored: Collection[signal.Signals]
    limits: limits.Limits
    user: tuple[int, int, list[int]] | None = None

    @property
    def on_terminal(self) -> bool:
        return len(self.streams) == 1

    def find(self) -> str:
        """Return the path of the program."""
        return _find(self.argv[0], self.env.get("PATH", os.defpath))


def become(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Become a user of the sandbox; one that is not root loses every capability by it."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def spawn(start: Start) -> int:
    """Start a command and return its pid.

    Raise WrongDirectoryError for a directory that is closed to its user.
    """
    if start.limits or start.user:  # which posix_spawn cannot set
        return _fork(start)
    return os.posix_spawn(
        start.find(),
        start.argv,
        start.env,
        file_actions=_file_actions(start),
        setsid=True,
        setsigmask=(),
        setsigdef=start.ignored,
    )


def _file_actions(start: Start) -> list[tuple[Any, ...]]:
    if not start.on_terminal:
        return [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(start.streams)]
    # Who leads a session gets as its terminal the first that it opens.
    path = f"/proc/self/fd/{start.streams[0]}"
    opened = (os.POSIX_SPAWN_OPEN, 0, path, os.O_RDWR, 0)
    return [opened, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]


def _fork(start: Start) -> int:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _become_command(start, writing)
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    failure = _failure(reading)
    if not failure:
        return pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    number = int(failure.removesuffix(_DIRECTORY))
    kind = WrongDirectoryError if failure.endswith(_DIRECTORY) else OSError
    raise kind(number, os.strerror(number))


def _failure(reading: int) -> bytes:
    """Return why the child is no command; nothing if it is one.

    Once it is another user, who is that user can stop it, and it would hold up who waits.
    """
    try:
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        return os.read(reading, 16) if poll.poll(_START_MS) else str(errno.EAGAIN).encode()
    finally:
        os.close(reading)


def _become_command(start: Start, writing: int) -> NoReturn:
    """In the child, which nobody can trace before it has become the command: what it was forked
    from is not dumpable.
    """
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in start.ignored:
            signal.signal(number, signal.SIG_DFL)
        _take_streams(start)
        limits.apply(start.limits)
        if start.user is not None:
            _become_user(*start.user)
            _check_directory(writing)
        os.execve(start.find(), start.argv, start.env)
    except (OSError, ValueError) as error:  # the latter for a NUL, as of posix_spawn
        why = error.errno if isinstance(error, OSError) else errno.EINVAL
        os.write(writing, str(why).encode())
    finally:
        os._exit(127)


def _take_streams(start: Start) -> None:
    if start.on_terminal:
        fcntl.ioctl(start.streams[0], termios.TIOCSCTTY, 0)
    for target in range(3):
        os.dup2(start.streams[0 if start.on_terminal else target], target)


def _become_user(uid: int, gid: int, groups: Sequence[int]) -> None:
    """As `become`, among processes that may already be that user.

    With a new id the kernel can make a process traceable (fs.suid_dumpable, proc(5)), by whom all
    three ids are; so the third comes last.
    """
    os.setgroups(groups)
    os.setresgid(gid, gid, -1)
    kernel.set_dumpable(False)
    os.setresgid(-1, -1, gid)
    if uid == 0:
        return
    kernel.limit_capabilities(0)
    os.setresuid(uid, uid, -1)
    kernel.set_dumpable(False)
    os.setresuid(-1, -1, uid)
    kernel.set_capabilities(0)


def _check_directory(writing: int) -> None:
    """It was entered by root, whom no mode keeps out."""
    try:
        os.chdir(".")
    except OSError as error:
        os.write(writing, str(error.errno).encode() + _DIRECTORY)
        os._exit(127)


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
