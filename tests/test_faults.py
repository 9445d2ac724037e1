"""What a bad network does to the verbs, through a real server: nothing is lost or done twice.

Faults are drawn by a seed: `LUNETTE_FAULT_SEED` repeats a run as far as its requests come in the
same order. `LUNETTE_FAULT_CUTS` is how many connections the storms cut, unless the tests of this
file have taken `LUNETTE_FAULT_SECONDS` before.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio
import anyio.to_thread
import httpx
import pytest
import trio
from attrs import define, field, frozen

from lunette import (
    AsyncLunetteClient,
    ExecResult,
    ExecTimeoutError,
    LunetteClient,
    RetryPolicy,
    Sandbox,
    SandboxDestroyedError,
    SandboxFailedError,
)
from lunette._connection import Transport
from lunette._io import run
from lunette.server._guard import Access
from lunette.server.engines.protocol import SandboxGoneError, State, Status

from .embedded import client_of, until
from .fault_proxy import PLACES, Draw, FaultProxy, Kind, Plan, faults, script
from .server.conftest import Service
from .server.host_engine import HostEngine
from .worlds import Facade

SEED = int(os.environ.get("LUNETTE_FAULT_SEED") or random.SystemRandom().randrange(2**32))
SECONDS = float(os.environ.get("LUNETTE_FAULT_SECONDS") or 120)
CUTS = int(os.environ.get("LUNETTE_FAULT_CUTS") or 2000)

ONCE = RetryPolicy(attempts=1)
PATIENT = RetryPolicy(attempts=50, deadline=60, first_delay=0.002, longest_delay=0.02)
HOST = {"image": "host"}
WORLDS = ("blocking", "asyncio", "trio")
# A client with this timeout is answered at once that its command runs, and asks for its end.
FOLLOWING = 1.9
LOG = "/workspace/log"
GUARD = 30.0


@frozen
class Server:
    """A `lunette serve` in a process of its own."""

    path: str
    pid: int
    log: Path
    begun: float = field(factory=time.monotonic)

    def until(self, share: float) -> float:
        """Return when a *share* of the time that is left for this file will be over."""
        now = time.monotonic()
        return now + max(5.0, share * (self.begun + SECONDS - now))

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def fork_server(self) -> int:
        """Return the process that starts every sandbox."""
        for entry in Path("/proc").glob("[0-9]*"):
            if _arguments(entry).startswith("lunette-forkserver"):
                stat = (entry / "stat").read_text()
                if int(stat.rpartition(")")[2].split()[1]) == self.pid:
                    return int(entry.name)
        raise AssertionError("it is not there")


@contextlib.contextmanager
def serving(bend: str = "") -> Generator[Server]:
    """Run a server that the lines *bend* may change before; its log must tell of no accident."""
    main = f"{bend}\nfrom lunette.cli import main; main()"
    with tempfile.TemporaryDirectory(prefix="t-") as directory:
        log = Path(directory, "log")
        command = [sys.executable, "-c", main, "serve", "--uds", f"{directory}/s"]
        command += ["--state", f"{directory}/state", "--engine", "bubblewrap"]
        with log.open("wb") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), log.read_text()
            yield Server(f"{directory}/s", process.pid, log)
        finally:
            process.terminate()
            process.wait(GUARD)
            assert process.stdout is not None
            process.stdout.close()
        assert process.returncode == 0
        assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def seed() -> int:
    """Say what repeats a run: captured, it is shown where a test fails."""
    print(f"LUNETTE_FAULT_SEED={SEED}")
    return SEED


@pytest.fixture
def report(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[[object], None]:
    """Say at once what a storm did, and how long it took."""
    caplog.set_level(logging.CRITICAL, "lunette")  # thousands of attempts
    begun = time.monotonic()

    def say(what: object) -> None:
        with capsys.disabled():
            print(f"\n{time.monotonic() - begun:.1f} s: {what}")

    return say


@pytest.fixture
def direct(server: Server) -> Generator[LunetteClient]:
    """Return a client that goes around the proxy; its test may leave no sandbox."""
    with LunetteClient(base_url=server.url) as client:
        yield client
        left = ids(client)
        client.stop_sandboxes(left)  # the next test begins with none
        assert left == []


@pytest.fixture
def sandbox(direct: LunetteClient) -> Generator[Sandbox]:
    """Return a sandbox that is talked to around the proxy."""
    with direct.create_sandbox(HOST) as sandbox:
        sandbox.files.write_text(LOG, "")
        yield sandbox


T = TypeVar("T")


class Client(Facade):
    """A client whose verbs are awaited, whichever spelling is under them."""

    def sandbox(self, sandbox_id: str) -> Facade:
        return Facade(Sandbox(self._target, sandbox_id), self._spelling)


def perform(
    world: str,
    url: str,
    body: Callable[[Any], Coroutine[Any, Any, T]],
    *,
    timeout: float | None = None,
    retry: RetryPolicy | None = PATIENT,
    transport: Transport = None,
    api_key: str | None = None,
) -> T:
    """Run *body* with a client, blocking or in an event loop."""
    made = LunetteClient(api_key, url, timeout, retry=retry, transport=transport)
    if world == "blocking":
        with made as client:
            return run(body(Client(client, "")))

    async def awaited() -> T:
        async with made as client:
            return await body(Client(client, "a"))

    return anyio.run(awaited, backend=world)


class Watch:
    """A draw that keeps the heads of requests, and when they came."""

    def __init__(self, draw: Draw | None = None, seen: Callable[[], object] = int) -> None:
        self.heads: list[tuple[float, str]] = []
        self._draw = draw or script()
        self._seen = seen

    def __call__(self, chance: random.Random, head: bytes) -> Plan | None:
        self.heads.append((time.monotonic(), head.decode("latin-1")))
        self._seen()
        return self._draw(chance, head)

    def found(self, pattern: str) -> list[re.Match[str]]:
        return [found for _, head in self.heads if (found := re.search(pattern, head))]

    def count(self, pattern: str) -> int:
        return len(self.found(pattern))

    async def saw(self, pattern: str) -> None:
        await anyio.to_thread.run_sync(until, lambda: self.count(pattern) > 0)


def cuts(*places: str, only: str) -> Draw:
    """Cut the first requests that match *only*, each at one of PLACES."""
    chance = random.Random(f"{SEED}/{places}")
    return script(
        *(Plan(kind="cut", note=place, **PLACES[place](chance)) for place in places), only=only
    )


def first_of(*draws: Draw) -> Draw:
    """Do what the first draw says that says anything."""

    def draw(chance: random.Random, head: bytes) -> Plan | None:
        return next((plan for draw in draws if (plan := draw(chance, head))), None)

    return draw


def ids(client: LunetteClient) -> list[str]:
    return [info.sandbox_id for info in client.list_sandboxes()]


class Lasting:
    """A command that leaves a line in the log and lasts until somebody ends it."""

    def __init__(self) -> None:
        self._name = f"4000.{uuid.uuid4().int % 10**12:012}"
        self.text = f"echo once >> {LOG}; sleep {self._name}"

    @property
    def lives(self) -> bool:
        """Whether any process of it does, on this whole machine."""
        return any(_arguments(entry).endswith(self._name) for entry in Path("/proc").glob("[0-9]*"))

    async def begun(self) -> None:
        await anyio.to_thread.run_sync(until, lambda: self.lives)

    async def ended(self) -> None:
        await anyio.to_thread.run_sync(until, lambda: not self.lives)


def _arguments(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:  # it ended
        return ""


# Chosen places


@define
class Scene:
    """One verb under attack: it goes through the proxy, what it did is looked at directly."""

    client: Any
    sandbox: Any
    direct: LunetteClient
    inside: Sandbox

    def log(self) -> str:
        return self.inside.files.read_text(LOG)

    async def exec(self) -> None:
        result = await self.sandbox.exec(f"echo once >> {LOG}; echo out; exit 3")
        assert (result.stdout, result.exit_code, self.log()) == ("out\n", 3, "once\n")

    async def create(self) -> None:
        made = await self.client.create_sandbox(HOST)
        names = set(ids(self.direct))
        assert names == {self.inside.sandbox_id, made.sandbox_id}
        assert (await made.exec("echo out")).stdout == "out\n"
        Sandbox(self.direct, made.sandbox_id).destroy()

    async def destroy(self) -> None:
        other = self.direct.create_sandbox(HOST)
        await self.client.sandbox(other.sandbox_id).destroy()
        names = ids(self.direct)
        assert names == [self.inside.sandbox_id]
        with pytest.raises(SandboxDestroyedError):
            other.exec("true")

    async def kill(self) -> None:
        command = Lasting()
        async with anyio.create_task_group() as group:
            group.start_soon(self.sandbox.exec, command.text)
            await command.begun()
            group.cancel_scope.cancel()
        assert not command.lives
        assert self.log() == "once\n"

    async def list(self) -> None:
        assert [info.sandbox_id for info in await self.client.list_sandboxes()] == [
            self.inside.sandbox_id
        ]

    async def upload(self) -> None:
        data = random.Random(SEED).randbytes(300_000)
        await self.sandbox.files.write_bytes("file", data)
        assert self.inside.files.read_bytes("file") == data
        assert self.inside.exec(["ls", "-A"]).stdout == "file\nlog\n"

    async def read(self) -> None:
        data = random.Random(SEED).randbytes(300_000)
        self.inside.files.write_bytes("file", data)
        assert await self.sandbox.files.read_bytes("file") == data

    async def play(self, verb: str) -> None:
        await getattr(self, verb)()


REQUESTS = {
    "exec": "^POST .*/exec ",
    "create": "^PUT /sandboxes/[^/]* ",
    "destroy": "^DELETE /sandboxes/[^/]* ",
    "kill": "^DELETE .*/processes/",
    "list": "^GET /sandboxes ",
    "upload": "^PUT .*/files",
    "read": "^GET .*/files",
}


def play(world: str, verb: str, proxy: FaultProxy, inside: Sandbox, direct: LunetteClient) -> None:
    async def body(client: Any) -> None:
        await Scene(client, client.sandbox(inside.sandbox_id), direct, inside).play(verb)

    perform(world, proxy.url, body)


in_each_way = pytest.mark.parametrize(
    ("world", "verb"),
    # A blocking call is cancelled by Ctrl-C, which is a test of its own.
    [(w, v) for w in ("blocking", "asyncio") for v in REQUESTS if (w, v) != ("blocking", "kill")],
)


@in_each_way
@pytest.mark.parametrize("place", PLACES)
def test_wherever_it_is_cut_it_is_done_once(
    world: str, verb: str, place: str, server: Server, direct: LunetteClient, sandbox: Sandbox
) -> None:
    draw = cuts(place, place, only=REQUESTS[verb])
    with FaultProxy(server.url, seed=SEED, draw=draw) as proxy:
        play(world, verb, proxy, sandbox, direct)
        assert proxy.cuts


@pytest.mark.parametrize("verb", REQUESTS)
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("answer", ["first", "second"])
def test_what_comes_twice_is_done_once(
    verb: str,
    later: bool,
    answer: Literal["first", "second"],
    server: Server,
    direct: LunetteClient,
    sandbox: Sandbox,
) -> None:
    twice = Plan(kind="duplicate", later=later, answer=answer)
    with FaultProxy(server.url, draw=script(twice, only=REQUESTS[verb])) as proxy:
        play("asyncio", verb, proxy, sandbox, direct)
        proxy.settle()
        assert proxy.counts["duplicate"] == 1
    (other,) = proxy.thrown_away
    assert int(other.split()[1]) < 300


# Long answers

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


# Cancellation

Call = Callable[[], Coroutine[Any, Any, Any]]


async def cancel_task(call: Call, command: Lasting) -> None:
    task = asyncio.create_task(call())
    await command.begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_by_timeout(call: Call, command: Lasting) -> None:
    async def ring(clock: asyncio.Timeout) -> None:
        await command.begun()
        clock.reschedule(0)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as clock, asyncio.TaskGroup() as group:
            group.create_task(ring(clock))
            await call()


async def cancel_scope(call: Call, command: Lasting) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await command.begun()
        group.cancel_scope.cancel()


async def cancel_nursery(call: Call, command: Lasting) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await command.begun()
        nursery.cancel_scope.cancel()


WAYS = [
    ("asyncio", cancel_task),
    ("asyncio", cancel_by_timeout),
    ("asyncio", cancel_scope),
    ("trio", cancel_scope),
    ("trio", cancel_nursery),
]
KILLS = "^DELETE .*/processes/"


@pytest.mark.parametrize(("world", "way"), WAYS)
@pytest.mark.parametrize("places", [[], ["request head"], ["delivered"], ["answered"] * 3])
def test_what_is_cancelled_is_dead(
    world: str,
    way: Callable[[Call, Lasting], Coroutine[Any, Any, None]],
    places: list[str],
    server: Server,
    sandbox: Sandbox,
) -> None:
    command = Lasting()

    async def body(client: Any) -> None:
        inside = client.sandbox(sandbox.sandbox_id)
        await way(partial(inside.exec, command.text), command)
        assert not command.lives

    with FaultProxy(server.url, seed=SEED, draw=cuts(*places, only=KILLS)) as proxy:
        perform(world, proxy.url, body)
        assert proxy.cuts == len(places)
    assert sandbox.files.read_text(LOG) == "once\n"


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_a_command_that_arrives_after_its_end_is_not_started(
    world: str, server: Server, sandbox: Sandbox
) -> None:
    late = Plan(kind="delay", direction="request", at=0, pause=0.2)
    watch = Watch(script(late, only=REQUESTS["exec"]))

    async def body(client: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(client.sandbox(sandbox.sandbox_id).exec, f"echo once >> {LOG}")
            await watch.saw("^POST ")
            group.cancel_scope.cancel()
        (key,) = {found[1] for found in watch.found(rf"{KILLS}(\S+)")}
        # As the one that is on its way will be answered.
        with client_of(server.path) as http:
            path = f"/sandboxes/{sandbox.sandbox_id}/exec"
            again = http.post(path, json={"command": "true"}, headers={"Idempotency-Key": key})
        assert (again.status_code, again.json()["code"]) == (409, "key_given_up")

    with FaultProxy(server.url, draw=watch) as proxy:
        perform(world, proxy.url, body)
    assert sandbox.files.read_text(LOG) == ""


@pytest.mark.parametrize("world", ["asyncio", "trio"])
@pytest.mark.parametrize("direction", ["request", "answer"])
@pytest.mark.parametrize("places", [[], ["request head"], ["delivered"]])
def test_a_cancelled_create_leaves_nothing(
    world: str,
    direction: Literal["request", "answer"],
    places: list[str],
    server: Server,
    direct: LunetteClient,
) -> None:
    late = Plan(kind="delay", direction=direction, at=0, pause=0.2)
    watch = Watch(first_of(script(late, only="^PUT "), cuts(*places, only="^DELETE ")))

    async def body(client: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(client.create_sandbox, HOST)
            await watch.saw("^PUT ")
            group.cancel_scope.cancel()
        assert ids(direct) == []
        (path,) = {found[1] for found in watch.found(r"^DELETE (\S+)")}
        with client_of(server.path) as http:
            again = http.put(path, json={"service": HOST})
        assert (again.status_code, again.json()["code"]) == (410, "sandbox_destroyed")

    with FaultProxy(server.url, seed=SEED, draw=watch) as proxy:
        perform(world, proxy.url, body)
        assert proxy.cuts == len(places)


@pytest.mark.parametrize("end", ["none", "client", "loop"])
@pytest.mark.parametrize("kind", ["delay", "cut"])
def test_who_is_cancelled_twice_ends_the_command_all_the_same(
    end: str, kind: Literal["delay", "cut"], server: Server, sandbox: Sandbox
) -> None:
    """Also if the second time is the *end* of the client, or of the event loop."""
    command = Lasting()
    plan = Plan(kind=kind, direction="request", at=0, pause=0.3, reset=True)
    watch = Watch(script(plan, only=KILLS))
    slow = RetryPolicy(first_delay=0.6)  # the second time comes before the next attempt

    async def call(client: LunetteClient) -> None:
        await Sandbox(client, sandbox.sandbox_id).aexec(command.text)

    async def open_and_call(client: LunetteClient) -> None:
        async with client as opened:
            await call(opened)

    async def main(client: LunetteClient) -> None:
        task = asyncio.create_task(open_and_call(client) if end == "client" else call(client))
        await command.begun()
        task.cancel()
        await watch.saw(KILLS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if end != "loop":
            await command.ended()

    with FaultProxy(server.url, draw=watch) as proxy:
        asyncio.run(main(LunetteClient(base_url=proxy.url, retry=slow)))
        until(lambda: not command.lives)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_scoped_sandbox_ends_whatever_happens_in_it(
    world: str, error: type[BaseException], server: Server, direct: LunetteClient
) -> None:
    def blocking(url: str) -> None:
        with LunetteClient(base_url=url) as client, client.create_sandbox(HOST) as sandbox:
            sandbox.exec("true")
            raise error

    async def awaited(url: str) -> None:
        async with (
            AsyncLunetteClient(base_url=url) as client,
            await client.create_sandbox(HOST) as sandbox,
        ):
            await sandbox.aexec("true")
            raise error

    draw = cuts("request head", "delivered", only="^DELETE ")
    with FaultProxy(server.url, seed=SEED, draw=draw) as proxy, pytest.raises(error):
        if world == "blocking":
            blocking(proxy.url)
        else:
            anyio.run(awaited, proxy.url, backend=world)
    assert proxy.cuts == 2
    assert ids(direct) == []


@pytest.mark.parametrize("world", ["asyncio", "trio"])
@pytest.mark.parametrize("direction", ["request", "answer"])
def test_a_scoped_sandbox_ends_though_its_end_is_cancelled(
    world: str,
    direction: Literal["request", "answer"],
    server: Server,
    direct: LunetteClient,
) -> None:
    late = Plan(kind="delay", direction=direction, at=0, pause=0.2)
    watch = Watch(script(late, only="^DELETE "))

    async def life(client: AsyncLunetteClient) -> None:
        async with await client.create_sandbox(HOST):
            pass

    async def main(url: str) -> None:
        async with (
            AsyncLunetteClient(base_url=url) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(life, client)
            await watch.saw("^DELETE ")
            group.cancel_scope.cancel()
        assert ids(direct) == []

    with FaultProxy(server.url, draw=watch) as proxy:
        anyio.run(main, proxy.url, backend=world)


def test_a_scoped_sandbox_ends_however_often_it_is_cancelled(
    server: Server, direct: LunetteClient
) -> None:
    late = Plan(kind="delay", direction="request", at=0, pause=0.2)
    watch = Watch(script(late, late, only="^DELETE "))

    async def life(client: AsyncLunetteClient) -> None:
        async with await client.create_sandbox(HOST) as sandbox:
            await sandbox.aexec("sleep 4000")

    async def main(url: str) -> None:
        async with AsyncLunetteClient(base_url=url) as client:
            task = asyncio.create_task(life(client))
            for request in ("^POST ", KILLS, "^DELETE /sandboxes/[^/]* "):
                await watch.saw(request)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await anyio.to_thread.run_sync(until, lambda: ids(direct) == [])

    with FaultProxy(server.url, draw=watch) as proxy:
        asyncio.run(main(proxy.url))


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


# The policy


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("place", PLACES)
def test_without_retries_a_cut_is_an_error_and_nothing_goes_on(
    world: str, place: str, server: Server, sandbox: Sandbox, direct: LunetteClient
) -> None:
    command = Lasting()

    async def body(client: Any) -> None:
        with pytest.raises(httpx.TransportError):
            await client.sandbox(sandbox.sandbox_id).exec(command.text)
        assert not command.lives
        with pytest.raises(httpx.TransportError):
            await client.create_sandbox(HOST)
        assert ids(direct) == [sandbox.sandbox_id]

    watch = Watch(first_of(*(cuts(place, only=REQUESTS[verb]) for verb in ("exec", "create"))))
    with FaultProxy(server.url, seed=SEED, draw=watch) as proxy:
        perform(world, proxy.url, body, timeout=FOLLOWING, retry=ONCE)
        assert proxy.cuts == 2
    assert (watch.count("^POST .*/exec "), watch.count("^PUT ")) == (1, 1)
    assert sandbox.files.read_text(LOG) in {"", "once\n"}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(
    "second", [httpx.ConnectError("no way"), 429, 403], ids=["unreachable", "shed", "forbidden"]
)
@pytest.mark.parametrize("verb", ["exec", "create"])
def test_what_a_lost_attempt_began_is_ended_though_the_last_began_nothing(
    world: str,
    second: Exception | int,
    verb: str,
    server: Server,
    sandbox: Sandbox,
    direct: LunetteClient,
) -> None:
    command = Lasting()

    async def body(client: Any) -> None:
        with pytest.raises(httpx.HTTPError):
            if verb == "exec":
                await client.sandbox(sandbox.sandbox_id).exec(command.text)
            else:
                await client.create_sandbox(HOST)
        assert not command.lives
        assert ids(direct) == [sandbox.sandbox_id]

    perform(
        world,
        server.url,
        body,
        timeout=FOLLOWING,
        retry=RetryPolicy(attempts=2, first_delay=0.001),
        transport=Lossy(server.path, second),
    )


class Lossy(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Loses the answer to a POST or PUT, and fails with the *second* of the same kind."""

    def __init__(self, path: str, second: Exception | int) -> None:
        self._path, self._second = path, second
        self._seen: Counter[str] = Counter()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._seen[request.method] += 1
        if request.method not in {"POST", "PUT"} or self._seen[request.method] == 1:
            answer = self._ask(request)
            if request.method in {"POST", "PUT"}:
                raise httpx.ReadError("lost", request=request)
            return answer
        if isinstance(self._second, int):
            return httpx.Response(self._second, request=request)
        raise self._second

    def _ask(self, request: httpx.Request) -> httpx.Response:
        with client_of(self._path) as client:
            answer = client.send(request)
        return httpx.Response(answer.status_code, content=answer.content, request=request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return await anyio.to_thread.run_sync(self.handle_request, request)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", ["cut", "delay"])
def test_the_deadline_is_kept(
    world: str, kind: Literal["cut", "delay"], server: Server, sandbox: Sandbox
) -> None:
    cut = Plan(kind="cut", direction="request", at=0)
    then = Plan(kind=kind, at=0, pause=2 * GUARD)
    watch = Watch(script(cut, *[then] * 1000, only=REQUESTS["exec"]))
    retry = RetryPolicy(attempts=10**6, deadline=0.5, first_delay=0.01, longest_delay=0.02)

    async def body(client: Any) -> None:
        with pytest.raises(httpx.TransportError):
            await client.sandbox(sandbox.sandbox_id).exec("true")

    begun = time.monotonic()
    with FaultProxy(server.url, draw=watch) as proxy:
        perform(world, proxy.url, body, retry=retry)
    assert time.monotonic() - begun < GUARD
    assert watch.count("^POST ") >= (5 if kind == "cut" else 2)


@pytest.mark.parametrize("world", WORLDS)
def test_without_a_key_a_post_is_not_repeated(world: str, server: Server, sandbox: Sandbox) -> None:
    watch = Watch(cuts("delivered", only="^POST "))

    async def body(client: Any) -> None:
        with pytest.raises(httpx.TransportError):
            await client.stop_sandboxes([sandbox.sandbox_id])

    with FaultProxy(server.url, seed=SEED, draw=watch) as proxy:
        perform(world, proxy.url, body)
    assert watch.count("^POST ") == 1


@pytest.mark.parametrize("world", ["asyncio", "trio"])
@pytest.mark.parametrize("verb", ["exec", "upload"])
def test_a_cut_in_a_large_request_leaves_nothing_behind(
    world: str, verb: str, server: Server, sandbox: Sandbox
) -> None:
    """Warnings are errors: trio warns of asynchronous generators that are not run to their end."""
    data = bytes(8_000_000)
    cut = Plan(kind="cut", direction="request", part="body", at=9, reset=True)

    async def body(client: Any) -> None:
        inside = client.sandbox(sandbox.sandbox_id)
        if verb == "exec":
            assert (await inside.exec("wc -c", input=data)).stdout == "8000000\n"
        else:
            await inside.files.write_bytes("file", data)

    with FaultProxy(server.url, draw=script(cut, only=REQUESTS[verb])) as proxy:
        perform(world, proxy.url, body)
        assert proxy.cuts == 1
    gc.collect()


def test_a_server_that_sheds_is_asked_again_when_it_says_so() -> None:
    bend = "from lunette.server import _load; _load.STARTING_COMMANDS = 1"
    watch = Watch()
    with (
        serving(bend) as server,
        FaultProxy(server.url, draw=watch) as proxy,
        LunetteClient(base_url=proxy.url, retry=PATIENT) as client,
        client.create_sandbox(HOST) as sandbox,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(lambda n: sandbox.exec(f"echo {n} >> {LOG}", check=True), range(24)))
        assert sorted(sandbox.files.read_text(LOG).split()) == sorted(map(str, range(24)))
    pauses = pauses_of(watch)
    assert pauses
    assert min(pauses) >= 1.0


def pauses_of(watch: Watch) -> list[float]:
    """Return the seconds between the attempts of each command."""
    times: dict[str, list[float]] = defaultdict(list)
    for when, head in watch.heads:
        if key := re.search(r"(?i)\r\nidempotency-key: (\S+)", head):
            times[key[1]].append(when)
    return [later - sooner for some in times.values() for sooner, later in pairwise(some)]


# Storms


@frozen
class Errand:
    """A command that leaves its name in the log, and what must come of it."""

    name: str
    command: str
    stdout: bytes
    input: bytes | None = None
    stderr: str = ""
    exit_code: int = 0

    def check(self, result: ExecResult) -> None:
        found = result.stdout_bytes, result.stderr, result.exit_code, result.truncated
        assert found == (self.stdout, self.stderr, self.exit_code, 0)


def errand(chance: random.Random) -> Errand:
    name = uuid.UUID(int=chance.getrandbits(128)).hex
    log, number = f"echo {name} >> {LOG}", chance.randrange(10**9)
    kinds: list[Callable[[], Errand]] = [
        lambda: Errand(name, f"{log}; echo {name}", f"{name}\n".encode()),
        lambda: Errand(name, f"{log}; printf %0200000d {number}", b"%0200000d" % number),
        lambda: Errand(
            name, rf"{log}; printf '\377\376%0100000d' {number}", b"\xff\xfe%0100000d" % number
        ),
        lambda: Errand(name, f"{log}; wc -c", b"100003\n", chance.randbytes(100_003)),
        lambda: Errand(name, f"{log}; echo {name} >&2; exit 3", b"", None, f"{name}\n", 3),
    ]
    return chance.choices(kinds, weights=[6, 1, 1, 1, 1])[0]()


@define
class Storm:
    """Commands without end, until so many connections are cut or the time is over."""

    proxy: FaultProxy
    cuts: int
    until: float
    names: list[str] = field(factory=list)
    failed: bool = False

    @contextlib.contextmanager
    def watched(self) -> Generator[None]:
        try:
            yield
        except BaseException:
            self.failed = True  # nobody has to go on
            raise

    @property
    def over(self) -> bool:
        return self.failed or self.proxy.cuts >= self.cuts or time.monotonic() > self.until

    def errands(self, number: int) -> Generator[Errand]:
        chance = random.Random(f"{self.proxy.seed}/errands {number}")
        with self.watched():
            while not self.over:
                found = errand(chance)
                yield found
                self.names.append(found.name)

    def blow(self, world: str, sandbox_id: str, timeout: float | None) -> None:
        client = LunetteClient(base_url=self.proxy.url, timeout=timeout, retry=PATIENT)
        if world == "blocking":
            self._blow_in_threads(client, sandbox_id)
        else:
            anyio.run(self._blow_in_tasks, client, sandbox_id, backend=world)

    def _blow_in_threads(self, client: LunetteClient, sandbox_id: str) -> None:
        inside = Sandbox(client, sandbox_id)

        def work(number: int) -> None:
            for found in self.errands(number):
                found.check(inside.exec(found.command, input=found.input))

        with client, ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))

    async def _blow_in_tasks(self, client: LunetteClient, sandbox_id: str) -> None:
        inside = Sandbox(client, sandbox_id)

        async def work(number: int) -> None:
            for found in self.errands(number):
                found.check(await inside.aexec(found.command, input=found.input))

        async with client, anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(work, number)


