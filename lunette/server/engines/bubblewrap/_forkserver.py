"""Starting the fork server and asking it for workers."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Literal

import lunette
from lunette.server.engines.bubblewrap._channel import Channel, DeadChannelError
from lunette.server.engines.bubblewrap._host_image import interpreter
from lunette.server.engines.bubblewrap._memfd import sealed_copy
from lunette.server.engines.bubblewrap._orphans import end_orphans
from lunette.server.engines.bubblewrap._sandbox import refused
from lunette.server.engines.bubblewrap._worker import ANSWER_SECONDS
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import EngineUnavailableError, NoCapacityError

__all__ = ["ForkServer", "open_worker"]

_START_SECONDS = 20.0
_ANSWER_SECONDS = 10.0
_END_SECONDS = 10.0
# The way to this package is in the environment: unlike arguments, no sandbox ever reads that.
_MAIN = "from lunette.server.engines.bubblewrap.inside.forkserver import main; main()"
# Not -I: it implies -E, and then PYTHONHOME, without which a Python in a memfd finds no library, is
# ignored.
_FLAGS = ("-S", "-P", "-s")


class ForkServer:
    """The one process of this engine that forks. Its end takes every worker, and so every sandbox,
    with it.
    """

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self._process = process
        self._channel = Channel(sock)

    @classmethod
    async def start(cls, lock: int) -> ForkServer:
        """Start it; it keeps *lock*, a descriptor, for as long as anything of it lives."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            server = cls(_spawn(theirs.fileno(), lock), ours)
        try:
            hello, _ = await server._channel.open(deadline=_START_SECONDS)
            _check_python(hello)
        except BaseException as error:
            await server.aclose()
            if isinstance(error, DeadChannelError):
                raise EngineUnavailableError(
                    "the fork server did not start; its error is in the log"
                ) from error
            raise
        return server

    @property
    def alive(self) -> bool:
        return not self._channel.closed.done()

    async def bind(self, mounts: tuple[tuple[str, str], ...]) -> None:
        """Show the workers alone each (from, to)."""
        answer, _ = await self._channel.ask(
            {"op": "bind", "mounts": mounts}, deadline=_ANSWER_SECONDS
        )
        if "error" in answer:
            raise EngineUnavailableError(f"root without the right to mount: {answer['error']}")

    async def fork(self, op: Literal["fork", "measure"] = "fork") -> socket.socket:
        """Fork a worker, or what can "measure", and return the socket to it."""
        sock, _ = await self._fork(op)
        return sock

    async def fork_for_files(self) -> tuple[socket.socket, int]:
        """Fork what does one thing to files, and return the socket to it and its pidfd."""
        sock, fds = await self._fork("files")
        if not fds:  # there was no room for it
            sock.close()
            raise NoCapacityError("no descriptor for a process")
        return sock, fds[0]

    async def _fork(self, op: str) -> tuple[socket.socket, list[int]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                answer, fds = await self._channel.ask(
                    {"op": op}, [theirs.fileno()], deadline=_ANSWER_SECONDS
                )
        except DeadChannelError as error:
            ours.close()
            raise NoCapacityError("the fork server does not answer") from error
        except BaseException:
            ours.close()
            raise
        if "error" in answer:
            ours.close()
            raise NoCapacityError(f"no process for the sandbox: {answer['error']}")
        return ours, fds

    async def kill(self) -> None:
        """End one that does not answer, or is dead; workers and their sandboxes go on without."""
        self._channel.close()
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        await asyncio.to_thread(end_orphans)

    async def aclose(self) -> None:
        """Hang up: the fork server ends what is left below it, and then itself."""
        self._channel.close()
        try:
            await asyncio.to_thread(self._process.wait, _END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        if self._process.returncode:  # it could not end what it had made
            await asyncio.to_thread(end_orphans)


def _spawn(fd: int, lock: int) -> subprocess.Popen[bytes]:
    program = interpreter()
    if program is None:
        raise EngineUnavailableError(f"no Python interpreter below {sys.base_prefix}/bin")
    python, _ = sealed_copy(program, "python")
    root = str(Path(lunette.__file__).resolve().parent.parent)
    libraries = ":".join(f"{sys.base_prefix}/{name}" for name in ("lib", "lib64"))
    try:
        return subprocess.Popen(
            ["lunette-forkserver", *_FLAGS, "-c", _MAIN, str(fd), str(lock)],
            executable=f"/proc/self/fd/{python}",
            env={
                "PYTHONHOME": sys.base_prefix,
                "PYTHONPATH": root,
                "LD_LIBRARY_PATH": libraries,
            },
            pass_fds=(fd, lock, python),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    finally:
        os.close(python)


def _check_python(hello: Message) -> None:
    """A Python in a memfd loads whatever libpython and library it finds: make sure that they are
    its own.
    """
    if hello["python"] != sys.version or hello["prefix"] != sys.base_prefix:
        raise EngineUnavailableError(
            f"the fork server runs Python {hello['python']} from {hello['prefix']},"
            f" not {sys.version} from {sys.base_prefix}"
        )


async def open_worker(
    forkserver: ForkServer,
    message: Message,
    bwrap: int,
    stderr: int | None,
) -> tuple[Channel, Message, list[int]]:
    """Start a worker and let it start the sandbox; return its first word and the pidfds of pid 1
    and of itself.
    """
    channel = Channel(await forkserver.fork())
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        hello, fds = await channel.open(
            message, [bwrap, null if stderr is None else stderr], deadline=ANSWER_SECONDS + 5
        )
    except DeadChannelError as error:
        channel.close()
        raise NoCapacityError("the sandbox could not be started") from error
    except BaseException:
        channel.close()
        raise
    finally:
        os.close(null)
    if "error" in hello:
        channel.close()
        _raise_start_error(hello)
    return channel, hello, fds


def _raise_start_error(hello: Message) -> None:
    if (key := hello.get("key")) is not None:
        raise refused(key, hello["error"])
    raise NoCapacityError(f"the sandbox could not be started: {hello['error']}")
