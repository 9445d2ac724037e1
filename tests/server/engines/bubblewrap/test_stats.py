"""What processes use, as /proc says it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator

import pytest

from lunette.server.engines.bubblewrap._proc import Proc, Reserve
from lunette.server.engines.bubblewrap._stats import Usage, usage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is a /proc")

# A child that ends after a while of work, then one that holds memory beside a thread, some of it in
# files without a name, of which it has mapped one.
PARENT = """
import subprocess, sys, threading
work = "import time; end = time.process_time() + 0.2\\nwhile time.process_time() < end: pass"
subprocess.run([sys.executable, "-c", work])
hold = '''
import mmap, os, sys, threading
held = b"x" * (64 << 20)
files = [os.memfd_create("held") for _ in range(2)]
for file in files:
    os.write(file, b"x" * (32 << 20))
mapped = mmap.mmap(files[0], 32 << 20)
sum(mapped[::4096])
threading.Thread(target=sys.stdin.read, daemon=True).start()
print("up", flush=True)
threading.Event().wait()
'''
subprocess.run([sys.executable, "-c", hold])
"""


@pytest.fixture
def parent() -> Generator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        for found in _measure(process).memory:
            subprocess.run(["kill", "-9", str(found.pid)], check=True)


def _measure(parent: subprocess.Popen[bytes]) -> Usage:
    reserve = Reserve()
    try:
        return usage(Proc(time.monotonic() + 20, reserve), root=parent.pid, pid1=0)
    finally:
        reserve.close()


def test_what_is_there_and_what_has_ended_is_counted(parent: subprocess.Popen[bytes]) -> None:
    found = _measure(parent)
    assert found.threads == 2
    assert found.cpu_seconds >= 0.15
    (memory,) = found.memory.values()
    assert 128 <= memory >> 20 < 160


def test_who_is_not_there_uses_nothing() -> None:
    with subprocess.Popen(["true"], stdin=subprocess.DEVNULL) as child:
        pass
    assert _measure(child) == Usage(cpu_seconds=0, threads=0, memory={})
