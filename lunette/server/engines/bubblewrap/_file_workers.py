"""Processes that do what may take long to the files of a sandbox, one each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence

from lunette.server.engines.bubblewrap._channel import Channel, DeadChannelError, set_done
from lunette.server.engines.bubblewrap._files import os_error
from lunette.server.engines.bubblewrap._threads import to_the_end
from lunette.server.engines.bubblewrap._worker import Worker
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import NoCapacityError, SandboxGoneError

__all__ = ["FileWorker", "FileWorkers", "Fork"]

_END_SECONDS = 10.0
_BEGIN_SECONDS = 30.0
_NOT_BEGUN_SECONDS = 2.0
_DEATH_SECONDS = 1.0

Fork = Callable[[], Awaitable[tuple[socket.socket, int]]]
"""Returns the socket to a new process, and its pidfd."""


class FileWorker:
    """One such process in the sandbox of *worker*."""

    def __init__(self, worker: Worker, sock: socket.socket, pidfd: int) -> None:
        self._worker = worker
        self._pidfd = pidfd
        self._channel = Channel(sock)
        self._said: asyncio.Queue[Message | None] = asyncio.Queue()
        self._channel.unasked = self._said.put_nowait
        self._channel.closed.add_done_callback(lambda _: self._said.put_nowait(None))
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(pidfd, self._over)

    def _over(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        set_done(self.ended)

    def tell(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send *message*; whether it is heeded is in the next `word`."""
        with contextlib.suppress(DeadChannelError):
            self._channel.tell(message, fds)

    async def word(self) -> Message:
        """Return what it says next, or raise the OSError that it met, or SandboxGoneError."""
        said = await self._said.get()
        if said is None:
            self._said.put_nowait(None)
            raise await self._death()
        if "outside" in said:
            self._worker.check()
            raise NoCapacityError(f"the sandbox cannot be entered: {said['outside']}")
        if "fault" in said:
            raise RuntimeError(said["fault"])
        if "errno" in said:
            raise os_error(said, said["path"])
        return said

    async def begun(self) -> None:
        """Wait until it has begun, which takes no time unless somebody makes it; end it if it does
        not, or when cancelled.
        """
        try:
            async with asyncio.timeout(_BEGIN_SECONDS):
                await self.word()
        except TimeoutError:
            await to_the_end(self.close())
            raise NoCapacityError("what was asked for could not be begun in time") from None
        except BaseException:
            await to_the_end(self.close(patience=_NOT_BEGUN_SECONDS))
            raise

    async def _death(self) -> Exception:
        """Its sandbox may be gone, and we about to hear of it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DEATH_SECONDS):
                await self._worker.gone.wait()
                return SandboxGoneError(self._worker.status)
        return NoCapacityError("the process that did it was ended")

    def kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def close(self, *, patience: float = 0.0) -> None:
        """Hang up, and return when it has ended; after *patience* seconds it is killed."""
        self._channel.close()
        if patience:
            await asyncio.wait([self.ended], timeout=patience)
        self.kill()
        await asyncio.wait([self.ended], timeout=_END_SECONDS)


class FileWorkers:
    """Those of the sandbox of *worker*: *fork* makes one, which is told who it is by *identity*,
    and where relative paths begin by *working_dir*.
    """

    def __init__(
        self, worker: Worker, *, fork: Fork, identity: Message, working_dir: Callable[[], str]
    ) -> None:
        self._worker = worker
        self._fork = fork
        self._identity = identity
        self._working_dir = working_dir
        self._running: set[FileWorker] = set()

    async def start(self, message: Message, fds: Sequence[int] = ()) -> FileWorker:
        """Start one on what *message* says, with *fds*, which stay the caller's."""
        self._worker.check()
        one = await self._forked()
        try:
            self._worker.check()  # its end may have come meanwhile
            place = {"pid1": self._worker.pid1, "working_dir": self._working_dir()}
            one.tell({**self._identity, **place, **message}, [self._worker.first, *fds])
        except BaseException:
            await one.close()
            raise
        return one

    async def finish(self, message: Message) -> None:
        """Have one do what *message* says, to its end."""
        one = await self.start(message)
        try:
            await one.word()
        finally:
            await one.close(patience=_END_SECONDS)

    async def _forked(self) -> FileWorker:
        try:
            sock, pidfd = await self._fork()
        except OSError as error:
            raise NoCapacityError(f"no process for files: {error.strerror}") from error
        one = FileWorker(self._worker, sock, pidfd)
        self._running.add(one)
        one.ended.add_done_callback(lambda _: self._running.discard(one))
        return one

    def kill(self) -> None:
        """Kill all of them: the sandbox has ended."""
        for one in self._running:
            one.kill()

    async def aclose(self) -> None:
        """Kill all of them, and wait until they are gone."""
        await asyncio.gather(*(one.close() for one in list(self._running)))
