"""The fork server and its workers, broken from outside: what ends is theirs, and nothing else.

No sandbox reaches them. These tests take their sockets by the right of the machine's root.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import stage
from servers import Server, serving
from test_traps import argv, descendants, read, workers
from test_walls import gone

from lunette import LunetteError, Sandbox, SandboxDestroyedError

_PIDFD_GETFD = 438
GARBAGE = (b"\0{", b"[1]", b'{"exit": []}', b'{"id": {}}', b"memfd")

pytestmark = pytest.mark.skipif(not stage.is_root(), reason="only root takes others' sockets")


@contextmanager
def sockets(pid: int) -> Generator[list[socket.socket]]:
    """Take a process's ends of the sockets between the server, the fork server and workers."""
    with contextlib.ExitStack() as stack:
        found: list[socket.socket] = []
        pidfd = os.pidfd_open(pid)
        stack.callback(os.close, pidfd)
        for path in opened(pid):
            if not str(path.readlink()).startswith("socket:"):
                continue
            fd = ctypes.CDLL(None).syscall(_PIDFD_GETFD, pidfd, int(path.name), 0)
            sock = stack.enter_context(socket.socket(fileno=fd))
            if (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET):
                found.append(sock)
        yield found


def opened(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


def forkserver(server: Server) -> int:
    (found,) = (p for p in children(server.pid) if argv(p)[0] == "lunette-forkserver")
    return found


def children(pid: int) -> list[int]:
    return [int(child) for child in read(f"/proc/{pid}/task/{pid}/children").split()]


def pid_namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def worker(server: Server, sandbox: Sandbox) -> int:
    """Return the worker of *sandbox*: bwrap is its child, and what runs inside is below that."""
    inside = sandbox.exec("sleep 601 & readlink /proc/self/ns/pid").stdout.strip()
    for pid in workers(server):
        if any(pid_namespace(child) == inside for child in descendants(pid)):
            return pid
    raise AssertionError("nobody")


def works(server: Server) -> bool:
    with server.client.create_sandbox({"image": "host"}) as sandbox:
        return sandbox.exec("true").success


def ends(sandbox: Sandbox) -> bool:
    """Whether *sandbox* is said to have ended, rather than a call to it to have failed."""
    with pytest.raises(SandboxDestroyedError):
        sandbox.exec("true")
    return True


def test_garbage_of_a_worker_ends_its_sandbox(server: Server) -> None:
    with server.client.create_sandbox({"image": "host"}) as other:
        before = len(opened(server.pid))
        for garbage in GARBAGE:
            with server.client.create_sandbox({"image": "host"}) as sandbox:
                pid = worker(server, sandbox)
                family = descendants(pid)
                with sockets(pid) as (sock,), Path(os.devnull).open() as null:
                    rights = array.array("i", [null.fileno()] * 3)
                    sock.sendmsg([garbage], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                assert ends(sandbox)
                gone(family, seconds=20)
        assert other.exec("true").success
        assert works(server)
        assert len(opened(server.pid)) < before + len(GARBAGE)


def test_garbage_between_the_servers_ends_all_sandboxes(server: Server) -> None:
    for sender in (forkserver, lambda server: server.pid):
        with server.client.create_sandbox({"image": "host"}) as sandbox:
            family = descendants(server.pid)
            with sockets(sender(server)) as taken:
                for sock in taken:
                    with contextlib.suppress(BrokenPipeError):  # of one that ended with another
                        sock.send(GARBAGE[0])
            gone(family, seconds=20)
            assert ends(sandbox)
            assert works(server)


def test_who_is_stopped_holds_nobody_else_up(mode: str) -> None:
    with serving(mode, "short_deadline") as server:
        sandbox, other = (server.client.create_sandbox({"image": "host"}) for _ in range(2))
        pid = worker(server, sandbox)
        family = [pid, *descendants(pid)]
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(SandboxDestroyedError, match="stopped answering"):
            sandbox.exec("true")
        gone(family, seconds=20)
        stopped = forkserver(server)
        os.kill(stopped, signal.SIGSTOP)
        assert other.exec("true").success
        end = time.monotonic() + 30
        while not made_again(server) or stopped in children(server.pid):
            assert time.monotonic() < end
        assert other.exec("true").success


def made_again(server: Server) -> bool:
    try:
        return works(server)
    except SandboxDestroyedError:
        raise
    except LunetteError:  # who was already waiting for the stopped one
        return False


def test_a_stopped_fork_server_ends_with_the_server(mode: str) -> None:
    with serving(mode) as server:
        sandbox = server.client.create_sandbox({"image": "host"})
        sandbox.exec("trap '' TERM HUP; sleep 600 &")
        family = descendants(server.pid)
        for pid in (forkserver(server), worker(server, sandbox)):
            os.kill(pid, signal.SIGSTOP)
        os.kill(server.pid, signal.SIGKILL)
        gone(family, seconds=20)
