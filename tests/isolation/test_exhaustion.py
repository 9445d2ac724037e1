"""Commands are ended where a sandbox makes that long, and where the server has little left."""

from __future__ import annotations

import textwrap

import pytest
from engines import Box, Engine, driving

SIZE = (24, 80)


LARGE_ENVIRONMENTS = """
    import ctypes, os, resource, sys, time
    if sys.argv[-1] != "large":
        _, hard = resource.getrlimit(resource.RLIMIT_STACK)
        resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, hard))
        words = [sys.executable, "-c", sys.orig_argv[2], "large"]
        os.execve(words[0], words, {f"V{n}": "A" * 131_000 for n in range(44)})
    fields = open("/proc/self/stat").read().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    assert end - start > 5_000_000
    ctypes.memset(start, 0, end - start)
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(600)
    print("up", flush=True)
    time.sleep(600)
"""


def test_large_environments_hold_no_signal_up(box: Box) -> None:
    large = ["python3", "-c", textwrap.dedent(LARGE_ENVIRONMENTS)]
    box.run(large, {"until": "up"}, background=True)
    ran = box.run(
        "trap 'echo heard' TERM; echo up; while :; do sleep 0.02; done",
        {"until": "up"},
        {"signal": 15},
        {"until": "heard"},
        {"kill": True},
    )
    assert ran.signal == 9


def test_no_thread_of_the_loop_is_needed(box: Box) -> None:
    ran = box.run(
        "trap 'echo heard' TERM; echo up; while :; do sleep 0.02; done",
        {"until": "up"},
        {"threads": True},
        {"signal": 15},
        {"until": "heard"},
        {"kill": True},
        {"threads": False},
    )
    assert ran.signal == 9


@pytest.mark.parametrize("free", [0, 1, 2])
def test_a_kill_needs_no_descriptor_of_the_server(box: Box, free: int) -> None:
    box.run("exec sleep 601", {"until": ""}, background=True)
    ran = box.run(
        "trap '' TERM; echo up; sleep 602; true",
        {"until": "up"},
        {"descriptors": free},
        {"kill": True},
        {"descriptors": None},
    )
    assert ran.signal == 9
    assert box.run("pgrep -f 'sleep 60[2]'").code == 1
    assert box.run("ps -o stat= -C sleep").output.strip() == "Ss"


def test_a_terminal_without_a_descriptor_starts_nothing(engine: Engine, box: Box) -> None:
    refused, sign = run_without_descriptors(engine, box)
    assert refused.startswith("NoCapacityError: nothing was sent")
    assert box.run(f"cat {sign}").code == 1


def test_what_started_without_its_terminal_is_ended(mode: str) -> None:
    with driving(mode, "no_room_held") as engine, engine.sandbox() as box:
        refused, _ = run_without_descriptors(engine, box)
        assert refused == "NoCapacityError: the server has no room for another terminal"
        assert box.run("pgrep -x sleep").code == 1
        assert box.run("tty", terminal=SIZE).output == "/dev/pts/0\r\n"


def run_without_descriptors(engine: Engine, box: Box) -> tuple[str, str]:
    """Return why a command was refused, and the name of the file that it makes.

    What the engine was busy with gives descriptors back, which are taken before the next try.
    """
    try:
        for sign in (f"ran{number}" for number in range(20)):
            engine.ask({"op": "descriptors", "free": 0})
            script = f"trap '' HUP; echo ran > {sign}; sleep 603; true"
            if refused := box.run(script, {"kill": True}, terminal=SIZE).error:
                return refused, sign
    finally:
        engine.ask({"op": "descriptors", "free": None})
    pytest.fail("there was always room")
