"""What the retry policy says is kept, and what a lost attempt began is ended."""

from __future__ import annotations

import gc
import re
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal

import anyio
import anyio.to_thread
import httpx
import pytest

from lunette import LunetteClient, RetryPolicy, Sandbox

from ..embedded import client_of
from .clients import ids, perform
from .commands import Lasting
from .draws import REQUESTS, Watch, cuts, first_of
from .plans import PLACES, Plan, script
from .proxy import FaultProxy
from .server import Server, serving
from .settings import FOLLOWING, GUARD, HOST, LOG, ONCE, PATIENT, SEED, WORLDS


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
        perform(world, proxy.url, body, retry=retry, timeout=4)
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
    # What is large is sent by an upload.
    only = {"exec": REQUESTS["exec"], "upload": "^PATCH .*/uploads/"}[verb]
    cut = Plan(kind="cut", direction="request", part="body", at=9, reset=True)

    async def body(client: Any) -> None:
        inside = client.sandbox(sandbox.sandbox_id)
        if verb == "exec":
            assert (await inside.exec("wc -c", input=data)).stdout == "8000000\n"
        else:
            await inside.files.write_bytes("file", data)

    with FaultProxy(server.url, draw=script(cut, only=only)) as proxy:
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
