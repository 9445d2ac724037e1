"""Start processes in a sandbox, find them, write to them and end them."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import math
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from signal import Signals
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import define, field

from .. import errors
from .._io import IO
from .._retry import may_have_acted
from ..config import checked_seconds
from . import abandon, parsed, published, seconds_to_wait
from ._command import at_most, command_fields, text, whole
from ._input import Input
from ._outcome import judged, log_failure, look, result_of
from ._output import Output
from .server import is_published

if TYPE_CHECKING:
    from lunette_api.models import Process

    from ..results import ExecResult, ProcessInfo

__all__ = [
    "PIPE",
    "Pipe",
    "Started",
    "begin",
    "find",
    "kill",
    "list_all",
    "poll",
    "resize",
    "result",
    "send_signal",
    "start",
]

logger = logging.getLogger(__name__)

_LARGEST_INPUT = 32 * 1024 * 1024
_LONGEST_NAME = 256
_LARGEST_SIDE = 65_535
_LAST_SIGNAL = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ROWS, _COLUMNS = 24, 80


class Pipe(Enum):
    """What stands for a standard input that is written while the process runs."""

    PIPE = "PIPE"

    def __repr__(self) -> str:
        return self.value


PIPE: Final = Pipe.PIPE


@define(eq=False)
class Started:
    """What this client knows of one process."""

    sandbox_id: str
    process_id: str
    command: str | Sequence[str]
    name: str | None = None
    timeout: float | None = None
    result: ExecResult | None = None
    input: Input = field(init=False)
    output: Output = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.input = Input(self.sandbox_id, self.process_id)
        self.output = Output(self.sandbox_id, self.process_id)

    @property
    def exit_code(self) -> int | None:
        """The exit code, if it is known that the process has ended."""
        return self.output.exit_code if self.result is None else self.result.exit_code


async def start(
    io: IO,
    sandbox_id: str,
    command: str | Sequence[str],
    *,
    cwd: str | None,
    env: Mapping[str, str] | None,
    user: str | None,
    input: str | bytes | Pipe | None,
    tty: bool | tuple[int, int] | None,
    timeout: float | None,  # noqa: ASYNC109 - the server keeps it, and kills the process
    name: str | None,
) -> Started:
    """Start a command that lives on by itself."""
    given = None if isinstance(input, Pipe) else input
    fields = command_fields(command, cwd=cwd, env=env, user=user, timeout=timeout, input=given)
    written = _checked_size(given)
    if isinstance(input, Pipe):
        fields["interactive"] = True
    if tty is not None and tty is not False:
        fields["tty"] = _size(*((_ROWS, _COLUMNS) if tty is True else _pair(tty)))
    if name is not None:
        fields["name"] = _name(name)
    logger.debug("[%s] start: %s", sandbox_id, command)
    if await is_published(io):
        raise published.refuse("start", "exec runs a command to its end")
    started = await begin(io, sandbox_id, fields)
    started.input.taken = written
    return started


async def begin(io: IO, sandbox_id: str, fields: Mapping[str, Any]) -> Started:
    """Start a process; where it is not known whether that came about, it is killed."""
    from lunette_api.api.commands import kill_process, start_process
    from lunette_api.models import Process, StartRequest

    # The id is the client's, so that a process whose answer never came can be killed by it.
    of = sandbox_id, os.urandom(16).hex()
    body = StartRequest.from_dict(fields)
    try:
        response = await io.send(start_process._get_kwargs(*of, body=body))
        parsed(response, Process.from_dict)
    except BaseException as error:
        if may_have_acted(error):
            await abandon(io, kill_process._get_kwargs(*of))
        raise
    return Started(*of, fields["command"], name=fields.get("name"), timeout=fields.get("timeout"))


async def list_all(io: IO, sandbox_id: str) -> list[ProcessInfo]:
    """Look at the commands and processes of a sandbox."""
    from lunette_api.api.commands import list_processes
    from lunette_api.models import ProcessList

    if await is_published(io):
        raise published.refuse("processes")
    response = await io.send(list_processes._get_kwargs(sandbox_id))
    return [_info(process) for process in parsed(response, ProcessList.from_dict).processes]


async def find(io: IO, sandbox_id: str, process_id: str) -> Started:
    """Find a process by its id."""
    process_id = text(process_id, "process_id")
    if await is_published(io):
        raise published.refuse("process")
    started = Started(sandbox_id, process_id, "")
    wire = await _look(io, started)
    started.command = wire.command or ""
    started.name = wire.name or None
    started.input.taken = wire.input_offset or 0
    return started


async def poll(io: IO, started: Started) -> int | None:
    """Return the exit code of a process, or None while it runs."""
    if started.exit_code is None:
        await _look(io, started)
    return started.exit_code


async def _look(io: IO, started: Started, wait: float | None = None) -> Process:
    """Look at a process, and keep its outcome if it has ended."""
    process, found = await look(io, started.sandbox_id, started.process_id, wait)
    if found is not None:
        started.result = result_of(found)
        log_failure(started.sandbox_id, started.command or process.command, started.result)
    return process


async def result(
    io: IO,
    started: Started,
    *,
    timeout: float | None,  # noqa: ASYNC109 - of the waiting alone
    check: bool,
) -> ExecResult:
    """Wait for the end of a process."""
    until = math.inf if timeout is None else time.monotonic() + _patience(timeout)
    while started.result is None:
        left = max(0.0, until - time.monotonic())
        await _look(io, started, round(min(seconds_to_wait(io), left), 3))
        if started.result is None and time.monotonic() >= until:
            raise errors.ProcessRunningError(started.process_id, timeout or 0.0)
    return judged(started.command, started.timeout, started.result, check=check)


async def kill(io: IO, started: Started) -> None:
    """Kill a process and all that it started; one that has ended is no error."""
    from lunette_api.api.commands import kill_process

    request = kill_process._get_kwargs(started.sandbox_id, started.process_id)
    try:
        await io.send(request)
    except errors.SandboxDestroyedError as error:
        logger.debug("[%s] was gone: %s", started.sandbox_id, error)
    except errors.LunetteError:
        raise
    except BaseException:  # a cancellation or Ctrl-C must not leave it behind
        await abandon(io, request)
        raise


async def send_signal(io: IO, started: Started, signal: int | str | Signals) -> None:
    """Send a signal to a process and all that it started."""
    from lunette_api.api.commands import signal_process
    from lunette_api.models import SignalRequest

    request = signal_process._get_kwargs(
        started.sandbox_id,
        started.process_id,
        body=SignalRequest(signal=_signal(signal)),
        idempotency_key=os.urandom(16).hex(),
    )
    await io.send(request)


async def resize(io: IO, started: Started, rows: int, columns: int) -> None:
    """Set the size of a process's terminal."""
    from lunette_api.api.commands import resize_terminal
    from lunette_api.models import TerminalSize

    size = TerminalSize.from_dict(_size(rows, columns))
    of = started.sandbox_id, started.process_id
    await io.send(resize_terminal._get_kwargs(*of, body=size))


