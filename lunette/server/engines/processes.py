"""The commands of a sandbox, as an engine has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Literal, Protocol

from attrs import field, frozen

__all__ = ["Command", "Exit", "Process", "TerminalSize"]


@frozen
class TerminalSize:
    """In characters."""

    rows: int
    columns: int


@frozen(kw_only=True)
class Command:
    """A program to run: *argv* is never empty; *stdin* is None for an empty standard input.

    With *interactive* standard input stays open after *stdin*, for `Process.write`. A *terminal* is
    standard input, output and error at once, and always open. *user* is `user[:group]`, None the
    sandbox's own.
    """

    argv: tuple[str, ...]
    cwd: str | None = None
    env: Mapping[str, str] = field(factory=dict[str, str])
    stdin: bytes | None = None
    interactive: bool = False
    terminal: TerminalSize | None = None
    user: str | None = None


@frozen(kw_only=True)
class Exit:
    """How a command ended: *code* as a shell would show it, 128 + n for a death by *signal* n.

    *out_of_memory* is whether the machine killed it, since its sandbox had no memory left.
    """

    code: int
    signal: int | None = None
    out_of_memory: bool = False


class Process(Protocol):
    """A running command."""

    def output(self) -> AsyncIterator[tuple[Literal[1, 2], bytes]]:
        """Yield what the command writes, as (1 or 2, bytes), until the command itself has ended.

        Pulled: a command whose output nobody takes waits. Children that outlive the command do not
        hold this open. All that a terminal shows is 1.
        """
        ...

    async def wait(self) -> Exit:
        """Wait for the end of the command; raise SandboxGoneError if its sandbox goes first."""
        ...

    async def kill(self) -> None:
        """Kill the command and all that it started, and return when nothing of it runs."""
        ...

    async def write(self, data: bytes) -> int:
        """Wait until standard input takes something of *data*, and return how many bytes it took.

        Raise BrokenPipeError when nobody reads it any more, or it is closed. Cancelled, it took
        nothing.
        """
        ...

    async def drained(self) -> None:
        """Wait until nothing is left in memory of what the command began with."""
        ...

    async def close_input(self) -> None:
        """Let who reads standard input see its end: on a terminal, by typing ^D. Idempotent."""
        ...

    async def signal(self, number: int) -> None:
        """Send a signal to the command and all that it started; nothing to one that has ended."""
        ...

    async def resize(self, size: TerminalSize) -> None:
        """Set the size of the terminal; raise NotSupportedError where there is none."""
        ...
