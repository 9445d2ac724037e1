"""Sandboxes that take all they can get, and what that leaves to others."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from servers import Server, serving

from lunette import Process, Sandbox, errors

MUCH = "x = b'x' * (160 << 20); print(len(x) >> 20)"
FOR_LONG = f"{MUCH}; import time; time.sleep(600)"
BOMB = """
    import os
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""
HOG = """
    import os
    while True:
        if (pid := os.fork()) == 0:
            x = []
            while True:
                x.append(b"x" * (1 << 20))
        os.waitpid(pid, 0)
"""
FILLER = """
    n = 0
    while True:
        with open(f"/workspace/{n}", "wb") as file:
            file.write(bytes(1 << 20))
        n += 1
"""
SPINNER = """
    import os
    for _ in range(20):
        if os.fork() == 0:
            os.setsid()
            while True:
                pass
    os.wait()
"""


def started(sandbox: Sandbox, script: str) -> Process:
    return sandbox.start(["python3", "-c", textwrap.dedent(script)])


def test_no_sandbox_keeps_another_from_its_work(server: Server) -> None:
    create: Callable[[dict[str, Any]], Sandbox] = server.client.create_sandbox
    with ExitStack() as stack:
        made = [
            stack.enter_context(create({"image": "host", **limits}))
            for limits in (
                {"pids_limit": 50},
                {"mem_limit": "128m"},
                {"storage_opt": {"size": "20m"}},
                {},
                {},
            )
        ]
        *hostile, other = made
        for sandbox, script in zip(hostile, (BOMB, HOG, FILLER, SPINNER), strict=True):
            started(sandbox, script)
        answers = [other.exec(["echo", str(n)]).stdout for n in range(20)]
        assert answers == [f"{n}\n" for n in range(20)]
        with server.client.create_sandbox({"image": "host"}) as late:
            assert late.exec("echo late").stdout == "late\n"
        assert other.stats().memory < 64 << 20
        with pytest.raises(errors.SandboxFailedError, match="bytes of disk"):
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                hostile[2].exec("true")


def test_memory_is_not_to_be_had(server: Server) -> None:
    with server.client.create_sandbox({"image": "host", "mem_limit": "128m"}) as sandbox:
        result = sandbox.exec(["python3", "-c", FOR_LONG])
        assert (result.signal, result.out_of_memory, result.stdout) == (9, True, "")
        assert started(sandbox, FOR_LONG).result().out_of_memory
        with pytest.raises(errors.ExecFailedError, match=r"137\. It was killed: .* no memory left"):
            sandbox.exec(["python3", "-c", FOR_LONG], check=True)
        assert sandbox.stats().memory_limit == 128 << 20


def test_without_limits_it_is(mode: str) -> None:
    with (
        serving(mode, "no_limits") as weak,
        weak.client.create_sandbox({"image": "host", "mem_limit": "128m"}) as sandbox,
    ):
        assert sandbox.exec(["python3", "-c", MUCH]).stdout == "160\n"


def test_a_sandbox_that_used_all_is_gone_by_that_name(server: Server) -> None:
    with (
        server.client.create_sandbox({"image": "host", "mem_limit": "32m"}) as sandbox,
        pytest.raises(errors.SandboxOutOfMemoryError),
    ):
        for n in range(200):
            sandbox.exec(f"head -c 8m /dev/zero > /dev/shm/{n}")


def test_processors(mode: str, server: Server) -> None:
    service = {"image": "host", "cpus": 0.2}
    if mode == "user":
        with pytest.raises(errors.NotSupportedError, match="cpus"):
            server.client.create_sandbox(service)
        return
    with server.client.create_sandbox(service) as sandbox:
        spin = "import time; end = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
        before = sandbox.stats().cpu_seconds
        sandbox.exec(["python3", "-c", spin])
        assert sandbox.stats().cpu_seconds - before < 0.6
