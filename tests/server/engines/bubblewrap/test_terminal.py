"""The server's end of a terminal, against the other end in the same process."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from lunette.server.engines.bubblewrap._process import BubblewrapProcess
from lunette.server.engines.bubblewrap._terminal import Terminal
from lunette.server.engines.protocol import NotSupportedError, TerminalSize


class Command:
    """A command that does what the test says: its *slave*, and its *process* of the server."""

    def __init__(self, slave: int, terminal: Terminal) -> None:
        self.slave = slave
        self.name = os.ttyname(slave)
        self.terminal = terminal
        self.process = BubblewrapProcess(
            pid=1,
            outputs=((1, terminal.output),),
            stdin=terminal.input,
            terminal=terminal,
            kill=self._nothing,
            send=lambda number: self._nothing(),
            discard=lambda output: output.discard(),
        )
        self.output = b""

    async def _nothing(self) -> None:
        pass

    async def follow(self) -> bytes:
        async for _, data in self.process.output():
            self.output += data
        return self.output

    def leave(self) -> None:
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1


@asynccontextmanager
async def command(*, raw: bool = True) -> AsyncIterator[Command]:
    master, slave = os.openpty()
    if raw:
        tty.setraw(slave)
    made = Command(slave, Terminal(master))
    try:
        async with asyncio.timeout(30):
            yield made
    finally:
        made.leave()
        made.terminal.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110, a state of the terminal is no event
        await asyncio.sleep(0.002)


def test_all_is_read_that_was_written_before_the_end() -> None:
    async def main() -> None:
        async with command() as it:
            following = asyncio.create_task(it.follow())
            for _ in range(50):
                await asyncio.to_thread(os.write, it.slave, b"x" * 4000)
            it.leave()
            it.process.ended(0)
            assert len(await following) == 200_000
            assert it.terminal.output.closed

    asyncio.run(main())


def test_a_reader_that_comes_late_misses_nothing() -> None:
    async def main() -> None:
        async with command() as it:
            os.write(it.slave, b"early")
            it.leave()
            it.process.ended(3)
            assert await it.follow() == b"early"
            assert (await it.process.wait()).code == 3

    asyncio.run(main())


def test_who_still_has_it_open_is_not_waited_for() -> None:
    async def main() -> None:
        async with command() as it:
            following = asyncio.create_task(it.follow())
            os.write(it.slave, b"one")
            it.process.ended(0)
            await asyncio.sleep(0)
            os.write(it.slave, b"two")
            assert await following == b"onetwo"

    asyncio.run(main())


def test_who_still_writes_is_not_waited_for() -> None:
    async def main() -> None:
        async with command() as it:
            writing = asyncio.create_task(asyncio.to_thread(_chatter, os.dup(it.slave)))
            following = asyncio.create_task(it.follow())
            await until(lambda: it.output != b"")
            it.process.ended(0)
            assert await following
            it.leave()
            await writing

    asyncio.run(main())


def _chatter(fd: int) -> None:
    try:
        while True:
            os.write(fd, b"on and on")
    except OSError:
        os.close(fd)


def test_one_that_nobody_has_open_is_not_over() -> None:
    async def main() -> None:
        async with command() as it:
            following = asyncio.create_task(it.follow())
            os.write(it.slave, b"one")
            it.leave()
            await until(lambda: it.terminal.output._deserted)
            assert it.output == b"one"
            it.slave = os.open(it.name, os.O_RDWR | os.O_NOCTTY)
            os.write(it.slave, b"two")
            it.leave()
            await until(lambda: it.output == b"onetwo" and it.terminal.output._deserted)
            it.process.ended(0)
            assert await following == b"onetwo"

    asyncio.run(main())


def test_who_leaves_early_can_come_back() -> None:
    async def main() -> None:
        async with command() as it:
            os.write(it.slave, b"one")
            async for _, data in it.process.output():
                assert data == b"one"
                break
            os.write(it.slave, b"two")
            it.leave()
            it.process.ended(0)
            await it.follow()
            assert it.output in (b"two", b"")  # thrown away, or not yet

    asyncio.run(main())


def test_a_size_is_set() -> None:
    async def main() -> None:
        async with command() as it:
            await it.process.resize(TerminalSize(33, 101))
            assert os.get_terminal_size(it.slave) == (101, 33)
            it.terminal.close()
            await it.process.resize(TerminalSize(1, 1))

    asyncio.run(main())


def test_without_a_terminal_there_is_no_size() -> None:
    async def main() -> None:
        async with command() as it:
            it.process._terminal = None
            with pytest.raises(NotSupportedError) as caught:
                await it.process.resize(TerminalSize(1, 1))
            assert caught.value.key == "tty"

    asyncio.run(main())


# What is typed


def test_keys_wait_for_who_reads_them() -> None:
    async def main() -> None:
        async with command() as it:
            typed = asyncio.create_task(_type(it, b"k" * 300_000))
            seen = 0
            while seen < 300_000:
                seen += len(await asyncio.to_thread(os.read, it.slave, 5000))
            await typed

    asyncio.run(main())


async def _type(it: Command, data: bytes) -> None:
    while data:
        data = data[await it.process.write(data) :]


def test_a_key_that_is_cancelled_was_not_typed() -> None:
    async def main() -> None:
        async with command() as it:
            typing = asyncio.create_task(_type(it, b"k" * 1_000_000))
            await until(lambda: it.terminal.input._room is not None)
            typing.cancel()
            await asyncio.wait([typing])
            await asyncio.to_thread(_drain, it.slave)
            assert await it.process.write(b"then") == 4
            assert os.read(it.slave, 100) == b"then"

    asyncio.run(main())


def _drain(fd: int) -> None:
    os.set_blocking(fd, False)
    try:
        while os.read(fd, 65_536):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(fd, True)


def test_a_line_that_is_too_long_holds_nobody_up() -> None:
    async def main() -> None:
        async with command(raw=False) as it:
            attributes = termios.tcgetattr(it.slave)
            attributes[3] &= ~termios.ECHO
            termios.tcsetattr(it.slave, termios.TCSANOW, attributes)
            await _type(it, b"k" * 300_000 + b"\n")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("typed", "reads"),
    [(b"", [b""]), (b"line\n", [b"line\n", b""]), (b"half", [b"half", b""])],
)
def test_the_end_of_lines(typed: bytes, reads: list[bytes]) -> None:
    async def main() -> None:
        async with command(raw=False) as it:
            await _type(it, typed)
            await it.process.close_input()
            await it.process.close_input()
            for expected in reads:
                assert await asyncio.to_thread(os.read, it.slave, 100) == expected
            await _type(it, b"more\n")
            assert os.read(it.slave, 100) == b"more\n"
            await it.process.close_input()
            assert os.read(it.slave, 100) == b""

    asyncio.run(main())


def test_the_end_where_there_are_no_lines() -> None:
    async def main() -> None:
        async with command() as it:
            await it.process.close_input()
            assert os.read(it.slave, 100) == b"\x04"

    asyncio.run(main())


def test_nobody_reads_after_the_end() -> None:
    async def main() -> None:
        async with command() as it:
            typing = asyncio.create_task(_type(it, b"k" * 1_000_000))
            await until(lambda: it.terminal.input._room is not None)
            it.process.ended(0)
            with pytest.raises(BrokenPipeError):
                await typing
            with pytest.raises(BrokenPipeError):
                await it.process.write(b"x")
            await it.process.close_input()
            await it.process.signal(15)
            await it.process.kill()

    asyncio.run(main())
