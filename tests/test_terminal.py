from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import termios
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from lunette._terminal import Inlet, Outlet, Terminal

GUARD = 30.0


@frozen
class Pty:
    """A terminal, and its other end."""

    master: int
    slave: int

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    @property
    def modes(self) -> Any:
        return termios.tcgetattr(self.slave)

    @property
    def is_raw(self) -> bool:
        return not self.modes[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


@pytest.fixture
def pty() -> Generator[Pty]:
    pty = Pty(*os.openpty())
    yield pty
    for descriptor in (pty.master, pty.slave):
        try:
            os.close(descriptor)
        except OSError:
            assert descriptor == pty.master  # which a test may have closed


@pytest.fixture
def pipe() -> Generator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        os.close(descriptor)


def on_a_loop(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(body(), GUARD))


def test_size(pty: Pty) -> None:
    terminal = Terminal(pty.slave)
    assert terminal.size() == (24, 80)  # it says 0 and 0
    pty.resize(50, 132)
    assert terminal.size() == (50, 132)


def test_size_of_no_terminal(pipe: tuple[int, int]) -> None:
    assert Terminal(pipe[0]).size() == (24, 80)


@pytest.mark.parametrize(
    ("shown", "leaves"),
    [
        ([b"plain"], False),
        ([b"\x1b[?1049h", b"text"], True),
        ([b"text\x1b[?10", b"47h" + 100 * b"text"], True),
        ([b"\x1b[?1049h\x1b[?1049l"], False),
        ([b"\x1b[?47h", b"\x1b[?2004h", b"\x1b[?47l"], False),
    ],
)
def test_remedy(shown: list[bytes], leaves: bool) -> None:
    terminal = Terminal(0)
    for data in shown:
        terminal.note(data)
    remedy = terminal.remedy()
    assert (b"\x1b[?1049l" in remedy) is leaves and b"\x1b[?25h" in remedy


def test_resizes(pty: Pty) -> None:
    async def body() -> None:
        pty.resize(10, 20)
        resizes = Terminal(pty.slave).resizes((24, 80))
        # It changed before anybody looked.
        assert await anext(resizes) == (10, 20)
        signal.raise_signal(signal.SIGWINCH)
        coming = asyncio.ensure_future(anext(resizes))
        await asyncio.sleep(0)
        pty.resize(11, 21)
        signal.raise_signal(signal.SIGWINCH)
        assert await coming == (11, 21)
        await resizes.aclose()

    on_a_loop(body)
    assert signal.getsignal(signal.SIGWINCH) == signal.SIG_DFL


def test_raw(pty: Pty) -> None:
    before = pty.modes

    async def body() -> None:
        with Terminal(pty.slave).raw():
            assert pty.is_raw
            os.write(pty.master, b"\x03\x04\x1a\r")
            assert os.read(pty.slave, 10) == b"\x03\x04\x1a\r"
        assert pty.modes == before

    on_a_loop(body)


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, asyncio.CancelledError])
def test_raw_ends_with_an_error(pty: Pty, kind: type[BaseException]) -> None:
    before = pty.modes

    async def body() -> None:
        with Terminal(pty.slave).raw():
            raise kind

    with pytest.raises(kind):
        asyncio.run(body())
    assert pty.modes == before


def test_raw_keeps_what_was_typed_before_and_drops_what_was_typed_last(pty: Pty) -> None:
    async def body() -> None:
        os.write(pty.master, b"early\n")
        with Terminal(pty.slave).raw():
            assert os.read(pty.slave, 10) == b"early\n"
            os.write(pty.master, b"rm -rf /\r")
        os.write(pty.master, b"mine\n")
        assert os.read(pty.slave, 100) == b"mine\n"

    on_a_loop(body)


def test_raw_where_the_terminal_goes_away(pty: Pty) -> None:
    async def body() -> None:
        with Terminal(pty.slave).raw():
            os.close(pty.master)

    on_a_loop(body)


def test_raw_comes_back_after_a_stop(pty: Pty) -> None:
    before = pty.modes

    async def body() -> None:
        terminal = Terminal(pty.slave)
        resizes = terminal.resizes(terminal.size())
        with terminal.raw():
            coming = asyncio.ensure_future(anext(resizes))
            await asyncio.sleep(0)
            # As a shell does with what stops.
            termios.tcsetattr(pty.slave, termios.TCSANOW, before)
            pty.resize(7, 70)
            signal.raise_signal(signal.SIGCONT)
            assert await coming == (7, 70)
            assert pty.is_raw
        await resizes.aclose()

    on_a_loop(body)
    assert pty.modes == before
    assert signal.getsignal(signal.SIGCONT) == signal.SIG_DFL


def test_raw_ends_while_the_terminal_is_stopped(pty: Pty) -> None:
    before = pty.modes

    async def body() -> None:
        with Terminal(pty.slave).raw():
            termios.tcflow(pty.slave, termios.TCOOFF)
            writing = asyncio.ensure_future(Outlet().write(pty.slave, b"x"))
            await asyncio.sleep(0)
            assert not writing.done()
        assert pty.modes == before
        termios.tcflow(pty.slave, termios.TCOON)
        await writing
        assert os.read(pty.master, 10) == b"x"

    on_a_loop(body)


