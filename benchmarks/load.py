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

from attrs import asdict, field, frozen

__all__ = ["CLIENTS", "Call", "Client", "Load", "compare", "noop_over_tcp", "table"]

Call = Callable[[], Awaitable[object]]
Client = Callable[[str], AbstractAsyncContextManager[Call]]

_STOCK = "stock httpx"
_BODY = {"command": "true"}


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
async def _httpx_over(transport: Any, url: str) -> AsyncGenerator[Call]:
    import httpx

    async with httpx.AsyncClient(transport=transport, timeout=600) as client:

        async def call() -> object:
            return (await client.post(url, json=_BODY)).raise_for_status().json()

        yield call


def _stock(url: str) -> AbstractAsyncContextManager[Call]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return _httpx_over(httpx.AsyncHTTPTransport(verify=False, limits=limits), url)


def _spread(url: str) -> AbstractAsyncContextManager[Call]:
    from lunette._transports import SpreadTransport

    return _httpx_over(SpreadTransport(), url)


def _over_aiohttp(url: str) -> AbstractAsyncContextManager[Call]:
    from lunette._transports import aiohttp_transport

    return _httpx_over(aiohttp_transport(), url)


@asynccontextmanager
async def _bare_aiohttp(url: str) -> AsyncGenerator[Call]:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as session:

        async def call() -> object:
            async with session.post(url, json=_BODY) as response:
                return await response.json()

        yield call


# By name, since a child process is told by its arguments what to measure.
CLIENTS: Mapping[str, Client] = {
    _STOCK: _stock,
    "httpx, SpreadTransport": _spread,
    "httpx, aiohttp_transport": _over_aiohttp,
    "bare aiohttp": _bare_aiohttp,
}


async def measure(client: Client, url: str, at_once: int, calls: int) -> Load:
    """Keep *at_once* of altogether *calls* under way, after as many that open the connections."""
    took: list[float] = []
    left = iter(range(calls))

    async def work(call: Call) -> None:
        for _ in left:
            begin = time.perf_counter()
            await call()
            took.append(time.perf_counter() - begin)

    async with client(url) as call:
        await asyncio.gather(*(call() for _ in range(at_once)))
        begin = time.perf_counter()
        await asyncio.gather(*(work(call) for _ in range(at_once)))
        seconds = time.perf_counter() - begin
    p50, p99 = (statistics.quantiles(took, n=100)[n - 1] for n in (50, 99))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Load(calls / seconds, p50, p99, memory)


def compare(
    at_once: int, *, rounds: int = 3, calls: int = 3000, names: tuple[str, ...] = tuple(CLIENTS)
) -> dict[str, _Rounds]:
    """Measure each client of *names* once a round, a tenth of the calls for stock httpx."""
    taken = {name: _Rounds() for name in names}
    with noop_over_tcp() as url:
        for _ in range(rounds):
            for name, found in taken.items():
                share = max(at_once, calls // 10) if name == _STOCK else calls
                found.loads.append(_in_child(name, url, at_once, share))
    return taken


def table(at_once: int, taken: Mapping[str, _Rounds]) -> Generator[str]:
    """Write the medians of *taken* down, with the ratio to stock httpx."""
    yield f"| {at_once} at once | calls a second | p50, ms | p99, ms | memory, MiB | ratio |"
    yield "|---|---|---|---|---|---|"
    for name, found in taken.items():
        ratio = found.median("per_second") / taken[_STOCK].median("per_second")
        p50, p99 = found.median("p50") * 1000, found.median("p99") * 1000
        yield (
            f"| {name} | {found.median('per_second'):.0f} | {p50:.1f} | {p99:.1f}"
            f" | {found.median('memory') / 2**20:.0f} | {ratio:.1f} |"
        )


@contextmanager
def noop_over_tcp() -> Generator[str]:
    """Run the server that does nothing in a process of its own, and yield its URL."""
    command = [sys.executable, str(Path(__file__).with_name("noop_server.py")), "--tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _in_child(name: str, url: str, at_once: int, calls: int) -> Load:
    command = [sys.executable, __file__, name, url, str(at_once), str(calls)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Load(**json.loads(output))


def _main(arguments: list[str]) -> None:
    if not arguments:
        for at_once in (100, 500):
            print("\n".join(table(at_once, compare(at_once))), end="\n\n", flush=True)
        return
    name, url, width, calls = arguments
    # 500 connections and what else a process has open are more than some shells allow.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    load = asyncio.run(measure(CLIENTS[name], url, int(width), int(calls)))
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    _main(sys.argv[1:])
