"""The check at the end of a run finds what is left, and what ends well leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .leaks import left_behind, wait_until_nothing_is_left

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads Linux's /proc")

SANDBOX = """
import lunette, os, signal, sys
client = lunette.LunetteClient(base_url="embedded")
sandbox = client.create_sandbox({"image": "host"})
print(sandbox.exec("echo ready; sleep 3600 >/dev/null 2>&1 &").stdout, flush=True)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sandbox.destroy(); client.close()", 0),
        ("raise SystemExit(3)", 3),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_no_end_of_a_client_leaves_anything(end: str, code: int) -> None:
    before = left_behind()
    done = subprocess.run(
        [sys.executable, "-c", SANDBOX + end], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (code, "ready\n\n"), done.stderr
    wait_until_nothing_is_left(before)


def test_a_process_that_nobody_ends_is_found() -> None:
    before = left_behind()
    name = "lunette.server of a test"
    orphan = [sys.executable, "-c", "import time; time.sleep(60)", name]
    starter = f"import subprocess as s; print(s.Popen({orphan!r}, stdout=s.DEVNULL).pid)"
    pid = int(subprocess.check_output([sys.executable, "-W", "ignore", "-c", starter]))
    try:
        until(lambda: any(name in line for line in left_behind() - before))
        with pytest.raises(pytest.fail.Exception, match=f"process {pid}: .*{name}"):
            wait_until_nothing_is_left(before, seconds=0.1)
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_until_nothing_is_left(before)


def test_a_directory_without_an_owner_is_found() -> None:
    before = left_behind()
    directory = Path(tempfile.mkdtemp(prefix="lunette-"))
    try:
        assert f"directory {directory}" in left_behind() - before
    finally:
        directory.rmdir()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
