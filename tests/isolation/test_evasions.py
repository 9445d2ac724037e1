"""What an attacker tried who had read the source, and what a reviewer made race."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import threading
import time

import pytest
from servers import Server, serving
from test_traps import descendants, in_a_sandbox, python
from test_walls import alive, gone

from lunette import (
    ExecTimeoutError,
    LunetteClient,
    NotSupportedError,
    Sandbox,
    SandboxDestroyedError,
)

# Out of the kill

FIRST_THREAD_ENDS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=[600]).start()
ctypes.CDLL(None).syscall(60 if __import__("platform").machine() == "x86_64" else 93, 0)
"""
CONTINUE_EACH_OTHER = """
import os, signal
for _ in range(5):
    if os.fork() == 0:
        break
while True:
    try:
        os.kill(-1, signal.SIGCONT)
    except ProcessLookupError:
        pass
"""


def test_a_process_that_looks_like_a_zombie_is_killed(server: Server, sandbox: Sandbox) -> None:
    with pytest.raises(ExecTimeoutError):
        sandbox.exec(["python3", "-c", FIRST_THREAD_ENDS], timeout=1)
    assert alive(server) == set()


def test_who_undoes_the_freeze_is_killed_or_loses_the_sandbox(
    server: Server, sandbox: Sandbox
) -> None:
    with pytest.raises((ExecTimeoutError, SandboxDestroyedError)):
        sandbox.exec(["python3", "-c", CONTINUE_EACH_OTHER], timeout=1)
    assert alive(server) == set()


def test_commands_that_start_during_a_kill_live_on(sandbox: Sandbox) -> None:
    stop = threading.Event()
    answers: list[int] = []

    def start() -> None:
        while not stop.is_set():
            answers.append(sandbox.exec("sleep 0.05").exit_code)

    starters = [threading.Thread(target=start) for _ in range(6)]
    for starter in starters:
        starter.start()
    begun = time.monotonic()
    for _ in range(3):
        with pytest.raises(ExecTimeoutError):
            sandbox.exec("sleep 500", timeout=0.3)
    took = time.monotonic() - begun
    stop.set()
    for starter in starters:
        starter.join(30)
        assert not starter.is_alive()
    assert set(answers) == {0}
    assert took < 18  # a kill that does not find the sandbox frozen gives up after 20 s


def test_a_destroy_leaves_no_command_waiting(server: Server) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=f"unix://{server.directory}/sock") as client:
            for _ in range(25):
                sandbox = await client.create_sandbox({"image": "host"})
                calls = [asyncio.create_task(sandbox.aexec("true")) for _ in range(6)]
                await asyncio.sleep(0)
                await sandbox.destroy()
                async with asyncio.timeout(30):
                    await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(main())


def test_many_large_messages_at_once_all_arrive(server: Server) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=f"unix://{server.directory}/sock") as client:
            sandbox = await client.create_sandbox({"image": "host"})
            env = {"LARGE": "x" * 25_000}
            async with asyncio.timeout(60):
                calls = [sandbox.aexec("true", env=env) for _ in range(120)]
                results = await asyncio.gather(*calls)
            assert all(result.success for result in results)
            await sandbox.destroy()

    asyncio.run(main())


# Out of the server's death


def test_a_sandbox_that_does_not_die_with_bwrap_dies_with_the_server(mode: str) -> None:
    with serving(mode, "outlives_bwrap") as server:
        sandbox = server.client.create_sandbox({"image": "host"})
        sandbox.exec("trap '' TERM HUP; sleep 600 &")
        family = [pid for pid in descendants(server.pid) if in_a_sandbox(pid)]
        assert len(family) >= 3
        os.kill(server.pid, signal.SIGKILL)
        gone(family, seconds=20)


# Out of the limits


def test_the_first_processes_have_the_limits_of_a_command(sandbox: Sandbox) -> None:
    script = """
        for pid in (1, 2, "self"):
            for line in open(f"/proc/{pid}/limits"):
                if line.startswith(("Max processes", "Max core")):
                    print(line.split()[2:5] if "core" not in line else line.split()[4:6])
    """
    shown = python(sandbox, script).splitlines()
    assert len(shown) == 6
    assert len(set(shown)) == 2


# Out of the directories


@pytest.mark.parametrize(
    "path", ["/../../oldroot/tmp/x", "/a/../workspace", "/a/./b", "//a", "/a//b", "/oldroot/tmp/x"]
)
def test_a_working_dir_that_leads_elsewhere_is_refused(server: Server, path: str) -> None:
    with pytest.raises(NotSupportedError, match="working_dir"):
        server.client.create_sandbox({"image": "host", "working_dir": path})


def test_what_sandboxes_share_is_nobodys_to_write(mode: str) -> None:
    with serving(mode, umask=0) as server, server.client.create_sandbox({"image": "host"}):
        for top in server.directory.glob("lunette-*"):
            for path in (top, *top.rglob("*")):
                mode = path.lstat().st_mode
                assert stat.S_ISLNK(mode) or not mode & stat.S_IWOTH, path


# And in


def test_files_without_a_size_are_read(sandbox: Sandbox) -> None:
    assert sandbox.files.read_text("/proc/version").startswith("Linux version")
