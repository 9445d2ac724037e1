"""Starting bwrap for one sandbox, up to the moment at which it can be entered."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import time
from typing import Any, NamedTuple

from lunette.server.engines.bubblewrap.inside import kernel
from lunette.server.engines.bubblewrap.inside.pause import pause_program
from lunette.server.engines.bubblewrap.inside.seccomp import filter_program
from lunette.server.engines.bubblewrap.inside.wire import Message

__all__ = [
    "ARGUMENTS_FD",
    "BWRAP",
    "INFO_FD",
    "SECCOMP_FD",
    "STATUS_FD",
    "FailedStartError",
    "Launched",
    "first_children",
    "launch",
    "map_ids",
]

# The descriptors under which bwrap gets what its arguments name. One serves for status and for
# `--userns-block-fd`, because the sandbox's first processes close the former and keep the latter.
# bwrap insists on an --info-fd with it.
# The sandbox's second process is run from the last, which is its own, and so it may have it.
STATUS_FD, SECCOMP_FD, ARGUMENTS_FD, INFO_FD, PAUSE_FD = 60, 61, 62, 63, 64
BWRAP = (
    *("bwrap", "--args", str(ARGUMENTS_FD), "--argv0", "pause"),
    *("--", f"/proc/self/fd/{PAUSE_FD}"),
)
_POLL_SECONDS = 0.0003


class FailedStartError(Exception):
    """bwrap ended, or was not ready in time."""


class Launched(NamedTuple):
    """A sandbox that is ready to be entered; *pid1* is a pid of the host, *pid1_fd* its pidfd."""

    bwrap: int
    pid1: int
    pid1_fd: int


def launch(message: Message, fds: list[int], *, deadline: float) -> Launched:
    """Start bwrap as *message* says: its arguments, for a range the *base* and *count* of ids, and
    then the *image* to be shown with those ids.

    *fds* are bwrap itself, sealed, and where its standard error goes. Its standard input is a pipe
    that this process never writes to: the sandbox's second process ends at its end, and with that
    the sandbox. PDEATHSIG alone is not enough, since there are moments before it is armed.
    """
    ours, theirs = socket.socketpair()
    lifeline, _ = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    given = {
        INFO_FD: null,
        STATUS_FD: theirs.fileno(),
        SECCOMP_FD: _memfd("filter", filter_program()),
        ARGUMENTS_FD: _memfd("arguments", message["arguments"].encode()),
        PAUSE_FD: _memfd("pause", pause_program()),
        0: lifeline,
        2: fds[1],
    }
    if message["base"] is not None:
        # The kernel takes it as the limit of the whole user namespace, however many ids that has.
        # (A user's own processes would count towards it; there is but one id in such a sandbox.)
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        soft = message["processes"]
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
        if message["image"] is not None:
            _show_image(message["image"], message["base"], message["count"])
    _wear(message["base"])
    bwrap = os.posix_spawn(
        f"/proc/self/fd/{fds[0]}",
        BWRAP,
        message["environment"],
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in given.items()],
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )
    theirs.close()
    memfds = (given[number] for number in (SECCOMP_FD, ARGUMENTS_FD, PAUSE_FD))
    for fd in (null, lifeline, fds[0], fds[1], *memfds):
        os.close(fd)
    pid1 = _read_status(ours, deadline)["child-pid"]
    pid1_fd = os.pidfd_open(pid1)
    try:
        if message["base"] is not None:
            _take_off()
            map_ids(pid1, 0, message["base"], message["count"])
            ours.send(b"x")  # bwrap waits for it
        ours.close()
        _wait_until_ready(bwrap, pid1, deadline)
    except BaseException:
        # Killing bwrap alone can leave its child: there is a moment before that asks to die with
        # it.
        signal.pidfd_send_signal(pid1_fd, signal.SIGKILL)
        raise
    return Launched(bwrap, pid1, pid1_fd)


def first_children(pid: int) -> list[int]:
    """The children of a process with one thread, as pids of the host."""
    path = f"/proc/{pid}/task/{pid}/children"
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return [int(child) for child in os.read(fd, 4096).split()]
    finally:
        os.close(fd)


def _memfd(name: str, content: bytes) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _show_image(image: Message, base: int, count: int) -> None:
    """Mount an image where bwrap finds it, with the ids that it has on disk as those of the range.

    In a mount namespace of its own, which goes with bwrap.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.make_mounts_private()
    namespace = _user_namespace(image["base"], base, count)
    try:
        kernel.mount_mapped(image["source"], image["target"], namespace)
    finally:
        os.close(namespace)


def _user_namespace(inside: int, outside: int, count: int) -> int:
    """Return a user namespace that maps ids; it needs a process only until it is open."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWUSER)
            theirs.send(b"x")
            theirs.recv(1)
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        try:
            if not ours.recv(1):
                raise FailedStartError("no user namespace can be made")
            map_ids(child, inside, outside, count)
            return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _wear(base: int | None) -> None:
    """Let bwrap be born as *base*, while this process can still go back to root (exec forgets the
    saved id).
    """
    if base is None:
        return
    os.setgroups([])
    os.setresgid(base, base, 0)
    os.setresuid(base, base, 0)


def _take_off() -> None:
    os.setresuid(-1, 0, -1)


def map_ids(pid: int, inside: int, outside: int, count: int) -> None:
    """Say which ids of the user namespace of *pid* are which of ours."""
    for name in ("uid_map", "gid_map"):
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, f"{inside} {outside} {count}".encode())
        os.close(fd)


def _read_status(sock: socket.socket, deadline: float) -> dict[str, Any]:
    """Read bwrap's first JSON document, which it writes before it mounts anything."""
    content = b""
    while not content.rstrip().endswith(b"}"):
        ready, _, _ = select.select([sock], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise FailedStartError("bwrap did not answer in time")
        chunk = sock.recv(4096)
        if not chunk:
            raise FailedStartError("bwrap ended before it made the sandbox")
        content += chunk
    answer: dict[str, Any] = json.loads(content)
    return answer


def _wait_until_ready(bwrap: int, pid1: int, deadline: float) -> None:
    """Wait until pid 1 has a child: bwrap forks it after the last mount. There is no event for
    this.
    """
    children = os.open(f"/proc/{pid1}/task/{pid1}/children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while not os.pread(children, 16, 0):
            if os.waitpid(bwrap, os.WNOHANG)[0]:
                raise FailedStartError("bwrap ended while it made the sandbox")
            if time.monotonic() > deadline:
                raise FailedStartError("the sandbox was not ready in time")
            time.sleep(_POLL_SECONDS)
    except ProcessLookupError:
        raise FailedStartError("bwrap ended while it made the sandbox") from None
    finally:
        os.close(children)
