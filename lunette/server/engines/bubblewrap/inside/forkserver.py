"""The fork server: one small process that forks a worker for each sandbox, so that the server's
loop never forks.

It imports everything that a worker needs and then forgets how to import. A worker that looked for a
module after it entered a sandbox would find the sandbox's.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import traceback
from types import ModuleType

from lunette.server.engines.bubblewrap.inside import kernel, wire
from lunette.server.engines.bubblewrap.inside.worker import Worker

__all__ = ["main"]


def main() -> None:
    """Serve the socket whose descriptor is the first argument, until the server is gone."""
    fd, parent = int(sys.argv[1]), int(sys.argv[2])
    sock = socket.socket(fileno=_keep_only(fd))
    os.setsid()
    kernel.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers are reaped by the kernel
    os.umask(0o022)
    _forget_how_to_import(keep=traceback)  # which an unhandled error would else import
    gc.freeze()
    wire.send(sock, {"ready": True, "python": sys.version, "prefix": sys.base_prefix})
    while received := wire.receive(sock):
        _answer(sock, *received)


def _keep_only(fd: int) -> int:
    """Close what was inherited besides the standard streams and *fd*, and let no command inherit
    that.
    """
    os.closerange(3, fd)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_inheritable(fd, False)
    return fd


def _answer(sock: socket.socket, message: wire.Message, fds: list[int]) -> None:
    try:
        if message["op"] == "bind":
            _bind(message["mounts"])
        else:
            _fork_worker(sock, fds)
        wire.send(sock, {"id": message["id"]})
    except OSError as error:
        wire.send(sock, {"id": message["id"], "error": str(error)})
    finally:
        for fd in fds:
            os.close(fd)


def _bind(mounts: list[tuple[str, str]]) -> None:
    """Show *mounts* (from, to) to the workers alone, so that a user who cannot reach the one can
    reach the other.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.make_mounts_private()
    for source, target in mounts:
        kernel.bind_mount(source, target)


def _fork_worker(sock: socket.socket, fds: list[int]) -> None:
    parent = os.getpid()
    if os.fork():
        return
    try:
        sock.close()
        os.setsid()
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # what is ignored stays ignored in every command
        Worker(socket.socket(fileno=fds[0]), parent=parent).serve()
    finally:
        os._exit(1)  # whatever happened: a worker never comes back into the fork server's loop


def _forget_how_to_import(*, keep: ModuleType) -> None:
    assert keep.__name__ in sys.modules
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.meta_path[:] = []
