"""The worker of a sandbox, as the server sees it: who does everything inside, and knows when there
is no inside any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from lunette.server.engines.bubblewrap._channel import Channel, DeadChannelError, set_done
from lunette.server.engines.bubblewrap._limits import Deaths
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import SandboxGoneError, State, Status

__all__ = ["ANSWER_SECONDS", "Worker"]

ANSWER_SECONDS = 10.0
_WORKER_SECONDS = 5.0


class Worker:
    """The process at the other end of *channel*, whose first word was *hello*, with the pidfds of
    the sandbox's first process and of itself.

    *ended* is told once, when the sandbox stops being `running`; *deaths* knows whom the machine
    ended.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        hello: Message,
        fds: list[int],
        deaths: Deaths,
        ended: Callable[[Status], None],
    ) -> None:
        self.status = Status(state=State.RUNNING)
        self.gone = asyncio.Event()
        self.pid1: int = hello["pid1"]
        self.pid: int = hello["worker"]
        self._channel = channel
        self._pid1_fd, self._fd = fds
        self._deaths = deaths
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pid1_fd, self._vanished)
        channel.late = self._late
        channel.closed.add_done_callback(lambda _: self._vanished())

    def hear(self, unasked: Callable[[Message], None]) -> None:
        """Tell *unasked* what nobody waits for."""
        self._channel.unasked = unasked

    async def ask(
        self,
        message: Message,
        fds: list[int] | None = None,
        *,
        deadline: float = ANSWER_SECONDS,
        room: bool = False,
    ) -> tuple[Message, list[int]]:
        """Return the answer to *message*; raise SandboxGoneError if there is nobody to give it.

        With *room*, see `Channel.ask`.
        """
        self.check()
        try:
            return await self._channel.ask(message, fds or (), deadline=deadline, room=room)
        except DeadChannelError:
            await self.gone.wait()
        raise SandboxGoneError(self.status)

    def check(self) -> None:
        """Raise SandboxGoneError if the sandbox has ended."""
        if self.status.state is not State.RUNNING:
            raise SandboxGoneError(self.status)

    @property
    def first(self) -> int:
        """The pidfd of the sandbox's first process, which stays the worker's."""
        return self._pid1_fd

    def signal_first(self, number: signal.Signals) -> None:
        """Signal the sandbox's first process."""
        _signal_pidfd(self._pid1_fd, number)

    def _late(self) -> None:
        # A process that is stopped between vfork and exec stops the worker too. Nothing but an
        # attack does that, and waiting would not end it.
        self.fail("the sandbox stopped answering")
        self._kill()  # pid 1 ends after all inside, and who has to reap those does not

    def fail(self, reason: str) -> None:
        """End the sandbox, since it broke or does what it may not."""
        self.end(Status(state=State.FAILED, reason=reason))

    def _vanished(self) -> None:
        if self.status.state is State.RUNNING and self._deaths.just_now:
            reason = "it used all of its memory, and could not go on"
            self.end(Status(state=State.FAILED, reason=reason, out_of_memory=True))
        self.end(Status(state=State.LOST, reason="the sandbox's first process was killed"))

    def end(self, status: Status) -> None:
        """Stop taking commands; the first reason is the one that counts."""
        if self.status.state is not State.RUNNING:
            return
        self.status = status
        self._loop.remove_reader(self._pid1_fd)
        self.signal_first(signal.SIGKILL)
        self.gone.set()
        self._ended(status)

    def _kill(self) -> None:
        _signal_pidfd(self._fd, signal.SIGKILL)

    async def aclose(self) -> None:
        """Wait until no process of the sandbox is left; raise TimeoutError if one stays."""
        if self._pid1_fd < 0:
            return
        if not await _wait_for_end(self._pid1_fd, deadline=_WORKER_SECONDS):
            self._kill()  # as in `_late`
        if not await _wait_for_end(self._pid1_fd, deadline=ANSWER_SECONDS):
            raise TimeoutError("the sandbox does not end; its files are left to the next try")
        # The worker goes by itself when it has reaped bwrap, which would else be a zombie of
        # somebody else's.
        if not await _wait_for_end(self._fd, deadline=_WORKER_SECONDS):
            self._kill()
        self._channel.close()
        os.close(self._pid1_fd)
        os.close(self._fd)
        self._pid1_fd = self._fd = -1


def _signal_pidfd(fd: int, number: signal.Signals) -> None:
    """Signal who is behind *fd*; -1 for one that was given back."""
    if fd >= 0:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)


async def _wait_for_end(pidfd: int, *, deadline: float) -> bool:
    """Return whether the process behind *pidfd* ends within *deadline* seconds."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, lambda: set_done(ended))
    try:
        async with asyncio.timeout(deadline):
            await ended
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True
