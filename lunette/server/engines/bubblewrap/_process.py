"""One command in one sandbox, as the server sees it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Literal

from lunette.server.engines.bubblewrap._channel import set_done
from lunette.server.engines.bubblewrap._pipes import Input, Output, broken_pipe
from lunette.server.engines.bubblewrap._terminal import Terminal
from lunette.server.engines.protocol import (
    Exit,
    NotSupportedError,
    SandboxGoneError,
    Status,
    TerminalSize,
)

__all__ = ["BubblewrapProcess"]

_LOUD, _MANY = 32 * 1024, 8  # bytes at once, or times in a row


class BubblewrapProcess:
    """See `Process` in the engine protocol; *send* signals the command and all that it started."""

    def __init__(
        self,
        *,
        pid: int,
        outputs: Sequence[tuple[Literal[1, 2], Output]],
        stdin: Input | None,
        terminal: Terminal | None = None,
        kill: Callable[[], Awaitable[None]],
        send: Callable[[int], Awaitable[None]],
        discard: Callable[[Output], None],
    ) -> None:
        self.pid = pid
        self.is_killed = False  # by us
        self.deaths_before = 0
        self._outputs = outputs
        self._stdin = stdin
        self._terminal = terminal
        self._kill = kill
        self._send = send
        self._discard = discard
        loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = loop.create_future()
        self._exit.add_done_callback(lambda f: f.cancelled() or f.exception())  # nobody has to wait
        self._loop = loop

    async def output(self) -> AsyncIterator[tuple[Literal[1, 2], bytes]]:
        for _, output in self._outputs:
            output.unwatch()
        try:
            times = 0
            while True:
                took = 0
                for stream, output in self._outputs:
                    if chunk := output.take():
                        took += len(chunk)
                        yield stream, chunk
                if self._over:
                    return
                times += 1
                if not took:
                    await self._wait_for_more()
                elif took > _LOUD or times > _MANY:
                    await asyncio.sleep(0)  # others want the loop too
                    times = 0
        finally:
            for _, output in self._outputs:
                self._discard(output)

    @property
    def _over(self) -> bool:
        return self._exit.done() and all(output.ended for _, output in self._outputs)

    async def _wait_for_more(self) -> None:
        """Wait until an output has something, or the command has ended."""
        more: asyncio.Future[None] = self._loop.create_future()

        def wake(*_: object) -> None:
            set_done(more)

        for _, output in self._outputs:
            output.watch(wake)
        if not self._exit.done():
            self._exit.add_done_callback(wake)
        try:
            await more
        finally:
            self._exit.remove_done_callback(wake)
            for _, output in self._outputs:
                output.unwatch()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def kill(self) -> None:
        if self._exit.done():
            return
        self.is_killed = True
        await self._kill()
        await asyncio.wait([self._exit])

    async def write(self, data: bytes) -> int:
        if self._stdin is None:
            raise broken_pipe()
        return await self._stdin.write(data)

    async def drained(self) -> None:
        if self._stdin is not None:
            await self._stdin.drained()

    async def close_input(self) -> None:
        if self._stdin is not None:
            await self._stdin.end()

    async def signal(self, number: int) -> None:
        if self._exit.done():
            return
        if number == signal.SIGKILL:
            await self.kill()
        else:
            await self._send(number)

    async def resize(self, size: TerminalSize) -> None:
        if self._terminal is None:
            raise NotSupportedError("tty", "the process was started without a terminal")
        self._terminal.resize(size)

    def ended(self, code: int, *, out_of_memory: bool = False) -> None:
        """The worker says that the command is over; *code* is negative for a signal, as Python has
        it.
        """
        self._close_input()
        for _, output in self._outputs:
            output.finish()
        if not self._exit.done():
            shown, signal = (code, None) if code >= 0 else (128 - code, -code)
            self._exit.set_result(Exit(code=shown, signal=signal, out_of_memory=out_of_memory))

    def lost(self, status: Status) -> None:
        """The sandbox is gone, and the command with it."""
        self._close_input()
        for _, output in self._outputs:
            output.close()
        if not self._exit.done():
            self._exit.set_exception(SandboxGoneError(status))

    def _close_input(self) -> None:
        """What a command did not read is nobody's, though a child may still hold the other end."""
        if self._stdin is not None:
            self._stdin.close()
