"""What it costs to follow a process: the first byte, and much output, against a pipe and Docker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

from containers import container
from measuring import Baseline, Measure, Row, in_turns

from lunette import PIPE, LunetteClient, Process, Sandbox

__all__ = ["first_byte", "throughput"]

# The clock is the same inside: sandboxes have no time namespace.
_CLOCK = "import sys, time\nfor _ in sys.stdin: print(time.monotonic_ns(), flush=True)"
_GIB = 1 << 30


def first_byte(rounds: int) -> Iterator[Row]:
    """How long after it was written a line is in the hands of who follows, embedded server warm."""
    command = [sys.executable, "-c", _CLOCK]
    with (
        LunetteClient(base_url="embedded") as client,
        client.create_sandbox(_HOST) as sandbox,
        sandbox.start(["python3", *command[1:]], input=PIPE) as process,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as local,
    ):
        lines = process.lines()

        def followed() -> float:
            process.write("\n")
            return _since(next(lines))

        measures: dict[str, Measure] = {"lunette": followed, "pipe": partial(_piped, local)}
        times = in_turns(measures, rounds=rounds, warm_up=20)
        lines.close()
        assert local.stdin is not None
        local.stdin.close()
    pipe = Baseline("a pipe", times["pipe"])
    yield Row("first byte of a line", times["lunette"], pipe, most_seconds=0.005)


def throughput(rounds: int) -> Iterator[Row]:
    """Take 1 GiB of a process's output, embedded server warm."""
    print_it = ["head", "-c", str(_GIB), "/dev/zero"]
    with (
        LunetteClient(base_url="embedded") as client,
        client.create_sandbox(_HOST) as sandbox,
        asyncio.Runner() as runner,
        container() as docker,
    ):
        measures: dict[str, Measure] = {
            "blocking": lambda: _blocking(sandbox.start(print_it)),
            "async": lambda: runner.run(_awaited(sandbox, print_it)),
            "pipe": partial(_local, print_it),
        }
        if docker is not None:
            measures["docker"] = partial(_local, [*docker, *print_it])
        times = in_turns(measures, rounds=rounds, warm_up=1)
    names = {"pipe": "a pipe", "docker": "`docker exec`"}
    for world in ("blocking", "async"):
        for name in filter(times.get, names):
            yield Row(f"1 GiB of output, {world}", times[world], Baseline(names[name], times[name]))


_HOST = {"image": "host"}


def _since(line: str | bytes) -> float:
    return (time.monotonic_ns() - int(line)) / 1e9


def _piped(process: subprocess.Popen[bytes]) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    return _since(process.stdout.readline())


def _blocking(process: Process) -> float:
    begin = time.perf_counter()
    assert sum(len(data) for _, data in process) == _GIB
    return time.perf_counter() - begin


async def _awaited(sandbox: Sandbox, command: list[str]) -> float:
    begin = time.perf_counter()
    process = await sandbox.astart(command)
    assert sum([len(data) async for _, data in process]) == _GIB
    return time.perf_counter() - begin


def _local(command: list[str]) -> float:
    begin = time.perf_counter()
    got = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while chunk := process.stdout.read(1 << 20):
            got += len(chunk)
    assert got == _GIB
    return time.perf_counter() - begin
