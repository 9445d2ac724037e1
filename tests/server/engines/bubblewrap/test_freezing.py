"""Sandboxes that are paused, by a root server and an ordinary user's."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from lunette.server.engines.bubblewrap import _freezer
from lunette.server.engines.bubblewrap._freezer import Freezer, Freezers
from lunette.server.engines.bubblewrap._limits_cgroup1 import hierarchies
from lunette.server.engines.bubblewrap._limits_groups import put, value
from lunette.server.engines.bubblewrap.engine import BubblewrapEngine
from lunette.server.engines.protocol import Command, SandboxSpec, State

from ....isolation.engines import Box

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make control groups")

# Where groups of version 2 can be made that freeze: without such, SIGSTOP has to do.
GROUPS = [
    path.parent
    for path in (Path("/sys/fs/cgroup/cgroup.procs"), Path("/sys/fs/cgroup/unified/cgroup.procs"))
    if path.exists() and os.access(path, os.W_OK)
]
SPIN = "echo up; while :; do :; done"


def test_nothing_runs_in_a_paused_sandbox(box: Box) -> None:
    box.run(SPIN, {"until": "up"}, background=True)
    assert box.pause() == box.pause() == "paused"
    before = box.stats()
    time.sleep(0.2)  # what does not happen cannot be awaited
    after = box.stats()
    assert after["cpu_seconds"] < before["cpu_seconds"] + 0.05
    assert after["processes"] == before["processes"] >= 3
    assert (box.run("true").error or "").startswith("SandboxPausedError")
    assert box.pause(False) == box.pause(False) == "running"
    assert box.run("exit 3").code == 3
    while box.stats()["cpu_seconds"] < after["cpu_seconds"] + 0.05:
        time.sleep(0.01)


def test_what_had_stopped_before_stays_so(box: Box) -> None:
    script = "sleep 60 & kill -STOP $!; echo $!; wait"
    pid = box.run(script, {"until": "\n"}, background=True).stdout.strip()
    state = f"until grep -q '^State:.T' /proc/{pid}/status; do :; done; echo stopped"
    assert box.run(state).stdout == "stopped\n"
    box.pause()
    box.pause(False)
    assert box.run(f"grep State: /proc/{pid}/status").stdout.split()[1] == "T"


def test_a_command_of_a_paused_sandbox_can_be_killed(box: Box) -> None:
    kept = box.run("sleep 60 & echo $!; wait", {"until": "\n"}, background=True).stdout.strip()
    ran = box.run(SPIN, {"until": "up"}, {"pause": True}, {"kill": 1})
    assert (ran.code, ran.signal) == (137, 9)
    assert box.pause() == "paused"
    box.pause(False)
    assert box.run(f"kill -0 {kept}").code == 0


def test_a_shell_sees_nothing_of_it(box: Box) -> None:
    """Its children go on before it can see that they were stopped."""
    script = "set -m; sleep 60 & echo up; read line; jobs"
    steps = ({"until": "up"}, {"pause": True}, {"pause": False}, {"write": "x\n"})
    ran = box.run(["bash", "-c", script], *steps)
    assert "Running" in ran.stdout and "Stopped" not in ran.stdout


# A timer sends SIGCONT to who asked for it, stopped or not.
WAKER = """
import ctypes, os, signal

signal.signal(signal.SIGCONT, lambda *_: None)
libc = ctypes.CDLL(None, use_errno=True)
event = (ctypes.c_int * 16)(0, 0, signal.SIGCONT, 0)
for first in range(1, 9):  # a signal that a SIGSTOP meets on its way ends its timer
    timer = ctypes.c_void_p()
    assert libc.timer_create(1, event, ctypes.byref(timer)) == 0
    every = (ctypes.c_long * 4)(0, 300_000_000, 0, first * 37_000_000)
    assert libc.timer_settime(timer, 0, every, None) == 0
os.write(1, b"up")
while True:
    pass
"""


def test_what_wakes_itself_is_held_or_ended(box: Box, mode: str) -> None:
    box.run(["python3", "-c", WAKER], {"until": "up"}, background=True)
    assert box.pause() == "paused"
    if mode == "user" or not GROUPS:  # nothing can hold it
        while (state := box.look())["state"] == "paused":
            time.sleep(0.05)
        assert state == {"state": "failed", "reason": "it does not stay paused, but wakes itself"}
        return
    before = box.stats()["cpu_seconds"]
    time.sleep(0.4)
    assert box.stats()["cpu_seconds"] < before + 0.1
    assert box.pause(False) == "running"
    assert box.run("exit 3").code == 3


class _Halting(Freezer):
    """It takes one process, and breaks."""

    def hold(self, pids: Iterable[int]) -> None:
        super().hold([*pids][:1])
        raise OSError("no more")


@only_root
@pytest.mark.skipif(not GROUPS, reason="nothing can freeze")
def test_what_nothing_holds_can_be_killed_without_room_for_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_freezer, "Freezer", _Halting)

    async def main() -> None:
        engine = BubblewrapEngine()
        await engine.start()
        try:
            if engine._limits.name != "cgroup1":
                pytest.skip("there is no such limit to set")
            handle = await engine.create(SandboxSpec(id="one", image="host"))
            spinning = await engine.exec(handle, Command(argv=("sh", "-c", SPIN)))
            await engine.pause(handle)
            sandbox = engine._sandboxes["one"]
            freezer = sandbox._freezing._freezer
            assert freezer is not None and value(freezer._path / "cgroup.freeze") == 0
            pids = hierarchies()["pids"].glob("lunette/*/*/cgroup.procs")
            mine = [p for p in pids if str(sandbox._worker.pid) in p.read_text().split()]
            put(mine[0].with_name("pids.max"), 0)
            await spinning.kill()
            assert (await spinning.wait()).signal == 9
            assert (await engine.inspect(handle)).state is State.PAUSED
        finally:
            await engine.aclose()

    before = os.umask(0o022)
    try:
        asyncio.run(main())
    finally:
        os.umask(before)


@only_root
def test_groups_of_dead_servers_are_removed() -> None:
    if not GROUPS:
        pytest.skip("there is no control group of version 2 to write to")
    home = GROUPS[0] / "lunette"
    left = home / "left"
    (left / "1" / "paused-1").mkdir(parents=True)
    freezers = Freezers()
    freezer = freezers.freezer(os.getpid())
    assert freezer is not None
    freezers.sweep()
    assert not left.exists() and any(home.glob("*/paused-*"))
    freezer.close()
    freezers.close()
    assert not any(home.glob("*/paused-*"))