def _checked_size(given: str | bytes | None) -> int:
    """Return the bytes of the standard input that goes with the start, if it may be that large."""
    if given is None:
        return 0
    size = len(given.encode()) if isinstance(given, str) else memoryview(given).nbytes
    if size > _LARGEST_INPUT:
        raise ValueError(
            f"input must be at most {_LARGEST_INPUT} bytes, not {size}: start it with input=PIPE"
            " and write the input"
        )
    return size


def _size(rows: object, columns: object) -> dict[str, int]:
    return {
        "rows": whole(rows, "rows", 1, _LARGEST_SIDE),
        "columns": whole(columns, "columns", 1, _LARGEST_SIDE),
    }


def _pair(tty: object) -> tuple[object, object]:
    if not isinstance(tty, tuple | list) or len(cast("tuple[object]", tty)) != 2:
        raise TypeError(f"tty must be True or (rows, columns), not {tty!r}")
    rows, columns = cast("tuple[object, object]", tty)
    return rows, columns


def _name(value: object) -> str:
    name = at_most(_LONGEST_NAME, text(value, "name"), "name")
    if _CONTROL.search(name):
        raise ValueError(f"name must not contain control characters: {name!r}")
    return name


def _patience(value: object) -> float:
    try:
        return 0.0 if value == 0 and not isinstance(value, bool) else checked_seconds(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"timeout {error}") from None


def _signal(value: object) -> int | str:
    if isinstance(value, Signals):
        return value.name  # the numbers of this machine need not be those of Linux
    if isinstance(value, str):
        return _signal_name(text(value, "signal"))
    if not isinstance(value, int):
        kind = type(value).__name__
        raise TypeError(f"signal must be a number or a name such as 'SIGTERM', not {kind}")
    return whole(value, "signal", 1, _LAST_SIGNAL)


def _signal_name(name: str) -> str:
    """Return the *name* of a signal; elsewhere than on Linux the server alone knows them."""
    full = f"SIG{name.upper().removeprefix('SIG')}"
    if sys.platform == "linux" and full not in Signals.__members__:
        raise ValueError(f"signal must be a number or a name such as 'SIGTERM', not {name!r}")
    return name


def _info(wire: Process) -> ProcessInfo:
    from ..results import ProcessInfo

    return ProcessInfo(
        id=wire.process_id,
        name=wire.name or None,
        command=wire.command or None,
        state=wire.state.value,
        tty=bool(wire.tty),
        started=bool(wire.started),
        started_at=wire.started_at or None,
        exit_code=wire.exit_code if isinstance(wire.exit_code, int) else None,
        output_offset=wire.output_offset or 0,
    )
