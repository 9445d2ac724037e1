"""Processes that live, end to end: one body in every world."""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from lunette import (
    PIPE,
    ExecFailedError,
    ExecTimeoutError,
    LunetteClient,
    NotSupportedError,
    ProcessInputClosedError,
    ProcessNotFoundError,
    ProcessRunningError,
    Sandbox,
)

from .worlds import Body

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")

HOST = {"image": "host"}
LONG = "sleep 3599"
MIB = 1024 * 1024

Perform = Callable[[Body], None]
InSandbox = Callable[[Callable[[Any], Any]], None]


@pytest.fixture
def within(perform: Perform) -> InSandbox:
    """Run a body with a sandbox, in one of the worlds."""

    def run_within(body: Callable[[Any], Any]) -> None:
        async def with_client(client: Any) -> None:
            sandbox = await client.create_sandbox(HOST)
            try:
                await body(sandbox)
            finally:
                await sandbox.destroy()

        perform(with_client)

    return run_within


async def first_line(process: Any) -> str:
    """Return its next line, and leave the loop."""
    async with aclosing(process.lines()) as lines:
        async for line in lines:
            return str(line)
    raise AssertionError("it has ended")


async def everything(process: Any) -> dict[str, bytes]:
    found: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    async for stream, data in process:
        found[stream].append(data)
    return {stream: b"".join(parts) for stream, parts in found.items()}


# Following


