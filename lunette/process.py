"""A process of a sandbox that lives on by itself: what it writes, what it reads, and its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing
from signal import Signals
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from ._loops import current_loop, in_trio
from ._operations import _input, _output, processes
from ._operations._output import Chunk, StreamName
from ._operations.processes import PIPE, Pipe
from .errors import LunetteError

if TYPE_CHECKING:
    import anyio

    from ._connector import Link
    from ._operations.processes import Started
    from .results import ExecResult

__all__ = ["PIPE", "Chunk", "Pipe", "Process", "StreamName"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Process:
    """A command that was started, and goes on whether anybody follows it or not.

    Made by `sandbox.start`, or found by `sandbox.process`. `for stream, data in process` (or
    `async for`) gives what it writes as it comes, `"stdout"` or `"stderr"` and bytes, until it
    ends; a second time it goes on where the first stopped, and a lost connection is not noticed.
    *offset* is how many bytes were given out so far, *gaps* how many the server had dropped.

    Leaving a loop early ends nothing; a `with` around the process kills it at the end, unless it
    was detached. The server keeps 64 MiB of what it writes. When that is full, who follows and does
    not read holds the process up; so does who left a loop, for up to 30 seconds, and after that the
    middle goes. While somebody waits for `result` they hold it up for no more than 10 seconds.
    """

    id: str
    sandbox_id: str
    name: str | None

    def __init__(self, link: Link, started: Started) -> None:
        self.id = started.process_id
        self.sandbox_id = link.sandbox_id
        self.name = started.name
        self._link = link
        self._started = started
        self._detached = False
        self._entered = False
        self._held: AsyncGenerator[object] | None = None
        self._turn = threading.Lock()
        self._turns: tuple[object, anyio.Lock] | None = None

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Process(id={self.id}{name}, sandbox_id={self.sandbox_id})"

    @property
    def offset(self) -> int:
        """How many bytes of its output, both streams together, were given out or dropped."""
        return self._started.output.offset

    @property
    def gaps(self) -> int:
        """How many bytes of its output the server had dropped before they were read."""
        return self._started.output.gaps

    def chunks(self, *, follow: bool = True) -> Generator[Chunk]:
        """Iterate over what it writes, as the process itself is iterated.

        Each item is `"stdout"` or `"stderr"`, and bytes. Without *follow* it ends with what there
        is now.
        """
        return self._link.iterate(_output.follow, self._started.output, follow=follow)

    def achunks(self, *, follow: bool = True) -> AsyncGenerator[Chunk]:
        """Iterate over what it writes, as the process itself is iterated.

        Each item is `"stdout"` or `"stderr"`, and bytes. Without *follow* it ends with what there
        is now.
        """
        return self._hold(self._link.aiterate(_output.follow, self._started.output, follow=follow))

    def lines(self, stream: StreamName | None = None, *, follow: bool = True) -> Generator[str]:
        """Iterate over its lines as text, without their ends, in the order in which they end.

        They are those of both streams, or of one *stream*, and what the other writes meanwhile is
        passed over. Bytes that are not UTF-8 become U+FFFD. Without *follow* it ends with the
        whole lines that there are now.
        """
        _output.check_stream(stream)
        return self._link.iterate(_output.lines, self._started.output, stream, follow=follow)

    def alines(
        self, stream: StreamName | None = None, *, follow: bool = True
    ) -> AsyncGenerator[str]:
        """Iterate over its lines as text, without their ends, in the order in which they end.

        They are those of both streams, or of one *stream*, and what the other writes meanwhile is
        passed over. Bytes that are not UTF-8 become U+FFFD. Without *follow* it ends with the
        whole lines that there are now.
        """
        _output.check_stream(stream)
        return self._hold(
            self._link.aiterate(_output.lines, self._started.output, stream, follow=follow)
        )

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks()

    def __aiter__(self) -> AsyncGenerator[Chunk]:
        return self.achunks()

    def result(self, *, timeout: float | None = None, check: bool = False) -> ExecResult:
        """Wait for its end and say what it did, as `exec` does.

        After *timeout* seconds of waiting this is a `ProcessRunningError`, and the process goes on;
        where its own timeout has killed it, `ExecTimeoutError` has the output so far. With *check*
        a failure is an `ExecFailedError`. Nobody needs to read meanwhile: a full log holds the
        process up for no more than 10 seconds.
        """
        return self._link.run(processes.result, self._started, timeout=timeout, check=check)

    async def aresult(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the waiting ends, not the process
        check: bool = False,
    ) -> ExecResult:
        """Wait for its end and say what it did, as `exec` does.

        After *timeout* seconds of waiting this is a `ProcessRunningError`, and the process goes on;
        where its own timeout has killed it, `ExecTimeoutError` has the output so far. With *check*
        a failure is an `ExecFailedError`. Nobody needs to read meanwhile: a full log holds the
        process up for no more than 10 seconds.
        """
        return await self._link.arun(processes.result, self._started, timeout=timeout, check=check)

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        return self._link.run(processes.poll, self._started)

    async def apoll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        return await self._link.arun(processes.poll, self._started)

    def write(self, data: str | bytes) -> None:
        """Write to its standard input, and return when it has taken all; text goes as UTF-8.

        Of a process that was started with `input=PIPE` or a terminal; where nobody reads any more
        it is a `ProcessInputClosedError`, which is a `BrokenPipeError`.
        """
        with self._turn:
            self._link.run(_input.write, self._started.input, data)

    async def awrite(self, data: str | bytes) -> None:
        """Write to its standard input, and return when it has taken all; text goes as UTF-8.

        Of a process that was started with `input=PIPE` or a terminal; where nobody reads any more
        it is a `ProcessInputClosedError`, which is a `BrokenPipeError`.
        """
        async with self._aturn():
            await self._link.arun(_input.write, self._started.input, data)

    def close_input(self) -> None:
        """Close its standard input, so that it reads an end of file; once more is no error.

        On a terminal ^D is typed, which a program that has not yet begun to read may lose.
        """
        with self._turn:
            self._link.run(_input.close_input, self._started.input)

    async def aclose_input(self) -> None:
        """Close its standard input, so that it reads an end of file; once more is no error.

        On a terminal ^D is typed, which a program that has not yet begun to read may lose.
        """
        async with self._aturn():
            await self._link.arun(_input.close_input, self._started.input)

    def signal(self, signal: int | str | Signals) -> None:
        """Send a signal to it and all that it started, such as `"SIGINT"` or a number of Linux."""
        self._link.run(processes.send_signal, self._started, signal)

    async def asignal(self, signal: int | str | Signals) -> None:
        """Send a signal to it and all that it started, such as `"SIGINT"` or a number of Linux."""
        await self._link.arun(processes.send_signal, self._started, signal)

    def terminate(self) -> None:
        """Ask it and all that it started to end, by SIGTERM."""
        self._link.run(processes.send_signal, self._started, "SIGTERM")

    async def aterminate(self) -> None:
        """Ask it and all that it started to end, by SIGTERM."""
        await self._link.arun(processes.send_signal, self._started, "SIGTERM")

    def kill(self) -> None:
        """Kill it and all that it started; one that has ended is no error."""
        self._link.run(processes.kill, self._started)

    async def akill(self) -> None:
        """Kill it and all that it started; one that has ended is no error."""
        await self._link.arun(processes.kill, self._started)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal, of which SIGWINCH tells what runs in it."""
        self._link.run(processes.resize, self._started, rows, columns)

    async def aresize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal, of which SIGWINCH tells what runs in it."""
        await self._link.arun(processes.resize, self._started, rows, columns)

    def detach(self) -> None:
        """Let it live on after the `with` around it."""
        self._detached = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lives_on():
            return
        try:
            self.kill()
        except LunetteError as failure:
            self._keep(error, failure)

    async def __aenter__(self) -> Self:
        self._entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        held, self._held, self._entered = self._held, None, False
        try:
            if held is not None:
                await held.aclose()
        finally:
            await self._end(error)

    async def _end(self, error: BaseException | None) -> None:
        if self._lives_on():
            return
        try:
            await self.akill()
        except LunetteError as failure:
            self._keep(error, failure)

    def _lives_on(self) -> bool:
        return self._detached or self._link.destroyed or self._started.exit_code is not None

    def _keep(self, error: BaseException | None, failure: LunetteError) -> None:
        """Raise the *failure* to kill, unless it would hide the *error* that led here."""
        if error is None:
            raise failure
        logger.warning("[%s] process %s may still run: %s", self.sandbox_id, self.id, failure)

    def _hold(self, iteration: AsyncGenerator[T]) -> AsyncGenerator[T]:
        # asyncio closes what a loop left by itself. trio warns of it: within an `async with` it is
        # kept there, until the next loop or the end.
        if not self._entered or not in_trio():
            return iteration
        held = _after(self._held, iteration)
        self._held = held
        return held

    def _aturn(self) -> anyio.Lock:
        """Return what one task of this event loop can hold: the turn to write."""
        import anyio

        loop = current_loop()
        if self._turns is None or self._turns[0] is not loop:
            self._turns = loop, anyio.Lock()
        return self._turns[1]


async def _after(last: AsyncGenerator[object] | None, then: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """Close the *last* iteration, and *then* begin the next."""
    if last is not None:
        await last.aclose()
    async with aclosing(then) as items:
        async for item in items:
            yield item
