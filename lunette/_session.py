"""One command in a sandbox, shown and fed as if it ran in the user's own terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ._terminal import Inlet, Outlet, Terminal

if TYPE_CHECKING:
    from .process import Process
    from .sandbox import AsyncSandbox

__all__ = [
    "OUR_FAULT",
    "PATIENCE",
    "STDIN",
    "Manner",
    "attach",
    "complain",
    "finish",
    "show",
    "tell_lost",
]

OUR_FAULT = 125  # as `docker run`: what failed was not the command
_TIMED_OUT = 124  # as `timeout`
PATIENCE = 30.0  # seconds without a server until the session is lost
_ATTEMPTS = 1000  # more than it has time for
_REMEDY_SECONDS = 1.0
_BY_SIGNAL = 128
_KILLED = _BY_SIGNAL + signal.SIGKILL
STDIN, _STDOUT, _STDERR = range(3)
_DESCRIPTORS = {"stdout": _STDOUT, "stderr": _STDERR}


class Manner(TypedDict, total=False):
    """How a command is run; *timeout* is in seconds."""

    interactive: bool
    tty: bool
    name: str | None
    cwd: str | None
    timeout: float | None


class _Told(Exception):
    """What went wrong was said already."""


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
        return _BY_SIGNAL + signal.SIGINT
    except asyncio.CancelledError:
        return _BY_SIGNAL + ended_by[0]
    except BrokenPipeError:  # nobody reads what is written
        _give_up_stdout()
        return _BY_SIGNAL + signal.SIGPIPE
    except (LunetteError, httpx.HTTPError, OSError, ValueError, TypeError, EOFError) as error:
        complain(_sentence(error))
    except _Told:
        pass
    return fault


async def _until_ended(work: Callable[[], Coroutine[Any, Any, int]], ended_by: list[int]) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end(number: int) -> None:
        # Of a window that is closed they come from more than one side: the clean-up goes on.
        if not ended_by:
            task.cancel()
        ended_by.append(number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # which is what `nohup` is for
            loop.add_signal_handler(number, end, number)
    return await work()


def _give_up_stdout() -> None:
    """Let what Python still holds back for it, and writes at the end, come to nothing."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, _STDOUT)
    os.close(nothing)


def _sentence(error: Exception) -> str:
    import httpx

    from .errors import SandboxDestroyedError, TransportError

    # Those of connecting say so themselves, and where to.
    spoken = SandboxDestroyedError | httpx.ConnectError | httpx.ConnectTimeout
    if isinstance(error, TransportError) and not isinstance(error, spoken):
        return f"no connection to the server: {error}"
    return str(error)


def complain(what: str) -> None:
    """Say what is wrong, if anybody is left to read it."""
    with suppress(OSError):
        print(f"lunette: {what}", file=sys.stderr, flush=True)


def tell_lost(size: int) -> None:
    """Say how many bytes were not shown, if any."""
    if size:
        complain(f"{size} bytes of output were left out")


async def attach(sandbox: AsyncSandbox, command: str | list[str], **how: Unpack[Manner]) -> int:
    """Run *command* to its end and return its exit code.

    What it writes is shown as it comes; *interactive* feeds it this process's standard input, and
    with *tty* it has a terminal of the size of the user's.
    """
    from .errors import NotSupportedError
    from .process import PIPE

    interactive, tty = how.get("interactive", False), how.get("tty", False)
    cwd, timeout = how.get("cwd"), how.get("timeout")
    terminal = Terminal(STDIN) if tty else None
    size = terminal.size() if terminal else None
    try:
        process = await sandbox.astart(
            command,
            cwd=cwd,
            input=PIPE if interactive else None,
            tty=size,
            timeout=timeout,
            name=how.get("name"),
        )
    except NotSupportedError:
        if interactive or tty:
            raise
        return await _run_unseen(sandbox, command, cwd, timeout)
    async with process, _patient(process) as followed:
        side = [_resize(followed, terminal, size)] if terminal and size else []
        if interactive:
            side.append(_feed(followed, terminal))
        async with _taken_over(terminal if interactive else None), _beside(*side):
            await show(followed, terminal=terminal)
        tell_lost(followed.gaps)
        code = await _exit_code(followed, timed=timeout is not None)
        process.detach()  # nothing is left to kill
        return code


async def _exit_code(process: Process, *, timed: bool) -> int:
    """Return the exit code of a *process* that has ended; *timed*, it may be that of `timeout`."""
    from .errors import ExecTimeoutError

    code = await process.apoll()
    if timed and code == _KILLED:
        try:
            await process.aresult()
        except ExecTimeoutError:
            return _TIMED_OUT
    return OUR_FAULT if code is None else code


@asynccontextmanager
async def _patient(process: Process) -> AsyncGenerator[Process]:
    """Find *process* once more, by a client that waits for a network to come back.

    Starting and ending it has a user who waits for nothing else.
    """
    from . import LunetteClient, LunetteError, RetryPolicy, Sandbox

    policy = RetryPolicy(attempts=_ATTEMPTS, deadline=PATIENCE, longest_delay=1.0)
    try:
        async with LunetteClient(retry=policy) as client:
            yield await Sandbox(client, process.sandbox_id).aprocess(process.id)
    except LunetteError as error:
        # Before the clean-up, which may take as long as a server that does not answer.
        complain(_sentence(error))
        raise _Told from error


async def _run_unseen(
    sandbox: AsyncSandbox,
    command: str | list[str],
    cwd: str | None,
    timeout: float | None,  # noqa: ASYNC109 - the server keeps it
) -> int:
    """Run *command* where nothing can be shown before its end."""
    result = await sandbox.aexec(command, cwd=cwd, timeout=timeout)
    outlet = Outlet()
    await outlet.write(_STDOUT, result.stdout_bytes)
    await outlet.write(_STDERR, result.stderr_bytes)
    tell_lost(result.truncated)
    return result.exit_code


async def show(process: Process, *, follow: bool = True, terminal: Terminal | None = None) -> None:
    """Write what *process* writes to the standard streams, until its end or, else, for now."""
    outlet = Outlet()
    async with aclosing(process.achunks(follow=follow)) as chunks:
        async for stream, data in chunks:
            if terminal:
                terminal.note(data)
            await outlet.write(_DESCRIPTORS[stream], data)


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
    # It may read no more, and go on.
    with closing(Inlet(STDIN)) as inlet, suppress(BrokenPipeError):
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
