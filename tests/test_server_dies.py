"""A server that is killed under load: every call ends with an error, and nothing hangs."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from lunette import APIError, LunetteClient, LunetteError, Sandbox, SandboxLostError, _embedded
from lunette._scratch import sweep

from .embedded import until
from .leaks import nobodys_directories

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux"),
    # httpcore leaves a Unix socket open that could not connect, to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

HOST = {"image": "host"}
GUARD = 60.0
LONG, SHORT, FILES = 48, 8, 4
# A server that was started again knows which commands the one of before had begun.
OF_BEFORE = {"SandboxLostError", "OutcomeExpiredError"}


@pytest.fixture(autouse=True, scope="module")
def swept() -> Generator[None]:
    """Remove what killed servers leave, as the next server of this user would."""
    yield

    def is_clean() -> bool:
        sweep()
        return not nobodys_directories()

    until(is_clean)


@pytest.fixture(autouse=True)
def collected() -> Generator[None]:
    """Meet what httpcore left open here, where it is expected, and not in the next test."""
    yield
    gc.collect()


@pytest.fixture
def nap() -> str:
    """Return a `sleep` that only this test starts."""
    return f"sleep 3599.{random.randrange(10**9)}"


def sleeping(nap: str) -> int:
    """Count the processes of this machine, in a sandbox or not, that are a *nap*."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += path.read_bytes() == nap.encode().replace(b" ", b"\0") + b"\0"
    return found


def kill(pid: int) -> None:
    """Kill a server, and know that it is dead."""
    descriptor = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([descriptor], [], [])
    os.close(descriptor)


# Calls of each kind, without end


def again_and_again(verb: Callable[[], Any]) -> None:
    while True:
        verb()


def begin(sandbox: Sandbox, nap: str, threads: ThreadPoolExecutor) -> list[Future[Any]]:
    calls: list[Future[Any]] = [threads.submit(sandbox.exec, nap) for _ in range(LONG)]
    short = lambda: sandbox.exec("true")  # noqa: E731
    files = lambda: sandbox.files.write_text("a", sandbox.files.read_text("a"))  # noqa: E731
    calls += [threads.submit(again_and_again, short) for _ in range(SHORT)]
    return calls + [threads.submit(again_and_again, files) for _ in range(FILES)]


async def abegin(sandbox: Sandbox, nap: str) -> list[asyncio.Task[Any]]:
    async def short() -> None:
        while True:
            await sandbox.aexec("true")

    async def files() -> None:
        while True:
            await sandbox.files.awrite_text("a", await sandbox.files.aread_text("a"))

    work = [*(sandbox.aexec(nap) for _ in range(LONG)), *(short() for _ in range(SHORT))]
    return [asyncio.ensure_future(call) for call in (*work, *(files() for _ in range(FILES)))]


def endings(calls: list[Future[Any]]) -> list[BaseException | None]:
    return [call.exception(GUARD) for call in calls]


async def aendings(calls: list[asyncio.Task[Any]]) -> list[BaseException | None]:
    async with asyncio.timeout(GUARD):
        await asyncio.wait(calls)
    return [call.exception() for call in calls]


# The embedded server


def test_threads_of_a_dead_embedded_server(nap: str) -> None:
    with LunetteClient() as client, ThreadPoolExecutor(LONG + SHORT + FILES) as threads:
        sandbox = client.create_sandbox(HOST)
        sandbox.files.write_text("a", "a")
        calls = begin(sandbox, nap, threads)
        until(lambda: sleeping(nap) == LONG)
        kill(_embedded.ensure().pid)
        assert {type(error).__name__ for error in endings(calls)} == {"SandboxLostError"}
        until(lambda: sleeping(nap) == 0)
        with client.create_sandbox(HOST) as new:
            assert new.exec("echo new").stdout == "new\n"
        with pytest.raises(SandboxLostError):
            sandbox.exec("true")


