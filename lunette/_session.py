"""One command in a sandbox, shown and fed as if it ran in the user's own terminal."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from ._terminal import Inlet, Outlet, Terminal

if TYPE_CHECKING:
    from .process import Process
    from .sandbox import AsyncSandbox

__all__ = ["OUR_FAULT", "PATIENCE", "STDIN", "attach", "complain", "finish", "show"]

OUR_FAULT = 125  # as `docker run`: what failed was not the command
_KILLED = 128  # and the signal
_ENDING = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))  # Windows has one
_SIGPIPE = 13
PATIENCE = 30.0  # seconds without a server until the session is lost
_ATTEMPTS = 1000  # more than it has time for
_REMEDY_SECONDS = 1.0
STDIN, _STDOUT, _STDERR = range(3)
_DESCRIPTORS = {"stdout": _STDOUT, "stderr": _STDERR}


def finish(work: Callable[[], Coroutine[Any, Any, int]], *, fault: int = OUR_FAULT) -> int:
    """Do *work* and return its exit code; what goes wrong is said in a sentence, and *fault*.

    Ctrl-C and the signals that end programs cancel it, so that it cleans up.
    """
    import httpx

    from .errors import LunetteError

    ended_by: list[int] = []
    try:
        return asyncio.run(_until_ended(work, ended_by))
    except KeyboardInterrupt:
        return _KILLED + signal.SIGINT
    except asyncio.CancelledError:
        return _KILLED + ended_by[0]
    except BrokenPipeError:  # nobody reads what is written
        return _KILLED + _SIGPIPE
    except (LunetteError, httpx.HTTPError, OSError, ValueError, TypeError, EOFError) as error:
        complain(error)
        return fault


def complain(what: object) -> None:
    """Say what is wrong, if anybody is left to read it."""
    with suppress(OSError):
        print(f"lunette: {what}", file=sys.stderr)


async def _until_ended(work: Callable[[], Coroutine[Any, Any, int]], ended_by: list[int]) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end(number: int) -> None:
        ended_by.append(number)
        task.cancel()

    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # which is what `nohup` is for
            with suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, end, number)
    return await work()


async def attach(
    sandbox: AsyncSandbox,
    command: str | list[str],
    *,
    interactive: bool,
    tty: bool,
    name: str | None = None,
) -> int:
    """Run *command* to its end and return its exit code.

    What it writes is shown as it comes; *interactive* feeds it this process's standard input, and
    with *tty* it has a terminal of the size of the user's.
    """
    from .errors import NotSupportedError
    from .process import PIPE

    terminal = Terminal(STDIN) if tty else None
    size = terminal.size() if terminal else None
    try:
        process = await sandbox.astart(
            command, tty=size, input=PIPE if interactive else None, name=name
        )
    except NotSupportedError:
        if interactive or tty:
            raise
        return await _run_unseen(sandbox, command)
    async with process, _patient(process) as followed:
        side = [_resize(followed, terminal, size)] if terminal and size else []
        if interactive:
            side.append(_feed(followed, terminal))
        async with _taken_over(terminal if interactive else None), _beside(*side):
            await show(followed, terminal=terminal)
        code = await followed.apoll()
        return OUR_FAULT if code is None else code


@asynccontextmanager
async def _patient(process: Process) -> AsyncGenerator[Process]:
    """Find *process* once more, by a client that waits for a network to come back.

    What starts and ends it has a user who waits for nothing else.
    """
    from . import LunetteClient, RetryPolicy, Sandbox

    policy = RetryPolicy(attempts=_ATTEMPTS, deadline=PATIENCE, longest_delay=1.0)
    async with LunetteClient(retry=policy) as client:
        yield await Sandbox(client, process.sandbox_id).aprocess(process.id)


async def _run_unseen(sandbox: AsyncSandbox, command: str | list[str]) -> int:
    """Run *command* where nothing can be shown before its end."""
    result = await sandbox.aexec(command)
    outlet = Outlet()
    await outlet.write(_STDOUT, result.stdout_bytes)
    await outlet.write(_STDERR, result.stderr_bytes)
    if result.truncated:
        complain(f"{result.truncated} bytes of output were left out")
    return result.exit_code


async def show(process: Process, *, follow: bool = True, terminal: Terminal | None = None) -> None:
    """Write what *process* writes to the standard streams, until its end or, else, for now."""
    outlet = Outlet()
    async for stream, data in process.achunks(follow=follow):
        if terminal:
            terminal.note(data)
        await outlet.write(_DESCRIPTORS[stream], data)
    if process.gaps:
        complain(f"{process.gaps} bytes of output were left out")


@asynccontextmanager
async def _taken_over(terminal: Terminal | None) -> AsyncGenerator[None]:
    """Let the *terminal*, if there is one, be that of a command until the block ends."""
    if terminal is None:
        yield
        return
    with terminal.raw():
        try:
            yield
        except BaseException:
            with suppress(OSError):  # it was closed, or it is stopped: TimeoutError is one too
                await asyncio.wait_for(Outlet().write(_STDOUT, terminal.remedy()), _REMEDY_SECONDS)
            raise


async def _feed(process: Process, terminal: Terminal | None) -> None:
    inlet = Inlet(STDIN)
    with suppress(BrokenPipeError):  # it reads no more, and may go on
        while data := await inlet.read():
            await process.awrite(data)
        if terminal:  # where ^D is a key as any other
            raise EOFError("the terminal was closed")
        await process.aclose_input()


async def _resize(process: Process, terminal: Terminal, size: tuple[int, int]) -> None:
    async for rows, columns in terminal.resizes(size):
        await process.aresize(rows, columns)


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Do *work* beside the block and no longer; what fails first ends both."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
