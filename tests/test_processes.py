"""One client through forks, pools of processes, event loops in threads, and interrupts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from lunette import ClientClosedError, LunetteClient, LunetteError, Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")

HOST = {"image": "host"}
GUARD = 60.0


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        yield sandbox


def run_script(directory: Path, source: str, *arguments: str) -> str:
    """Run a program as a user would, in which warnings are errors, and return what it printed."""
    program = directory / "program.py"
    program.write_text(textwrap.dedent(source))
    # Python itself warns of forks beside threads.
    quiet = ["-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *quiet, str(program), *arguments],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=100,
    )
    assert (done.stderr, done.returncode) == ("", 0), done.stdout
    return done.stdout


# Forks


def beside(child: Callable[[], None], parent: Callable[[], None]) -> int:
    """Run *child* in a fork while *parent* runs here, and return the child's exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        parent()
    finally:
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def answers(sandbox: Sandbox, name: str) -> None:
    for n in range(40):
        assert sandbox.exec(["echo", f"{name} {n}"]).stdout == f"{name} {n}\n"


async def aanswers(sandbox: Sandbox, name: str) -> None:
    async def one(n: int) -> None:
        assert (await sandbox.aexec(["echo", f"{name} {n}"])).stdout == f"{name} {n}\n"

    for _ in range(4):
        await asyncio.gather(*map(one, range(10)))


def test_a_child_and_its_parent_get_their_own_answers(sandbox: Sandbox) -> None:
    sandbox.exec("true")  # a connection that both would have

    def child() -> None:
        answers(sandbox, "child")
        asyncio.run(aanswers(sandbox, "loop of the child"))

    assert beside(child, lambda: answers(sandbox, "parent")) == 0


def test_a_child_of_one_with_an_event_loop_gets_its_own_answers(sandbox: Sandbox) -> None:
    def child() -> None:
        asyncio.run(aanswers(sandbox, "child"))
        answers(sandbox, "child")

    with asyncio.Runner() as runner:
        runner.run(aanswers(sandbox, "before"))
        assert beside(child, lambda: runner.run(aanswers(sandbox, "parent"))) == 0
        runner.run(aanswers(sandbox, "after"))


POOLS = """
    import concurrent.futures, multiprocessing, sys
    import lunette

    HOST = {"image": "host"}

    def shared(sandbox, n):
        return sandbox.exec(["echo", str(n)]).stdout

    def own(n):
        with lunette.LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
            return sandbox.exec(["echo", str(n)]).stdout

    def fails(sandbox, how):
        if how == "check":
            sandbox.exec("echo why >&2; exit 4", check=True)
        elif how == "timeout":
            sandbox.exec("echo begun; sleep 3599", timeout=0.2)
        elif how == "missing":
            sandbox.files.read_text("/nope")
        elif how == "gone":
            sandbox.destroy()
            sandbox.exec("true")
        else:
            with lunette.LunetteClient() as client:
                lunette.Sandbox(client, "unknown").exec("true")

    def error_of(pool, sandbox, how):
        return pool.submit(fails, sandbox, how).exception(60)

    def main():
        context = multiprocessing.get_context(sys.argv[1])
        with lunette.LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
            sandbox.exec("true")
            expected = [f"{n}\\n" for n in range(9)]
            with context.Pool(3) as pool:
                assert pool.starmap(shared, [(sandbox, n) for n in range(9)]) == expected
                assert pool.map(own, range(3)) == expected[:3]
                pool.close()
                pool.join()
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                assert list(pool.map(shared, [sandbox] * 9, range(9))) == expected
                failed = error_of(pool, sandbox, "check")
                assert type(failed) is lunette.ExecFailedError
                assert (failed.returncode, failed.result.stderr) == (4, "why\\n")
                late = error_of(pool, sandbox, "timeout")
                assert type(late) is lunette.ExecTimeoutError
                assert (late.timeout, late.result.stdout) == (0.2, "begun\\n")
                missing = error_of(pool, sandbox, "missing")
                assert isinstance(missing, FileNotFoundError)
                assert (missing.filename, missing.code) == ("/nope", "file_not_found")
                unknown = error_of(pool, sandbox, "unknown")
                assert isinstance(unknown, lunette.SandboxNotFoundError)
                gone = error_of(pool, sandbox, "gone")
                assert isinstance(gone, lunette.SandboxDestroyedError)
        print("done")

    if __name__ == "__main__":
        main()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_of_processes(tmp_path: Path, method: str) -> None:
    assert run_script(tmp_path, POOLS, method) == "done\n"


def test_a_pool_of_threads(sandbox: Sandbox) -> None:
    def one(n: int) -> str:
        return sandbox.exec(["echo", str(n)]).stdout

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(one, range(64))) == [f"{n}\n" for n in range(64)]
        failed = threads.submit(sandbox.exec, "exit 4", check=True).exception(GUARD)
    assert isinstance(failed, LunetteError)


XDIST = """
    import pytest
    from lunette import LunetteClient

    @pytest.fixture(scope="session")
    def client():
        with LunetteClient() as client:
            yield client

    @pytest.mark.parametrize("n", range(24))
    def test_one(client, n):
        with client.create_sandbox({"image": "host"}) as sandbox:
            assert sandbox.exec(["echo", str(n)]).stdout == f"{n}\\n"