def test_output_comes_while_it_runs(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start("echo one; read x; echo $x >&2; exit 3", input=PIPE)
        assert await first_line(process) == "one"
        assert await process.poll() is None
        await process.write("two\n")
        assert await first_line(process) == "two"
        assert await everything(process) == {"stdout": b"", "stderr": b""}
        assert (await process.poll(), process.offset, process.gaps) == (3, 8, 0)
        result = await process.result()
        assert (result.stdout, result.stderr, result.exit_code) == ("one\n", "two\n", 3)
        with pytest.raises(ExecFailedError):
            await process.result(check=True)

    within(body)


def test_a_loop_that_was_left_goes_on(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start("seq 1 20000")
        lines = [await first_line(process) for _ in range(20)]
        lines += [line async for line in process.lines()]
        assert lines == [str(n) for n in range(1, 20_001)]
        assert await process.poll() == 0

    within(body)


def test_bytes_that_are_no_text(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        data = bytes(range(256)) * 5
        program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 5)"
        process = await sandbox.start(["python3", "-c", program])
        assert await everything(process) == {"stdout": data, "stderr": b""}
        assert (await process.result()).stdout_bytes == data

    within(body)


SPLIT = """
import sys, time
for byte in "ä€😀\\n".encode():
    sys.stdout.buffer.write(bytes([byte]))
    sys.stdout.buffer.flush()
    sys.stdin.readline()
"""


def test_characters_that_come_in_pieces(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(["python3", "-c", SPLIT], input=PIPE)
        pieces: list[bytes] = []
        async for _, data in process.chunks():
            pieces.append(data)
            await process.write("\n")
        assert pieces == [bytes([byte]) for byte in "ä€😀\n".encode()]
        again = await sandbox.process(process.id)
        assert [line async for line in again.lines("stdout")] == ["ä€😀"]

    within(body)


def test_lines_of_what_is_no_stream(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start("echo a")
        with pytest.raises(ValueError, match="stream must be 'stdout' or 'stderr', not 'both'"):
            process.lines("both")
        assert [line async for line in process.lines()] == ["a"]

    within(body)


def test_what_there_is_now(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(f"echo a; echo no end | tr -d '\\n'; {LONG}")
        while process.offset < 8:
            async for stream, _ in process.chunks(follow=False):
                assert stream == "stdout"
        again = await sandbox.process(process.id)
        assert [line async for line in again.lines(follow=False)] == ["a"]
        assert again.offset == 2
        await process.kill()
        assert [line async for line in again.lines()] == ["no end"]

    within(body)


def test_much_output_is_whole(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        size = 100 * MIB
        program = (
            f"import os\nfor n in range({size // MIB}): os.write(1, b'%07d\\n' % n * (1 << 17))"
        )
        process = await sandbox.start(["python3", "-c", program])
        digest, count = hashlib.sha256(), 0
        async for _, data in process:
            digest.update(data)
            count += len(data)
        wanted = hashlib.sha256()
        for n in range(size // MIB):
            wanted.update(b"%07d\n" % n * (1 << 17))
        assert (count, process.gaps) == (size, 0)
        assert digest.digest() == wanted.digest()

    within(body)


# Input


def test_much_input_with_an_answer_at_the_end(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        data = bytes(range(250)) * (50 * MIB // 250)
        process = await sandbox.start("sha256sum; echo done >&2", input=PIPE)
        await process.write(data)
        await process.close_input()
        await process.close_input()
        result = await process.result(check=True)
        assert result.stdout.split()[0] == hashlib.sha256(data).hexdigest()
        with pytest.raises(BrokenPipeError) as caught:
            await process.write("late")
        assert isinstance(caught.value, ProcessInputClosedError)

    within(body)


def test_input_and_output_at_once(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(["cat"], input=PIPE)
        got = b""
        for n in range(30):
            await process.write(b"%d\n" % n)
            async with aclosing(process.chunks()) as chunks:
                async for _, data in chunks:
                    got += data
                    if got.endswith(b"%d\n" % n):
                        break
        await process.close_input()
        assert await everything(process) == {"stdout": b"", "stderr": b""}
        assert got == b"".join(b"%d\n" % n for n in range(30))

    within(body)


def test_input_that_is_given_at_the_start(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(["cat"], input=b"\x00\xff")
        assert (await process.result()).stdout_bytes == b"\x00\xff"
        with pytest.raises(ProcessInputClosedError):
            await (await sandbox.start(LONG)).write("x")

    within(body)


def test_a_mebibyte_of_arguments(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        words = [f"{n:05d}" + "x" * 1019 for n in range(1024)]
        process = await sandbox.start(["printf", "%s\\n", *words])
        assert [line async for line in process.lines()] == words

    within(body)


# The end


def test_waiting_in_vain(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(LONG)
        for timeout in (0, 0.05):
            with pytest.raises(ProcessRunningError, match=process.id):
                await process.result(timeout=timeout)
        assert await process.poll() is None
        await process.kill()
        await process.kill()
        result = await process.result(timeout=60)
        assert (result.exit_code, result.signal) == (137, 9)

    within(body)


def test_its_own_timeout(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(f"echo a; {LONG}", timeout=0.2)
        assert (await everything(process))["stdout"] == b"a\n"
        with pytest.raises(ExecTimeoutError, match=r"after 0\.2 seconds") as caught:
            await process.result()
        assert caught.value.result.stdout == "a\n"

    within(body)


# A shell would have a child, which gets the signal too.
TRAPPING = """
import signal
numbers = {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
print("got", signal.sigwait(numbers).name)
exit(5)
"""


@pytest.mark.parametrize(
    ("given", "name"),
    [(signal.SIGUSR1, "SIGUSR1"), ("SIGINT", "SIGINT"), ("TERM", "SIGTERM"), (10, "SIGUSR1")],
)
def test_signals(within: InSandbox, given: Any, name: str) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(["python3", "-c", TRAPPING])
        assert await first_line(process) == "ready"
        await process.signal(given)
        assert await first_line(process) == f"got {name}"
        assert (await process.result()).exit_code == 5
        await process.signal(given)

    within(body)


def test_terminate(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(["sleep", "3599"])
        await process.terminate()
        assert (await process.result()).signal == signal.SIGTERM

    within(body)


def test_a_program_that_is_not_there(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(["nope"])
        assert b"nope" in (await everything(process))["stderr"]
        assert await process.poll() == 127

    within(body)


# Terminals


def test_a_terminal(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        script = "trap 'stty size; exit' WINCH; tty; stty size; while :; do sleep 0.01; done"
        process = await sandbox.start(script, tty=(30, 100))
        assert (await first_line(process)).startswith("/dev/pts/")
        assert await first_line(process) == "30 100"
        await process.resize(40, 132)
        assert [line async for line in process.lines()] == ["40 132"]

    within(body)


def test_typing_into_a_terminal(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start("stty -echo; echo ready; cat", tty=True, input="")
        assert await first_line(process) == "ready"
        await process.write("hello\n")
        assert await first_line(process) == "hello"
        await process.write(b"\x03")
        assert (await process.result()).exit_code != 0
        other = await sandbox.start("stty -echo; echo ready; cat; echo end", tty=True)
        assert await first_line(other) == "ready"
        await other.close_input()
        assert [line async for line in other.lines()] == ["end"]

    within(body)


def test_a_process_without_a_terminal_has_no_size(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(LONG)
        with pytest.raises(NotSupportedError):
            await process.resize(24, 80)

    within(body)


# Finding


def test_processes_are_found_again(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(["cat"], input=PIPE, name="echo")
        await process.write("one\n")
        assert await first_line(process) == "one"
        [info] = await sandbox.processes()
        assert (info.id, info.name, info.command) == (process.id, "echo", ["cat"])
        assert (info.state, info.started, info.tty, info.exit_code) == (
            "running",
            True,
            False,
            None,
        )
        assert info.started_at is not None

        again = await sandbox.process(info.id)
        assert (again.id, again.name) == (process.id, "echo")
        ids = f"id={process.id}, name='echo', sandbox_id={sandbox.sandbox_id}"
        assert repr(again) == f"Process({ids})"
        await again.write("two\n")
        await again.close_input()
        assert [line async for line in again.lines()] == ["one", "two"]
        assert [line async for line in process.lines()] == ["two"]

        [info] = await sandbox.processes()
        assert (info.state, info.exit_code, info.output_offset) == ("ended", 0, 8)
        with pytest.raises(ProcessNotFoundError):
            await sandbox.process("nope")

    within(body)


def test_another_client_finds_it(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        process = await sandbox.start(f"echo one; {LONG}")
        with LunetteClient() as client:
            again = Sandbox(client, sandbox.sandbox_id).process(process.id)
            assert next(again.lines()) == "one"
            again.kill()
        assert await process.poll() == 137

    within(body)


# Listeners


def test_exec_tells_what_comes(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        out: list[str] = []
        err: list[str] = []
        command = "printf 'a\\303'; echo e >&2; read x; printf '\\244%s' $x; exit 3"
        result = await sandbox.exec(
            command, input="in\n", on_stdout=out.append, on_stderr=err.append
        )
        assert ("".join(out), "".join(err)) == ("aäin", "e\n")
        assert result == await sandbox.exec(command, input="in\n")
        assert (result.stdout, result.exit_code) == ("aäin", 3)
        with pytest.raises(ExecTimeoutError):
            await sandbox.exec(LONG, timeout=0.1, on_stdout=out.append)

    within(body)


def test_a_listener_that_fails_kills_the_command(within: InSandbox) -> None:
    async def body(sandbox: Any) -> None:
        def fails(text: str) -> None:
            raise ZeroDivisionError(text)

        with pytest.raises(ZeroDivisionError, match="a"):
            await sandbox.exec(f"echo a; {LONG}", on_stdout=fails)
        [info] = await sandbox.processes()
        assert info.state == "ended"

    within(body)
