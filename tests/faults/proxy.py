"""A proxy between an HTTP/1.1 client and its server that does what networks do, by a seed.

    with FaultProxy(server.url, seed=7, draw=faults(0.1, only=r"POST \\S+/exec ")) as proxy:
        client = LunetteClient("key", proxy.url)

Bytes pass as they come, but for heads, which are waited for: a *draw* sees the head of each request
and answers with the `Plan` for it, or None. The draw of the n-th request has a random generator of
its own, made of the seed and n, so that a run can be repeated as far as its requests come in the
same order.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections import Counter, deque
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

from .connections import Connection, Exchange
from .plans import Direction, Draw, Plan, faults
from .wires import CHUNK, Wire

Target: TypeAlias = str | Path | tuple[str, int]


class FaultProxy:
    """Listens at `url` in a thread of its own, and passes on to *target* what it does not spoil.

    *target* is a URL (`http://host:port`, `unix:///path`), the path of a Unix socket or an address.
    *draw* says what happens to each request (it may be replaced at any time), *rate* is short for
    `faults(rate)`. *refuse* is the rate of connections that are closed when they are accepted; a
    connection on which no byte came for *idle* seconds is cut. Without a *seed* there is another
    one each time. A `with` that fails prints the proxy, with its seed.
    """

    def __init__(
        self,
        target: Target,
        *,
        seed: int | None = None,
        draw: Draw | None = None,
        rate: float = 0.0,
        refuse: float = 0.0,
        idle: float | None = None,
    ) -> None:
        self.target = _target(target)
        self.seed = random.SystemRandom().randrange(2**32) if seed is None else seed
        self.draw = faults(rate) if draw is None else draw
        self.refuse = refuse
        self.idle = idle
        self.counts: Counter[str] = Counter()
        self.passed: Counter[Direction] = Counter()
        """The bytes of requests and of answers that were passed on."""
        self.requests = 0
        self.connections = 0
        self.faults: deque[tuple[int, str, Plan]] = deque(maxlen=10_000)
        """Of each fault the number of its request, the first line of that, and what was done."""
        self.thrown_away: deque[bytes] = deque(maxlen=10_000)
        """The heads of the answers to duplicates that no client got."""
        self.url = ""
        self.errors: list[Exception] = []
        """What went wrong in the proxy itself, or in a draw; raised at the end of a `with`."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._aside: set[asyncio.Task[None]] = set()
        self._wires: set[Wire] = set()

    def __repr__(self) -> str:
        counts = {kind: self.counts[kind] for kind in sorted(self.counts)}
        return f"FaultProxy(seed={self.seed}, requests={self.requests}, counts={counts})"

    @property
    def cuts(self) -> int:
        """Count the connections that were cut, by plan or for being idle."""
        return self.counts["cut"] + self.counts["idle"]

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"fault proxy {self.url}")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None:
            print(self, *self.errors, sep="\n")
        elif self.errors:
            raise ExceptionGroup("the proxy itself failed", self.errors)

    def close(self) -> None:
        """Cut every connection and wait for the end of the thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def settle(self, seconds: float = 10.0) -> None:
        """Wait until duplicates are answered, and what was truncated is read to its end."""
        asyncio.run_coroutine_threadsafe(self._settled(), self._loop).result(seconds)

    async def _settled(self) -> None:
        while self._aside:
            await asyncio.wait(set(self._aside))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        server = await asyncio.start_server(self._accepted, sock=self._listener, limit=CHUNK)
        await self._closing.wait()
        server.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)
        for wire in set(self._wires):
            await wire.close(reset=True)
        await server.wait_closed()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        chance = random.Random(f"{self.seed}/connection {self.connections}")
        self._do(self._serve(Wire(self._wires, reader, writer), chance), self._tasks)

    async def _serve(self, client: Wire, chance: random.Random) -> None:
        try:
            if chance.random() < self.refuse:
                self.counts["refuse"] += 1
            else:
                await Connection(self, client, await self.connect(), chance).run()
        except OSError:
            self.counts["unreachable"] += 1
        except asyncio.CancelledError:  # the proxy closes, which cuts also who still waits
            await client.close(reset=True)
            raise
        finally:
            await client.close(reset=False)

    async def connect(self) -> Wire:
        """Open a connection to the server."""
        if isinstance(self.target, str):
            ends = await asyncio.open_unix_connection(self.target, limit=CHUNK)
        else:
            ends = await asyncio.open_connection(*self.target, limit=CHUNK)
        return Wire(self._wires, *ends)

    def begin(self, head: bytes) -> Exchange:
        """Count a request and draw what happens to it."""
        self.requests += 1
        chance = random.Random(f"{self.seed}/{self.requests}")
        return Exchange(self, head, self.draw(chance, head), chance)

    def set_aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* beside the connection that it came from."""
        self._do(work, self._aside)

    def _do(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _target(target: Target) -> str | tuple[str, int]:
    if isinstance(target, tuple):
        return target
    if isinstance(target, str) and target.startswith(("http:", "unix:")):
        parts = urlsplit(target)
        return (parts.hostname or "", parts.port or 80) if parts.scheme == "http" else parts.path
    return str(target)