"""


def test_pytest_xdist(tmp_path: Path) -> None:
    (tmp_path / "test_tiny.py").write_text(textwrap.dedent(XDIST))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "4", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "24 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


# Threads and event loops


def test_one_client_in_loops_and_threads_at_once(sandbox: Sandbox) -> None:
    together = threading.Barrier(4, timeout=GUARD)

    async def on_a_loop(name: str) -> None:
        together.wait()
        for n in range(30):
            assert (await sandbox.aexec(["echo", f"{name} {n}"])).stdout == f"{name} {n}\n"

    def loop(name: str, backend: str) -> None:
        anyio.run(on_a_loop, name, backend=backend)

    def blocking() -> None:
        together.wait()
        answers(sandbox, "blocking")

    with ThreadPoolExecutor(4) as threads:
        begun = [threads.submit(blocking)]
        for name, backend in (("a", "asyncio"), ("b", "asyncio"), ("c", "trio")):
            begun.append(threads.submit(loop, name, backend))
        for future in begun:
            future.result(GUARD)


def begun(sandbox: Sandbox) -> None:
    while "begun" not in sandbox.exec("ls").stdout:
        pass


def test_a_close_ends_what_other_threads_do(sandbox: Sandbox) -> None:
    with LunetteClient() as client, ThreadPoolExecutor(2) as threads:
        other = Sandbox(client, sandbox.sandbox_id)
        call = threads.submit(other.exec, "touch begun; sleep 5")
        begun(sandbox)
        client.close()
        assert isinstance(call.exception(GUARD), LunetteError | None)
        with pytest.raises(ClientClosedError):
            other.exec("true")


def test_a_close_ends_what_other_tasks_do(sandbox: Sandbox) -> None:
    async def main() -> None:
        async with LunetteClient() as client:
            other = Sandbox(client, sandbox.sandbox_id)
            call = asyncio.create_task(other.aexec("touch begun; sleep 3599"))
            await anyio.to_thread.run_sync(begun, sandbox)
        [error] = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(error, LunetteError)

    asyncio.run(main())


# Interrupts

TWICE = """
    import asyncio, logging, os, signal, sys, threading
    import httpx
    import lunette
    from lunette import _embedded

    logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it says what took 0.1 s
    server = _embedded.ensure()
    cleaning = threading.Event()

    class Blocking(httpx.HTTPTransport):
        def handle_request(self, request):
            if request.method == "DELETE":
                cleaning.set()
            return super().handle_request(request)

    class Awaited(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request):
            if request.method == "DELETE":
                cleaning.set()
            return await super().handle_async_request(request)

    def is_waiting():
        frame = sys._current_frames()[threading.main_thread().ident]
        return frame.f_code.co_name == ("read" if is_blocking else "select")

    def interrupt():
        with lunette.LunetteClient() as client:
            look = lunette.Sandbox(client, sandbox.sandbox_id)
            while "begun" not in look.exec("ls").stdout:
                pass
        os.kill(server.pid, signal.SIGSTOP)  # nobody will answer the clean-up
        os.kill(os.getpid(), signal.SIGINT)
        assert cleaning.wait(30)
        while not is_waiting():  # elsewhere, asyncio itself is left in pieces
            pass
        os.kill(os.getpid(), signal.SIGINT)

    is_blocking = sys.argv[1] == "blocking"
    kind = Blocking if is_blocking else Awaited
    transport = kind(uds=server.socket_path)
    with lunette.LunetteClient() as client:
        sandbox = client.create_sandbox({"image": "host"})

    async def main():
        async with lunette.LunetteClient(base_url="embedded", transport=transport) as client:
            await lunette.Sandbox(client, sandbox.sandbox_id).aexec(COMMAND)

    COMMAND = "touch begun; sleep 3599"
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        if is_blocking:
            with lunette.LunetteClient(base_url="embedded", transport=transport) as client:
                lunette.Sandbox(client, sandbox.sandbox_id).exec(COMMAND)
        else:
            asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
    thread.join()
    os.kill(server.pid, signal.SIGCONT)
    with lunette.LunetteClient() as client:
        lunette.Sandbox(client, sandbox.sandbox_id).destroy()
"""


@pytest.mark.parametrize("world", ["blocking", "asyncio"])
def test_a_second_ctrl_c_gives_up_the_clean_up(tmp_path: Path, world: str) -> None:
    said = run_script(tmp_path, TWICE, world)
    # That a clean-up was given up after its two seconds would have been logged.
    assert said == "interrupted\n"


# Ends


def test_a_command_ends_before_what_it_left_in_the_background(sandbox: Sandbox) -> None:
    async def main() -> str:
        return (await sandbox.aexec("sleep 3599 & echo begun")).stdout

    assert sandbox.exec("sleep 3599 & echo begun").stdout == "begun\n"
    assert asyncio.run(main()) == "begun\n"
    assert sandbox.exec("pgrep -c '^sleep$'").stdout == "2\n"


@pytest.mark.parametrize(
    ("end", "code", "signal"), [("exit 7", 7, None), ("kill -TERM $$", 143, 15)]
)
def test_an_end_at_the_time_of_the_timeout_is_one_or_the_other(
    sandbox: Sandbox, end: str, code: int, signal: int | None
) -> None:
    from lunette import ExecTimeoutError

    async def one(n: int) -> tuple[int, int | None, bool]:
        try:
            result = await sandbox.aexec(f"sleep 0.2; {end}", timeout=0.2 + n * 0.001)
        except ExecTimeoutError as error:
            result = error.result
            assert result.timed_out
        return result.exit_code, result.signal, result.timed_out

    async def main() -> set[tuple[int, int | None, bool]]:
        found = [await asyncio.gather(*map(one, range(n, n + 5))) for n in range(-10, 40, 5)]
        return {ending for endings in found for ending in endings}

    assert asyncio.run(main()) <= {(code, signal, False), (137, 9, True)}