def test_inlet_reads_all_in_order(pipe: tuple[int, int]) -> None:
    sent = os.urandom(5_000_000)
    reading, writing = pipe

    def write() -> None:
        with os.fdopen(os.dup(writing), "wb") as file:
            file.write(sent)

    async def body() -> None:
        found = bytearray()
        with closing(Inlet(reading)) as inlet:
            while len(found) < len(sent):
                chunk = await inlet.read()
                assert chunk
                found += chunk
        assert found == sent

    thread = threading.Thread(target=write)
    thread.start()
    on_a_loop(body)
    thread.join()


def test_inlet_gives_together_what_came_meanwhile(pipe: tuple[int, int]) -> None:
    async def body() -> None:
        with closing(Inlet(pipe[0])) as inlet:
            os.write(pipe[1], b"a")
            assert await inlet.read() == b"a"
            keys = bytes(range(200))
            for key in keys:
                os.write(pipe[1], bytes([key]))
            found = [await inlet.read()]
            while sum(map(len, found)) < len(keys):
                found.append(await inlet.read())
            assert b"".join(found) == keys and len(found) < 20

    on_a_loop(body)


def test_inlet_reads_no_further_than_it_must(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)

    async def body() -> None:
        inlet = Inlet(reading)
        written = 0
        tries = 0
        while tries < 100:  # until nobody takes any more
            try:
                written += os.write(writing, bytes(65536))
                tries = 0
            except BlockingIOError:
                tries += 1
                await asyncio.sleep(0.001)
        assert written < 4_000_000
        found = 0
        while found < written:
            found += len(await inlet.read())
        inlet.close()

    on_a_loop(body)


def test_inlet_that_is_closed_leaves_what_comes_to_others(pipe: tuple[int, int]) -> None:
    async def body() -> None:
        with closing(Inlet(pipe[0])) as inlet:
            os.write(pipe[1], b"ours")
            assert await inlet.read() == b"ours"
        os.write(pipe[1], b"others")
        assert await inlet.read() == b""
        assert os.read(pipe[0], 10) == b"others"

    on_a_loop(body)


def test_inlet_of_a_file_and_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")

    async def body() -> None:
        with path.open("rb", buffering=0) as file, closing(Inlet(file.fileno())) as inlet:
            assert await inlet.read() == b"content"
            assert await inlet.read() == b""
            assert await inlet.read() == b""

    on_a_loop(body)


def test_inlet_of_a_descriptor_that_does_not_block(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[0], False)

    async def body() -> None:
        with closing(Inlet(pipe[0])) as inlet:
            reading = asyncio.ensure_future(inlet.read())
            await asyncio.sleep(0)
            os.write(pipe[1], b"late")
            assert await reading == b"late"

    on_a_loop(body)


def test_inlet_of_a_terminal_that_goes_away(pty: Pty) -> None:
    async def body() -> None:
        with closing(Inlet(pty.slave)) as inlet:
            os.write(pty.master, b"line\n")
            assert await inlet.read() == b"line\n"
            os.close(pty.master)
            assert await inlet.read() == b""

    on_a_loop(body)


def test_outlet_does_not_hold_up_the_loop(pipe: tuple[int, int]) -> None:
    sent = os.urandom(1_000_000)

    async def body() -> None:
        outlet = Outlet()
        first = asyncio.ensure_future(outlet.write(pipe[1], sent))
        second = asyncio.ensure_future(outlet.write(pipe[1], b"end"))
        found = bytearray()
        with closing(Inlet(pipe[0])) as inlet:
            while len(found) < len(sent) + 3:
                found += await inlet.read()
        await asyncio.gather(first, second)
        assert found == sent + b"end"

    on_a_loop(body)


def test_outlet_of_a_terminal_that_is_stopped(pty: Pty) -> None:
    async def body() -> None:
        outlet = Outlet()
        termios.tcflow(pty.slave, termios.TCOOFF)
        writing = asyncio.ensure_future(outlet.write(pty.slave, b"shown"))
        done, _ = await asyncio.wait([writing], timeout=0.1)
        assert not done
        termios.tcflow(pty.slave, termios.TCOON)
        await writing
        assert os.read(pty.master, 10) == b"shown"

    on_a_loop(body)


def test_outlet_that_nobody_waits_for_any_more(pty: Pty) -> None:
    async def body() -> None:
        outlet = Outlet()
        termios.tcflow(pty.slave, termios.TCOOFF)
        writing = asyncio.ensure_future(outlet.write(pty.slave, b"shown"))
        await asyncio.sleep(0)
        writing.cancel()
        termios.tcflow(pty.slave, termios.TCOON)
        await outlet.write(pty.slave, b" all")
        assert os.read(pty.master, 5) + os.read(pty.master, 4) == b"shown all"

    on_a_loop(body)


def test_outlet_of_a_file_and_of_a_closed_pipe(tmp_path: Path) -> None:
    async def body() -> None:
        outlet = Outlet()
        with (tmp_path / "file").open("wb", buffering=0) as file:
            await outlet.write(file.fileno(), b"content")
        assert (tmp_path / "file").read_bytes() == b"content"
        reading, writing = os.pipe()
        os.close(reading)
        with pytest.raises(BrokenPipeError):
            await outlet.write(writing, b"x")
        os.close(writing)

    on_a_loop(body)


def test_outlet_of_a_descriptor_that_does_not_block(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    sent = os.urandom(300_000)

    async def body() -> None:
        writing = asyncio.ensure_future(Outlet().write(pipe[1], sent))
        found = bytearray()
        with closing(Inlet(pipe[0])) as inlet:
            while len(found) < len(sent):
                found += await inlet.read()
        await writing
        assert found == sent

    on_a_loop(body)
