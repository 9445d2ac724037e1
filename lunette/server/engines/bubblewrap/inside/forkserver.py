"""The fork server: one small process that forks a worker for each sandbox, so that the server's
loop never forks.

It imports everything that a worker needs and then forgets how to import. A worker that looked for a
module after it entered a sandbox would find the sandbox's.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
import traceback
from types import ModuleType

from lunette.server.engines.bubblewrap.inside import kernel, wire
from lunette.server.engines.bubblewrap.inside.filejobs import FileWorker
from lunette.server.engines.bubblewrap.inside.launching import first_children
from lunette.server.engines.bubblewrap.inside.measuring import Measurer
from lunette.server.engines.bubblewrap.inside.worker import Worker

__all__ = ["main"]

_PAUSE_SECONDS = 0.002
_KINDS: dict[str, type[Worker | Measurer | FileWorker]] = {
    "fork": Worker,
    "measure": Measurer,
    "files": FileWorker,
}


def main() -> None:
    """Serve the socket whose descriptor is the first argument, until the server is gone.

    The second is that of the lock on the server's directory, held as long as anybody lives who has
    something in it.
    """
    fds = [int(argument) for argument in sys.argv[1:3]]
    _keep_only(fds)
    sock = socket.socket(fileno=fds[0])
    os.setsid()
    kernel.adopt_orphans()
    kernel.go_on_without_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers are reaped by the kernel
    os.umask(0o022)
    _forget_how_to_import(keep=traceback)  # which an unhandled error would else import
    gc.freeze()
    try:
        wire.send(sock, {"ready": True, "python": sys.version, "prefix": sys.base_prefix})
        while received := wire.receive(sock):
            _answer(sock, *received)
    finally:
        _end_family()


def _end_family() -> None:
    """Kill whatever is left below: the server is gone, and nobody else knows of it.

    No process of a sandbox can be anywhere else, since orphans come here, and none can reach this
    process.
    """
    while children := first_children(os.getpid()):
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)


def _keep_only(fds: list[int]) -> None:
    """Close what was inherited but the standard streams and *fds*, which no command inherits."""
    first = 3
    for fd in sorted(fds):
        os.closerange(first, fd)
        os.set_inheritable(fd, False)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _answer(sock: socket.socket, message: wire.Message, fds: list[int]) -> None:
    given: list[int] = []
    try:
        if message["op"] == "bind":
            _bind(message["mounts"])
        else:
            pid = _fork(sock, fds, _KINDS[message["op"]])
            # It waits for its first message, so that it is still there.
            given = [os.pidfd_open(pid)] if message["op"] == "files" else []
        wire.send(sock, {"id": message["id"]}, given)
    except OSError as error:
        wire.send(sock, {"id": message["id"], "error": str(error)})
    finally:
        for fd in (*fds, *given):
            os.close(fd)


def _bind(mounts: list[tuple[str, str]]) -> None:
    """Show *mounts* (from, to) to the workers alone, so that a user who cannot reach the one can
    reach the other.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.make_mounts_private()
    for source, target in mounts:
        kernel.bind_mount(source, target)


def _fork(sock: socket.socket, fds: list[int], kind: type[Worker | Measurer | FileWorker]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        sock.close()
        os.setsid()
        kind(socket.socket(fileno=fds[0])).serve()
    finally:
        os._exit(1)  # whatever happened: a worker never comes back into the fork server's loop


def _forget_how_to_import(*, keep: ModuleType) -> None:
    assert keep.__name__ in sys.modules
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.meta_path[:] = []
