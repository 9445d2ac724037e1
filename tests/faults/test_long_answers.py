"""What takes long outlives a proxy that cuts idle connections."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import httpx
import pytest

from lunette import ExecTimeoutError, LunetteClient, Sandbox, SandboxFailedError
from lunette.server._guard import Access
from lunette.server.engines.protocol import SandboxGoneError, State, Status

from ..server.conftest import Service
from ..server.host_engine import HostEngine
from .clients import ids, perform
from .draws import Watch
from .proxy import FaultProxy
from .server import Server
from .settings import FOLLOWING, GUARD, HOST, LOG, ONCE, WORLDS

IDLE = 2.0
WAITING = 2.0  # the timeout of a client that waits for half of that


def test_long_answers_outlive_a_proxy_that_cuts_idle_connections(
    server: Server, sandbox: Sandbox
) -> None:
    async def ends(client: Any) -> None:
        command = f"echo ends >> {LOG}; sleep 5; echo done"
        assert (await client.sandbox(sandbox.sandbox_id).exec(command)).stdout == "done\n"

    async def is_ended(client: Any) -> None:
        command = f"echo is ended >> {LOG}; echo begun; sleep 4000"
        with pytest.raises(ExecTimeoutError) as raised:
            await client.sandbox(sandbox.sandbox_id).exec(command, timeout=4)
        assert raised.value.result.stdout == "begun\n"

    watch = Watch()
    cases = list(product(WORLDS, (ends, is_ended), (None, ONCE)))
    with (
        FaultProxy(server.url, draw=watch, idle=IDLE) as proxy,
        ThreadPoolExecutor(len(cases)) as pool,
    ):
        works = [
            pool.submit(perform, world, proxy.url, body, timeout=WAITING, retry=retry)
            for world, body, retry in cases
        ]
        # Who does not follow loses the connection.
        with pytest.raises(httpx.TransportError):
            url = f"{proxy.url}/sandboxes/{sandbox.sandbox_id}/exec"
            httpx.post(url, json={"command": "sleep 4"}, trust_env=False, timeout=GUARD)
        for work in works:
            work.result()
    assert sorted(sandbox.files.read_text(LOG).splitlines()) == ["ends"] * 6 + ["is ended"] * 6
    assert watch.count("^GET .*/processes/") >= 2 * len(cases)


def test_the_making_of_a_sandbox_outlives_it_too(server: Server, direct: LunetteClient) -> None:
    fork_server = server.fork_server()

    def go_on() -> None:
        if watch.count("^GET .*wait=") == 3 * len(WORLDS):
            os.kill(fork_server, signal.SIGCONT)

    async def body(client: Any) -> str:
        # With a name of its own, none is ready that was made ahead of time.
        made = await client.create_sandbox({**HOST, "hostname": "slow"})
        assert (await made.exec("hostname")).stdout == "slow\n"
        return str(made.sandbox_id)

    watch = Watch(seen=go_on)
    os.kill(fork_server, signal.SIGSTOP)
    try:
        with (
            FaultProxy(server.url, draw=watch, idle=IDLE) as proxy,
            ThreadPoolExecutor(len(WORLDS)) as pool,
        ):
            works = [
                pool.submit(perform, world, proxy.url, body, timeout=WAITING) for world in WORLDS
            ]
            made = [work.result() for work in works]
    finally:
        os.kill(fork_server, signal.SIGCONT)
    assert sorted(made) == sorted(ids(direct))
    assert direct.stop_sandboxes(made).failed == []
    assert watch.count("^PUT ") == len(made)


@contextlib.contextmanager
def bent() -> Generator[Service]:
    """Run a server in a thread, whose engine waits with a sandbox, which then fails."""
    service = Service(HostEngine(), Access.over_tcp("key", "127.0.0.1"))
    failed = Status(state=State.FAILED, reason="its init ended")
    service.engine.create_error = SandboxGoneError(failed)
    service.start()
    try:
        service.call(service.engine.create_gate.clear)
        yield service
    finally:
        service.stop()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("timeout", [None, FOLLOWING], ids=["at once", "followed"])
def test_a_sandbox_that_fails_while_it_is_made_is_an_error(
    world: str, timeout: float | None
) -> None:
    async def body(client: Any) -> None:
        with pytest.raises(SandboxFailedError, match="its init ended"):
            await client.create_sandbox(HOST)

    def go_on() -> None:
        if watch.count("^GET .*wait=" if timeout else "^PUT ") == 1:
            service.call(service.engine.create_gate.set)

    watch = Watch(seen=go_on)
    with bent() as service, FaultProxy(service.url, draw=watch) as proxy:
        perform(world, proxy.url, body, timeout=timeout, api_key="key")
