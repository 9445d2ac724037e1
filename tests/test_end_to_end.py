"""Every verb against the embedded server: one body each, run blocking, on asyncio and on trio."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

import lunette
from lunette import AsyncUsageWarning, LunetteClient, Sandbox

HOST = {"image": "host"}
MEGABYTE = 1024 * 1024


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        yield sandbox


def test_a_whole_life(perform: Any, tmp_path: Path) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        (tmp_path / "script.py").write_text("print('hi', 6 * 7)")
        assert (await sandbox.exec("echo 'hello'")).stdout == "hello\n"
        await sandbox.upload(tmp_path / "script.py", "/workspace/script.py")
        result = await sandbox.exec("python script.py > out.txt")
        assert repr(result) == "ExecResult(exit_code=0, success=True)"
        await sandbox.download("out.txt", tmp_path / "out.txt")
        assert (tmp_path / "out.txt").read_text() == "hi 42\n"
        await sandbox.destroy()
        assert "status=destroyed" in repr(sandbox)
        with pytest.raises(lunette.SandboxDestroyedError):
            await sandbox.exec("true")

    perform(body)


def test_exec(perform: Any) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST | {"environment": {"A": "1", "B": "2"}})
        result = await sandbox.exec(["sh", "-c", 'echo "$0 $A $B" >&2; pwd; exit 3', "x y"])
        assert (result.stdout, result.stderr, result.exit_code) == ("/workspace\n", "x y 1 2\n", 3)
        result = await sandbox.exec("pwd; echo $A$B", cwd="/tmp", env={"A": "ä", "C": ""})
        assert result.stdout == "/tmp\nä2\n"
        assert (await sandbox.exec(["cat"], input="ä\n")).stdout == "ä\n"
        result = await sandbox.exec(["cat"], input=b"\xff\x00")
        assert (result.stdout, result.stdout_bytes) == ("\ufffd\0", b"\xff\0")
        assert (await sandbox.exec(["no-such-program"])).exit_code == 127
        assert (await sandbox.exec("kill -9 $$")).signal == signal.SIGKILL
        await sandbox.destroy()

    perform(body)


def test_failing_and_timing_out(perform: Any) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        with pytest.raises(lunette.ExecFailedError) as failed:
            await sandbox.exec("echo why >&2; exit 4", check=True)
        assert (failed.value.returncode, failed.value.stderr) == (4, "why\n")
        with pytest.raises(lunette.ExecTimeoutError) as late:
            await sandbox.exec("echo begun; sleep 3599", timeout=0.5)
        assert (late.value.result.stdout, late.value.timeout) == ("begun\n", 0.5)
        assert "3599" not in (await sandbox.exec("cat /proc/[0-9]*/cmdline")).stdout
        await sandbox.destroy()

    perform(body)


def test_files(perform: Any, tmp_path: Path) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        every_byte = bytes(range(256)) * 5000
        await sandbox.files.write_bytes("deep/er/a & b", every_byte)
        assert await sandbox.files.read_bytes("/workspace/deep/er/a & b") == every_byte
        await sandbox.files.write_text("text", "ä\r\n")
        assert await sandbox.files.read_text("text") == "ä\r\n"
        await sandbox.files.write_bytes("empty", b"")
        assert await sandbox.files.read_bytes("empty") == b""
        with pytest.raises(FileNotFoundError, match="nope"):
            await sandbox.files.read_text("nope")
        with pytest.raises(FileNotFoundError, match="nope"):
            await sandbox.download("nope", tmp_path / "nope")
        with pytest.raises(FileNotFoundError, match="missing"):
            await sandbox.upload(tmp_path / "missing", "missing")
        with pytest.raises(IsADirectoryError):
            await sandbox.files.read_bytes("deep")
        with pytest.raises(IsADirectoryError):
            await sandbox.files.write_text("deep", "")
        with pytest.raises(NotADirectoryError):
            await sandbox.files.write_text("text/a", "")
        with pytest.raises(OSError, match="/usr/no"):
            await sandbox.files.write_text("/usr/no", "")
        await sandbox.destroy()

    perform(body)
    assert list(tmp_path.iterdir()) == []


def test_a_large_file_both_ways(perform: Any, tmp_path: Path) -> None:
    content = os.urandom(MEGABYTE) * 20
    (tmp_path / "up").write_bytes(content)

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        await sandbox.upload(tmp_path / "up", "file")
        assert (await sandbox.exec(["stat", "-c", "%s", "file"])).stdout == f"{len(content)}\n"
        await sandbox.download("file", tmp_path / "down")
        await sandbox.destroy()

    perform(body)
    assert (tmp_path / "down").read_bytes() == content


def test_finding_and_stopping(perform: Any) -> None:
    async def body(client: Any) -> None:
        one = await client.create_sandbox(HOST | {"labels": {"run": "7"}})
        two = await client.create_sandbox(HOST)
        infos = {info.sandbox_id: info for info in await client.list_sandboxes()}
        assert {one.sandbox_id, two.sandbox_id} <= set(infos)
        info = infos[one.sandbox_id]
        assert (info.state, info.labels["run"], info.service["image"]) == ("running", "7", "host")

        again = await client.get_sandbox(one.sandbox_id)
        await one.files.write_text("seen", "by both")
        assert await again.files.read_text("seen") == "by both"

        result = await client.stop_sandboxes([one.sandbox_id, two.sandbox_id, "typo"])
        assert set(result.stopped) == {one.sandbox_id, two.sandbox_id}
        assert [failure.sandbox_id for failure in result.failed] == ["typo"]
        with pytest.raises(lunette.SandboxDestroyedError) as gone:
            await one.exec("true")
        assert isinstance(gone.value, lunette.APIError)
        await one.destroy()
        with pytest.raises(lunette.SandboxNotFoundError):
            await client.get_sandbox("typo")

    perform(body)


def test_services_that_the_server_refuses(perform: Any) -> None:
    async def body(client: Any) -> None:
        with pytest.raises(lunette.NotSupportedError, match="privileged"):
            await client.create_sandbox(HOST | {"privileged": True})
        with pytest.raises(lunette.NotSupportedError):
            await client.create_sandbox(HOST | {"network_mode": "host"})
        with pytest.raises(lunette.LunetteError, match="hostname"):
            await client.create_sandbox(HOST | {"hostname": "-no-"})

    perform(body)


def test_a_service_with_a_command_of_its_own(perform: Any) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST | {"command": "sh -c 'read x'"})
        with pytest.raises(lunette.SandboxStoppedError):
            while True:  # it has no standard input, so it ends by itself
                await sandbox.exec("true")
        info = next(i for i in await client.list_sandboxes() if i.sandbox_id == sandbox.sandbox_id)
        assert (info.state, info.exit_code) == ("stopped", 1)
        await sandbox.destroy()

    perform(body)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_async_example_never_blocks_its_loop(backend: str, tmp_path: Path) -> None:
    source = tmp_path / "100 MB"
    with source.open("wb") as file:
        file.truncate(100 * MEGABYTE)
    ticks: dict[str, int] = {}
    ticked = 0

    async def tick() -> None:
        nonlocal ticked
        while True:
            await anyio.sleep(0.001)
            ticked += 1

    async def while_ticking(name: str, awaitable: Awaitable[Any]) -> Any:
        before = ticked
        value = await awaitable
        ticks[name] = ticked - before
        return value

    async def main() -> None:
        async with LunetteClient() as client, anyio.create_task_group() as group:
            group.start_soon(tick)
            # One that was made ahead of time would be there before the first tick.
            for n in range(10):
                sandbox = await while_ticking(f"create {n}", client.create_sandbox(HOST))
            await while_ticking("exec", sandbox.aexec("sleep 0.2"))
            await while_ticking("upload", sandbox.aupload(source, "/workspace/large"))
            await while_ticking(
                "download", sandbox.adownload("/workspace/large", tmp_path / "copy")
            )
            await sandbox.destroy()
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert (tmp_path / "copy").stat().st_size == 100 * MEGABYTE
    # A blocked loop ticks not at all.
    assert all(ticks[name] > 1 for name in ("exec", "upload", "download")), ticks
    assert sum(ticks[f"create {n}"] for n in range(10)) > 1, ticks


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_blocking_verbs_inside_a_running_loop(backend: str) -> None:
    async def notebook() -> str:
        with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
            return sandbox.exec("echo plain").stdout

    async def slip() -> str:
        async with LunetteClient() as client:
            sandbox = await client.create_sandbox(HOST)
            with pytest.warns(AsyncUsageWarning, match="aexec"):
                result = sandbox.exec("echo async")
            await sandbox.destroy()
            return result.stdout

    assert anyio.run(notebook, backend=backend) == "plain\n"
    assert anyio.run(slip, backend=backend) == "async\n"


def test_one_client_through_three_runs_and_a_fork(sandbox: Sandbox) -> None:
    async def main(name: str) -> str:
        return (await sandbox.aexec(["echo", name])).stdout

    def child() -> int:
        assert sandbox.exec("echo child").stdout == "child\n"
        assert asyncio.run(main("run of the child")) == "run of the child\n"
        with LunetteClient() as own, own.create_sandbox(HOST) as other:
            assert other.exec("echo own").stdout == "own\n"
            assert sandbox.sandbox_id not in {i.sandbox_id for i in own.list_sandboxes()}
        return 0

    for n in range(3):
        assert asyncio.run(main(f"run {n}")) == f"run {n}\n"
    assert forked(child) == 0
    assert sandbox.exec("echo parent").stdout == "parent\n"


def forked(body: Callable[[], int]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = body()
        except BaseException:
            traceback.print_exc()
        finally:
            from lunette import _embedded

            _embedded._stop_at_exit()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_eight_threads_at_once() -> None:
    together = threading.Barrier(8, timeout=60)

    def whole_life(n: int) -> str:
        with client.create_sandbox(HOST) as sandbox:
            together.wait()
            return sandbox.exec(f"echo {n}").stdout

    with LunetteClient() as client, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(whole_life, range(8))) == [f"{n}\n" for n in range(8)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelling_ends_the_command_but_not_the_sandbox(sandbox: Sandbox, backend: str) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(sandbox.aexec, "touch begun; sleep 3599")
            while "begun" not in (await sandbox.aexec("ls")).stdout:
                pass
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert "3599" not in sandbox.exec("cat /proc/[0-9]*/cmdline").stdout


CTRL_C = """
import lunette, os, signal, threading
with lunette.LunetteClient() as client, client.create_sandbox({"image": "host"}) as sandbox:
    def interrupt():
        while "begun" not in sandbox.exec("ls").stdout:
            pass
        os.kill(0, signal.SIGINT)  # as a terminal does: to the whole process group
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        sandbox.exec("touch begun; sleep 3599")
    except KeyboardInterrupt:
        print("interrupted")
    thread.join()
    print("3599" in sandbox.exec("cat /proc/[0-9]*/cmdline").stdout)
"""


def test_ctrl_c_ends_the_command_but_not_the_server() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", CTRL_C],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=100,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\nFalse\n", "", 0)


# httpcore leaves a Unix socket open that could not connect, to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_dies_loses_its_sandboxes_but_not_the_client(perform: Any) -> None:
    async def body(client: Any) -> None:
        from lunette import _embedded

        sandbox = await client.create_sandbox(HOST)
        other = await client.create_sandbox(HOST)
        server = _embedded.ensure()
        os.kill(server.pid, signal.SIGKILL)
        while server.alive():
            pass

        with pytest.raises(lunette.SandboxLostError, match="embedded server ended"):
            await sandbox.exec("true")
        with pytest.raises(lunette.SandboxLostError):
            await sandbox.files.read_text("/a")
        await sandbox.destroy()

        new = await client.create_sandbox(HOST)
        assert (await new.exec("echo new")).stdout == "new\n"
        with pytest.raises(lunette.SandboxLostError):
            await other.exec("true")
        await new.destroy()

    perform(body)