KINDS: tuple[Kind, ...] = ("cut", "cut", "cut", "cut", "cut", "delay", "truncate", "duplicate")


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize(
    ("world", "timeout", "share"),
    [
        ("blocking", None, 0.3),
        ("blocking", FOLLOWING, 0.2),
        ("asyncio", None, 0.2),
        ("asyncio", FOLLOWING, 0.2),
        ("trio", None, 0.1),
    ],
)
def test_in_a_storm_each_command_runs_once_and_its_answer_is_whole(
    world: str,
    timeout: float | None,
    share: float,
    server: Server,
    sandbox: Sandbox,
    report: Callable[[object], None],
) -> None:
    with FaultProxy(server.url, seed=SEED, draw=faults(0.6, kinds=KINDS), refuse=0.02) as proxy:
        storm = Storm(proxy, round(CUTS * share), server.until(share))
        storm.blow(world, sandbox.sandbox_id, timeout)
        proxy.settle()
    report(f"{len(storm.names)} commands, {proxy}")
    log = Counter(sandbox.files.read_text(LOG).split())
    assert log == Counter(dict.fromkeys(storm.names, 1))
    assert proxy.cuts >= storm.cuts // 10


@pytest.mark.parametrize("world", WORLDS)
def test_in_a_storm_each_sandbox_is_made_once_and_ends(
    world: str, server: Server, direct: LunetteClient
) -> None:
    async def make(client: Any) -> list[str]:
        return [(await client.create_sandbox(HOST)).sandbox_id for _ in range(5)]

    async def destroy(client: Any, names: list[str]) -> None:
        for name in names:
            await client.sandbox(name).destroy()

    with FaultProxy(server.url, seed=SEED, rate=0.6) as proxy, ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: perform(world, proxy.url, make), range(4)))
        proxy.settle()
        names = ids(direct)
        assert sorted(names) == sorted(name for some in made for name in some)
        list(pool.map(lambda some: perform(world, proxy.url, partial(destroy, names=some)), made))
        assert ids(direct) == []
        assert proxy.cuts > 10


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize(
    ("world", "timeout"), [("asyncio", None), ("asyncio", FOLLOWING), ("trio", FOLLOWING)]
)
def test_in_a_storm_what_is_cancelled_ends(
    world: str,
    timeout: float | None,
    server: Server,
    sandbox: Sandbox,
    direct: LunetteClient,
    report: Callable[[object], None],
) -> None:
    commands: list[Lasting] = []

    async def work(client: Any, number: int) -> None:
        chance = random.Random(f"{SEED}/cancelled {number}")
        while not storm.over:
            commands.append(Lasting())
            with anyio.move_on_after(chance.uniform(0, 0.05)):
                await client.sandbox(sandbox.sandbox_id).exec(commands[-1].text)
            with anyio.move_on_after(chance.uniform(0, 0.03)):
                await (await client.create_sandbox(HOST)).destroy()

    async def body(client: Any) -> None:
        with storm.watched():
            async with anyio.create_task_group() as group:
                for number in range(6):
                    group.start_soon(work, client, number)

    with FaultProxy(server.url, seed=SEED, rate=0.4) as proxy:
        storm = Storm(proxy, CUTS // 30, server.until(0.1))
        perform(world, proxy.url, body, timeout=timeout)
        proxy.settle()
    report(f"{len(commands)} commands were cancelled, {proxy}")
    assert not [command for command in commands if command.lives]
    assert ids(direct) == [sandbox.sandbox_id]
    assert sandbox.files.read_text(LOG).count("once") <= len(commands)