def test_tasks_of_a_dead_embedded_server(nap: str) -> None:
    async def main() -> None:
        async with LunetteClient() as client:
            sandbox = await client.create_sandbox(HOST)
            await sandbox.files.awrite_text("a", "a")
            calls = await abegin(sandbox, nap)
            await anyio.to_thread.run_sync(until, lambda: sleeping(nap) == LONG)
            kill(_embedded.ensure().pid)
            ended = await aendings(calls)
            assert {type(error).__name__ for error in ended} == {"SandboxLostError"}
            async with await client.create_sandbox(HOST) as new:
                assert (await new.aexec("echo new")).stdout == "new\n"

    asyncio.run(main())
    until(lambda: sleeping(nap) == 0)


def test_creates_of_a_dying_embedded_server() -> None:
    """What cannot be made is an error, and the next one is made on another server."""
    with LunetteClient() as client, ThreadPoolExecutor(6) as threads:
        client.create_sandbox(HOST)
        server = _embedded.ensure()
        calls = [threads.submit(client.create_sandbox, HOST) for _ in range(30)]
        kill(server.pid)
        for error in endings(calls):
            assert error is None or isinstance(error, LunetteError)
        with client.create_sandbox(HOST) as new:
            assert new.exec("echo new").stdout == "new\n"


# A server of one's own


class Served:
    """A `lunette serve` on a socket, which can be killed and started again on its state."""

    def __init__(self, directory: Path) -> None:
        self.url = f"unix://{directory}/sock"
        self._state = directory / "state"
        self._socket = directory / "sock"
        self.start()

    def start(self) -> None:
        arguments = ["serve", "--uds", str(self._socket), "--state", str(self._state)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from lunette.cli import main; main()", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the server did not start"

    def kill(self) -> None:
        kill(self.process.pid)
        self.close()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(GUARD)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def served(tmp_path: Path) -> Generator[Served]:
    server = Served(tmp_path)
    try:
        yield server
    finally:
        server.close()


def assert_lost(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxLostError) as lost:
        sandbox.exec("echo second run")
    assert isinstance(lost.value, APIError)
    assert (lost.value.status_code, lost.value.code) == (410, "sandbox_lost")


@pytest.mark.parametrize("at_once", [True, False], ids=["started again at once", "left dead"])
def test_threads_of_a_dead_server(served: Served, nap: str, at_once: bool) -> None:
    with LunetteClient(base_url=served.url) as client:
        sandbox = client.create_sandbox(HOST)
        sandbox.files.write_text("a", "a")
        with ThreadPoolExecutor(LONG + SHORT + FILES) as threads:
            calls = begin(sandbox, nap, threads)
            until(lambda: sleeping(nap) == LONG)
            served.kill()
            if at_once:
                served.start()
            ended = endings(calls)
        assert all(isinstance(error, LunetteError) for error in ended)
        if at_once:
            assert {type(error).__name__ for error in ended} <= OF_BEFORE
        else:
            served.start()
        until(lambda: sleeping(nap) == 0)
        assert_lost(sandbox)
        with client.create_sandbox(HOST) as new:
            assert new.exec("echo new").stdout == "new\n"
        sandbox.destroy()


@pytest.mark.parametrize("at_once", [True, False], ids=["started again at once", "left dead"])
def test_tasks_of_a_dead_server(served: Served, nap: str, at_once: bool) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=served.url) as client:
            sandbox = await client.create_sandbox(HOST)
            await sandbox.files.awrite_text("a", "a")
            calls = await abegin(sandbox, nap)
            await anyio.to_thread.run_sync(until, lambda: sleeping(nap) == LONG)
            await anyio.to_thread.run_sync(served.kill)
            if at_once:
                await anyio.to_thread.run_sync(served.start)
            ended = await aendings(calls)
            assert all(isinstance(error, LunetteError) for error in ended)
            if at_once:
                assert {type(error).__name__ for error in ended} <= OF_BEFORE
            else:
                await anyio.to_thread.run_sync(served.start)
            await anyio.to_thread.run_sync(until, lambda: sleeping(nap) == 0)
            with pytest.raises(SandboxLostError):
                await sandbox.aexec("echo second run")
            async with await client.create_sandbox(HOST) as new:
                assert (await new.aexec("echo new")).stdout == "new\n"

    asyncio.run(main())
