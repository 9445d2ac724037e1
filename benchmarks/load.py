"""Many calls at once through one client, over one transport or another.

Each measurement is made by a child process of its own, so that its memory is its own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from attrs import asdict, field, frozen

__all__ = ["CLIENTS", "Call", "Client", "Load", "Place", "compare", "noop", "real", "table"]

STOCK = "stock httpx, one large pool"
AIOHTTP = "bare aiohttp"
DEFAULT = "lunette"
FASTEST = 'lunette, `transport="aiohttp"`'
# No shell, and nothing to print: what is left is what a call costs.
_BODY = {"command": ["true"]}


@frozen
class Place:
    """A sandbox to run commands in: the base URL of its server, and its id."""

    base_url: str
    sandbox_id: str

    @property
    def uds(self) -> str | None:
        path = self.base_url.removeprefix("unix://")
        return None if path == self.base_url else path

    @property
    def exec_url(self) -> str:
        origin = self.base_url if self.uds is None else "http://localhost"
        return f"{origin}/sandboxes/{self.sandbox_id}/exec"


Call = Callable[[], Awaitable[object]]
Client = Callable[[Place], AbstractAsyncContextManager[Call]]


@frozen
class Load:
    """What calls took that were under way at once: seconds, and bytes of memory at the most."""

    per_second: float
    p50: float
    p99: float
    memory: int


@frozen
class _Rounds:
    """The medians of some measurements alike."""

    loads: list[Load] = field(factory=list[Load])

    def median(self, name: str) -> float:
        return statistics.median(float(getattr(load, name)) for load in self.loads)


@asynccontextmanager
async def _stock(place: Place) -> AsyncGenerator[Call]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    transport = httpx.AsyncHTTPTransport(uds=place.uds, verify=False, limits=limits)
    async with httpx.AsyncClient(transport=transport, timeout=600) as client:

        async def call() -> object:
            return (await client.post(place.exec_url, json=_BODY)).raise_for_status().json()

        yield call


@asynccontextmanager
async def _bare_aiohttp(place: Place) -> AsyncGenerator[Call]:
    import aiohttp

    connector = (
        aiohttp.TCPConnector(limit=0)
        if place.uds is None
        else aiohttp.UnixConnector(place.uds, limit=0)
    )
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as session:

        async def call() -> object:
            async with session.post(place.exec_url, json=_BODY) as response:
                return await response.json()

        yield call


@asynccontextmanager
async def _lunette(place: Place, **options: Any) -> AsyncGenerator[Call]:
    from lunette import AsyncLunetteClient, Sandbox

    async with AsyncLunetteClient(base_url=place.base_url, **options) as client:
        sandbox = Sandbox(client, place.sandbox_id)
        yield lambda: sandbox.aexec(_BODY["command"])


def _lunette_over_aiohttp(place: Place) -> AbstractAsyncContextManager[Call]:
    return _lunette(place, transport="aiohttp")


# By name, since a child process is told by its arguments what to measure.
CLIENTS: Mapping[str, Client] = {
    STOCK: _stock,
    DEFAULT: _lunette,
    FASTEST: _lunette_over_aiohttp,
    AIOHTTP: _bare_aiohttp,
}


async def measure(client: Client, place: Place, at_once: int, calls: int) -> Load:
    """Keep *at_once* of altogether *calls* under way, after as many that open the connections."""
    took: list[float] = []
    left = iter(range(calls))

    async def work(call: Call) -> None:
        for _ in left:
            begin = time.perf_counter()
            await call()
            took.append(time.perf_counter() - begin)

    async with client(place) as call:
        await asyncio.gather(*(call() for _ in range(at_once)))
        begin = time.perf_counter()
        await asyncio.gather(*(work(call) for _ in range(at_once)))
        seconds = time.perf_counter() - begin
    p50, p99 = (statistics.quantiles(took, n=100)[n - 1] for n in (50, 99))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Load(calls / seconds, p50, p99, memory)


def compare(
    place: Place, at_once: int, *, rounds: int = 3, calls: int = 3000
) -> dict[str, _Rounds]:
    """Measure each client once a round, a tenth of the calls for stock httpx."""
    taken = {name: _Rounds() for name in CLIENTS}
    for _ in range(rounds):
        for name, found in taken.items():
            share = max(at_once, calls // 10) if name == STOCK else calls
            found.loads.append(_in_child(name, place, at_once, share))
    return taken


def table(
    title: str, taken: Mapping[str, _Rounds], goals: Mapping[str, float], *, ratio: bool
) -> Generator[str]:
    """Write the medians of *taken* down, with the ratio to stock httpx; *goals* are ratios, or
    calls a second.
    """
    yield f"| {title} | calls a second | p50, ms | p99, ms | memory, MiB | ratio | goal |"
    yield "|---|---|---|---|---|---|---|"
    for name, found in taken.items():
        speed = found.median("per_second")
        times = speed / taken[STOCK].median("per_second")
        p50, p99 = found.median("p50") * 1000, found.median("p99") * 1000
        goal = _verdict(times if ratio else speed, goals.get(name), "x" if ratio else " a second")
        yield (
            f"| {name} | {speed:.0f} | {p50:.1f} | {p99:.1f}"
            f" | {found.median('memory') / 2**20:.0f} | {times:.1f} | {goal} |"
        )


def _verdict(found: float, goal: float | None, unit: str) -> str:
    if goal is None:
        return "-"
    return f">= {goal:g}{unit}: {'met' if found >= goal else 'missed'}"


@contextmanager
def noop() -> Generator[Place]:
    """Run the server that does nothing, over TCP, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("noop_server.py")), "--tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Place(process.stdout.readline().strip().rstrip("/"), str(uuid4()))
        finally:
            process.terminate()


@contextmanager
def real() -> Generator[Place]:
    """Make a sandbox of the embedded server, for whoever is given its socket."""
    from lunette import LunetteClient

    with (
        LunetteClient(base_url="embedded") as client,
        client.create_sandbox({"image": "host"}) as sandbox,
    ):
        yield Place(sandbox._link.base_url, sandbox.sandbox_id)  # pyright: ignore[reportPrivateUsage]


def _in_child(name: str, place: Place, at_once: int, calls: int) -> Load:
    given = (place.base_url, place.sandbox_id, str(at_once), str(calls))
    command = [sys.executable, __file__, name, *given]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Load(**json.loads(output))


def _main(name: str, base_url: str, sandbox_id: str, width: str, calls: str) -> None:
    # 500 connections and what else a process has open are more than some shells allow.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    place = Place(base_url, sandbox_id)
    print(json.dumps(asdict(asyncio.run(measure(CLIENTS[name], place, int(width), int(calls))))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
