"""What a process made and did not destroy goes with it, whichever server it is on."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from .command_line import GUARD, serve
from .command_line import unconfigured as unconfigured

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the servers need Linux")


@contextmanager
def program(path: Path, body: str, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """Start a program, which is shown every warning."""
    path.write_text(textwrap.dedent(body))
    command = [sys.executable, "-W", "default", str(path), *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def warned(path: Path, said: str) -> list[str]:
    """Return the lines of a program that its warnings name."""
    lines = path.read_text().splitlines()
    pattern = rf"{re.escape(str(path))}:(\d+): ResourceWarning: sandbox .* was not destroyed"
    return [lines[int(number) - 1].strip() for number in re.findall(pattern, said)]


MANY = """
    import asyncio, multiprocessing, os, sys
    from lunette import LunetteClient

    HOST = {"image": "host"}

    def make_some(url):
        client = LunetteClient(base_url=url)
        left = client.create_sandbox(HOST)
        expired = client.create_sandbox(HOST, ttl=0.01)
        destroyed = client.create_sandbox(HOST)
        destroyed.destroy()
        with client.create_sandbox(HOST), client.create_sandbox(HOST) as kept:
            kept.detach()
        by_id = client.create_sandbox(HOST)
        assert client.stop_sandboxes([by_id.sandbox_id]).failed == []
        elsewhere = client.create_sandbox(HOST)
        client.get_sandbox(elsewhere.sandbox_id).destroy()
        while expired.sandbox_id in {info.sandbox_id for info in client.list_sandboxes()}:
            pass
        assert client.get_sandbox(kept.sandbox_id).service == HOST
        print(kept.sandbox_id)
        client.close()

    async def make_more(url):
        async with LunetteClient(base_url=url) as client:
            awaited = await client.create_sandbox(HOST)
            await asyncio.gather(client.create_sandbox(HOST))
            async with await client.create_sandbox(HOST):
                pass

    def make_one(url):
        of_a_child = LunetteClient(base_url=url).create_sandbox(HOST)

    child = multiprocessing.get_context("fork").Process(target=make_one, args=sys.argv[2:])
    child.start()
    child.join()
    assert child.exitcode == 0
    for url in sys.argv[1:]:
        make_some(url)
        asyncio.run(make_more(url))
    if os.fork() == 0:
        sys.exit()
    assert os.wait()[1] == 0
"""
OF_A_CHILD = "of_a_child = LunetteClient(base_url=url).create_sandbox(HOST)"
LEFT = [
    "left = client.create_sandbox(HOST)",
    "awaited = await client.create_sandbox(HOST)",
    "asyncio.run(make_more(url))",  # a task of its own has no line that called it
]
ONE = """
    import logging, sys
    from lunette import LunetteClient

    logging.basicConfig()
    LunetteClient(base_url=sys.argv[1]).create_sandbox({"image": "host"})
    print("made", flush=True)
    sys.stdin.readline()
"""


def test_what_is_left_is_destroyed_and_named(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    with serve("--uds", f"{tmp_path}/sock") as serving:
        url = serving.said["LUNETTE_BASE_URL"]
        with program(path, MANY, "embedded", url) as process:
            ids, said = process.communicate(timeout=GUARD)
        assert process.returncode == 0, said
        assert warned(path, said) == [OF_A_CHILD, *LEFT, *LEFT]
        transport = httpx.HTTPTransport(uds=f"{tmp_path}/sock")
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            found = client.get("/sandboxes").json()["sandboxes"]
        assert [info["sandbox_id"] for info in found] == ids.split()[1:]
        with program(path, ONE, url) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "made\n"
            serving.process.kill()
            serving.process.wait()
            _, said = process.communicate("\n", timeout=GUARD)
        assert process.returncode == 0
        assert "sandboxes may be left on unix://" in said
        assert warned(path, said) == []
        assert "Traceback" not in said
