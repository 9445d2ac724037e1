"""One command in one sandbox, as the server sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

from lunette.server.engines.bubblewrap._channel import set_done
from lunette.server.engines.bubblewrap._pipes import InputPipe, OutputPipe
from lunette.server.engines.protocol import Exit, SandboxGoneError, Status

__all__ = ["BubblewrapProcess"]

_LOUD = 32 * 1024  # bytes at once


class BubblewrapProcess:
    """See `Process` in the engine protocol."""

    def __init__(
        self,
        *,
        pid: int,
        stdout: OutputPipe,
        stderr: OutputPipe,
        stdin: InputPipe | None,
        kill: Callable[[], Awaitable[None]],
        discard: Callable[[OutputPipe], None],
    ) -> None:
        self.pid = pid
        self._pipes: tuple[tuple[Literal[1, 2], OutputPipe], ...] = ((1, stdout), (2, stderr))
        self._stdin = stdin
        self._kill = kill
        self._discard = discard
        loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = loop.create_future()
        self._exit.add_done_callback(lambda f: f.cancelled() or f.exception())  # nobody has to wait
        self._loop = loop

    async def output(self) -> AsyncIterator[tuple[Literal[1, 2], bytes]]:
        for _, pipe in self._pipes:
            pipe.unwatch()
        try:
            while True:
                took = 0
                for stream, pipe in self._pipes:
                    if chunk := pipe.take():
                        took += len(chunk)
                        yield stream, chunk
                if self._over:
                    return
                if not took:
                    await self._wait_for_more()
                elif took > _LOUD:
                    await asyncio.sleep(0)  # others want the loop too
        finally:
            for _, pipe in self._pipes:
                self._discard(pipe)

    @property
    def _over(self) -> bool:
        return self._exit.done() and all(pipe.ended for _, pipe in self._pipes)

    async def _wait_for_more(self) -> None:
        """Wait until a pipe has something, or the command has ended."""
        more: asyncio.Future[None] = self._loop.create_future()

        def wake(*_: object) -> None:
            set_done(more)

        for _, pipe in self._pipes:
            pipe.watch(wake)
        self._exit.add_done_callback(wake)
        try:
            await more
        finally:
            self._exit.remove_done_callback(wake)
            for _, pipe in self._pipes:
                pipe.unwatch()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def kill(self) -> None:
        if self._exit.done():
            return
        await self._kill()
        await asyncio.wait([self._exit])

    def ended(self, code: int) -> None:
        """The worker says that the command is over; *code* is negative for a signal, as Python has
        it.
        """
        self._close_input()
        for _, pipe in self._pipes:
            pipe.finish()
        if not self._exit.done():
            self._exit.set_result(
                Exit(code=code) if code >= 0 else Exit(code=128 - code, signal=-code)
            )

    def lost(self, status: Status) -> None:
        """The sandbox is gone, and the command with it."""
        self._close_input()
        for _, pipe in self._pipes:
            pipe.close()
        if not self._exit.done():
            self._exit.set_exception(SandboxGoneError(status))

    def _close_input(self) -> None:
        """What a command did not read is nobody's, though a child may still hold the other end."""
        if self._stdin is not None:
            self._stdin.close()
