"""What ends a process, and what does not: `with`, cancellation, Ctrl-C, the death of its server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Generator

import anyio
import pytest

from lunette import PIPE, LunetteClient, Process, Sandbox, SandboxDestroyedError
from lunette._scratch import sweep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")

HOST = {"image": "host"}
LONG = "echo begun; sleep 3599"
GUARD = 60.0
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        yield sandbox


def runs(process: Process) -> bool:
    return process.poll() is None


# The end of a `with`


def test_a_with_kills_at_its_end(sandbox: Sandbox) -> None:
    with sandbox.start(LONG) as process:
        assert runs(process)
    assert process.result(timeout=GUARD).signal == 9
    with pytest.raises(ZeroDivisionError), sandbox.start(LONG) as process:
        raise ZeroDivisionError
    assert process.result(timeout=GUARD).signal == 9


def test_a_with_leaves_what_was_detached_or_has_ended(sandbox: Sandbox) -> None:
    with sandbox.start(LONG) as process:
        process.detach()
    assert runs(process)
    with sandbox.start("exit 3") as ended:
        assert ended.result().exit_code == 3
    assert ended.result().exit_code == 3


def test_a_with_is_content_when_its_sandbox_has_gone() -> None:
    with LunetteClient() as client:
        sandbox = client.create_sandbox(HOST)
        with sandbox.start(LONG) as process:
            sandbox.destroy()
        with pytest.raises(SandboxDestroyedError):
            process.poll()


@BACKENDS
def test_an_async_with_kills_at_its_end(backend: str) -> None:
    async def main() -> None:
        async with (
            LunetteClient() as client,
            await client.create_sandbox(HOST) as sandbox,
        ):
            async with await sandbox.astart(LONG) as process:
                async for _ in process:
                    break
            assert (await process.aresult(timeout=GUARD)).signal == 9
            async with await sandbox.astart(LONG) as process:
                process.detach()
            assert await process.apoll() is None

    anyio.run(main, backend=backend)


# Cancellation


@BACKENDS
@pytest.mark.parametrize("waits", ["aresult", "iteration", "awrite"])
def test_a_cancelled_wait_kills_nothing(sandbox: Sandbox, backend: str, waits: str) -> None:
    process = sandbox.start(LONG, input=PIPE)

    async def wait(begun: anyio.Event) -> None:
        if waits == "iteration":
            async for _ in process:
                begun.set()
        begun.set()
        await (process.aresult() if waits == "aresult" else process.awrite(bytes(1 << 20)))

    async def main() -> None:
        begun = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(wait, begun)
            await begun.wait()
            await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert runs(process)


@BACKENDS
def test_a_cancelled_exec_with_listeners_kills_its_command(sandbox: Sandbox, backend: str) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            await sandbox.aexec(LONG, on_stdout=lambda text: scope.cancel())
        assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    [info] = sandbox.processes()
    assert info.state == "ended"


def test_listeners_that_are_awaited(sandbox: Sandbox) -> None:
    told: list[str] = []

    async def listener(text: str) -> None:
        await asyncio.sleep(0)
        told.append(text)

    asyncio.run(sandbox.aexec("echo a", on_stdout=listener))
    assert told == ["a\n"]
    with pytest.raises(RuntimeError, match="waited on something other than BlockingIO"):
        sandbox.exec("echo a", on_stdout=listener)


# Ctrl-C

INTERRUPTED = """
    import os, signal, sys, threading
    import lunette

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    with lunette.LunetteClient() as client, client.create_sandbox({"image": "host"}) as sandbox:
        process = sandbox.start("echo begun; sleep 3599")
        for wait in (process.__iter__, process.result):
            threading.Timer(0.3, interrupt).start()
            try:
                for _ in (wait() if wait == process.__iter__ else iter(wait, None)):
                    pass
            except KeyboardInterrupt:
                print("interrupted", process.poll())
        process.kill()
        try:
            sandbox.exec("echo begun; sleep 3599", on_stdout=lambda text: interrupt())
        except KeyboardInterrupt:
            print("interrupted", sandbox.processes()[1].state)
"""


def run_script(source: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=100,
    )
    assert (done.stderr, done.returncode) == ("", 0), done.stdout
    return done.stdout


def test_ctrl_c_ends_what_exec_runs_and_nothing_that_was_started() -> None:
    assert (
        run_script(INTERRUPTED, "-X", "dev")
        == "interrupted None\ninterrupted None\ninterrupted ended\n"
    )


# The death of the server

DEATH = """
    import asyncio, os, signal, threading, sys
    import lunette
    from lunette import PIPE, SandboxLostError, _embedded

    server = _embedded.ensure()
    LONG = "echo begun; sleep 3599"
    ended = []

    def told(ending):
        try:
            ending()
        except SandboxLostError:
            ended.append("lost")
        except BaseException as error:
            ended.append(repr(error))
        else:
            ended.append("no error")

    def followed(process):
        for _ in process:
            begun.release()

    async def atold(ending):
        try:
            await ending
        except SandboxLostError:
            ended.append("lost")
        except BaseException as error:
            ended.append(repr(error))
        else:
            ended.append("no error")

    async def afollowed(process):
        async for _ in process:
            begun.release()

    async def tasks(sandbox):
        processes = [await sandbox.astart(LONG) for _ in range(20)]
        endings = [afollowed(p) for p in processes[:10]] + [p.aresult() for p in processes[10:]]
        await asyncio.gather(*map(atold, endings))

    begun = threading.Semaphore(0)
    with lunette.LunetteClient() as client:
        sandbox = client.create_sandbox({"image": "host"})
        processes = [sandbox.start(LONG, input=PIPE) for _ in range(28)]
        endings = [lambda p=p: followed(p) for p in processes[:10]]
        endings += [p.result for p in processes[10:20]]
        endings += [lambda p=p: p.write(bytes(1 << 22)) for p in processes[20:25]]
        endings += [lambda p=p: list(p.lines()) for p in processes[25:]]
        endings += [lambda: sandbox.exec(LONG, on_stdout=lambda text: begun.release())] * 2
        threads = [threading.Thread(target=told, args=(ending,)) for ending in endings]
        threads.append(threading.Thread(target=lambda: asyncio.run(tasks(sandbox))))
        for thread in threads:
            thread.start()
        for _ in range(22):
            assert begun.acquire(timeout=60)
        os.kill(server.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        told(processes[0].poll)
        told(lambda: next(iter(processes[30 - 3])))
    print(len(ended), set(ended))
"""


def test_everybody_who_waits_is_told_that_the_server_died() -> None:
    # httpcore forgets a socket that it could not connect.
    quiet = "ignore:unclosed:ResourceWarning"
    assert run_script(DEATH, "-W", quiet) == "52 {'lost'}\n"
    sweep()  # as the next server does
