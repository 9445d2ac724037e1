"""Ctrl-C ends the command that the process waits for, and the process."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Generator

import pytest

from lunette import Sandbox

from ..embedded import until
from .commands import Lasting
from .draws import KILLS, cuts
from .plans import Plan, script
from .proxy import FaultProxy
from .server import Server
from .settings import GUARD, SEED, WORLDS

CHILD = """
import signal, sys, anyio
from lunette import AsyncLunetteClient, LunetteClient, RetryPolicy, Sandbox
signal.signal(signal.SIGINT, signal.default_int_handler)
command, world, name, url = sys.argv[1:]

async def awaited():
    async with AsyncLunetteClient(base_url=url) as client:
        await Sandbox(client, name).aexec(command)

if world == "blocking":
    Sandbox(LunetteClient(base_url=url), name).exec(command)
else:
    anyio.run(awaited, backend=world)
"""


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("places", [[], ["request head", "answered"]])
def test_ctrl_c_ends_the_command(
    world: str, places: list[str], server: Server, sandbox: Sandbox
) -> None:
    command = Lasting()
    with FaultProxy(server.url, seed=SEED, draw=cuts(*places, only=KILLS)) as proxy:
        with interrupted(command, world, sandbox, proxy.url) as child:
            errors = child.communicate(timeout=GUARD)[1]
        assert not command.lives
        assert proxy.cuts == len(places)
    assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("world", WORLDS)
def test_ctrl_c_does_not_wait_for_a_server_that_does_not_answer(
    world: str, server: Server, sandbox: Sandbox
) -> None:
    command = Lasting()
    never = Plan(kind="delay", direction="request", at=0, pause=2 * GUARD)
    with (
        FaultProxy(server.url, draw=script(*[never] * 9, only=KILLS)) as proxy,
        interrupted(command, world, sandbox, proxy.url) as child,
    ):
        errors = child.communicate(timeout=GUARD)[1]
    assert errors.rstrip().endswith("KeyboardInterrupt")


@contextlib.contextmanager
def interrupted(
    command: Lasting, world: str, sandbox: Sandbox, url: str
) -> Generator[subprocess.Popen[str]]:
    """Run *command* in a process of its own, and send that Ctrl-C."""
    arguments = [sys.executable, "-c", CHILD, command.text, world, sandbox.sandbox_id, url]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as child:
        try:
            until(lambda: command.lives)
            child.send_signal(signal.SIGINT)
            yield child
        finally:
            child.kill()
