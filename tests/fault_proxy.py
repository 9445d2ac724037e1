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
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias
from urllib.parse import urlsplit

from attrs import field, frozen

__all__ = ["PLACES", "Draw", "FaultProxy", "Plan", "faults", "script"]

Kind: TypeAlias = Literal["cut", "delay", "truncate", "duplicate"]
Direction: TypeAlias = Literal["request", "answer"]
Turn: TypeAlias = Literal["first", "second"]
Target: TypeAlias = str | Path | tuple[str, int]

_CHUNK = 2**16
_UNKNOWN_SIZE = 4096
_TURNS: tuple[Turn, ...] = ("first", "second")
_AT_ONCE = struct.pack("ii", 1, 0)


@frozen(kw_only=True)
class Plan:
    """What happens to one request.

    It happens after byte *at* of the *part* of the request or of its answer; a negative *at* counts
    from the end, a *fraction* is one of the size. Of a body in chunks the size is known when its
    last piece is there: a fraction is one of 4 KiB until then, and what should have happened in an
    earlier piece happens before that one. `at=0` of an answer is when the server has answered and
    no byte of it was passed on, `fraction=1.0` of a request when it was delivered whole. What lies
    behind the end of the message never happens, and counts as `missed`.

    * `cut` ends the connection on both sides, with a RST if *reset*, which None leaves to chance.
      (A Unix socket has no RST: its peer reads the end of the file.)
    * `delay` waits *pause* seconds.
    * `truncate` ends the client's side with a FIN; the server's is read to the end of the answer.
    * `duplicate` delivers the request twice, on two connections: the second time at once, piece by
      piece, or, if *later*, when the answer to the first has come whole. *answer* says which answer
      the client gets; the other one is thrown away. Its place is always the whole request.
    """

    kind: Kind
    direction: Direction = "answer"
    part: Literal["message", "head", "body"] = "message"
    at: int | None = None
    fraction: float | None = None
    pause: float = 0.005
    reset: bool | None = None
    later: bool = False
    answer: Turn = "first"
    note: str = field(default="", eq=False)

    def __attrs_post_init__(self) -> None:
        if self.kind == "duplicate":
            return
        if (self.at is None) == (self.fraction is None):
            raise ValueError("a plan has an `at` or a `fraction`")
        if self.kind == "truncate" and self.direction != "answer":
            raise ValueError("only an answer can be truncated")

    def place(self, message: _Message) -> int | None:
        """Count the bytes of *message* that pass before it happens; None is not known yet."""
        start, size = message.extent(self.part)
        at = self.at
        if self.fraction is not None:
            whole = _UNKNOWN_SIZE if size is None and self.fraction < 1 else size
            at = None if whole is None else int(self.fraction * whole)
        elif at is not None and at < 0:
            at = None if size is None else max(0, size + at)
        return None if at is None else start + at


Draw: TypeAlias = Callable[[random.Random, bytes], Plan | None]

PLACES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "request head": lambda r: {"direction": "request", "part": "head", "fraction": r.random()},
    "request body": lambda r: {"direction": "request", "part": "body", "fraction": r.random()},
    "delivered": lambda r: {"direction": "request", "fraction": 1.0},
    "answered": lambda r: {"direction": "answer", "at": 0},
    "answer head": lambda r: {"direction": "answer", "part": "head", "fraction": r.random()},
    "answer body": lambda r: {"direction": "answer", "part": "body", "fraction": r.random()},
    "last byte": lambda r: {"direction": "answer", "at": -1},
}
"""Where faults strike, by the name that the `note` of a drawn plan then has."""
_OF_ANSWERS = ("answered", "answer head", "answer body", "last byte")


def faults(
    rate: float,
    *,
    kinds: tuple[Kind, ...] = ("cut", "cut", "cut", "delay", "truncate", "duplicate"),
    only: str = "",
    longest_pause: float = 0.02,
) -> Draw:
    """Draw a fault for a *rate* of the requests whose first line matches the pattern *only*.

    A kind that is named twice is drawn twice as often.
    """

    def draw(chance: random.Random, head: bytes) -> Plan | None:
        if chance.random() >= rate or not _matches(only, head):
            return None
        kind = chance.choice(kinds)
        if kind == "duplicate":
            return Plan(kind=kind, later=chance.random() < 0.5, answer=chance.choice(_TURNS))
        note = chance.choice(_OF_ANSWERS if kind == "truncate" else tuple(PLACES))
        pause = chance.uniform(0.001, longest_pause)
        return Plan(kind=kind, pause=pause, note=note, **PLACES[note](chance))

    return draw


def script(*plans: Plan | None, only: str = "") -> Draw:
    """Give these plans to the first requests whose first line matches the pattern *only*."""
    left = deque(plans)

    def draw(chance: random.Random, head: bytes) -> Plan | None:
        return left.popleft() if left and _matches(only, head) else None

    return draw


def _matches(pattern: str, head: bytes) -> bool:
    return re.search(pattern, head.partition(b"\r\n")[0].decode("latin-1")) is not None


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
        self._wires: set[_Wire] = set()

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
        server = await asyncio.start_server(self._accepted, sock=self._listener, limit=_CHUNK)
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
        self._do(self._serve(_Wire(self._wires, reader, writer), chance), self._tasks)

    async def _serve(self, client: _Wire, chance: random.Random) -> None:
        try:
            if chance.random() < self.refuse:
                self.counts["refuse"] += 1
            else:
                await _Connection(self, client, await self.connect(), chance).run()
        except OSError:
            self.counts["unreachable"] += 1
        finally:
            await client.close(reset=False)

    async def connect(self) -> _Wire:
        """Open a connection to the server."""
        if isinstance(self.target, str):
            ends = await asyncio.open_unix_connection(self.target, limit=_CHUNK)
        else:
            ends = await asyncio.open_connection(*self.target, limit=_CHUNK)
        return _Wire(self._wires, *ends)

    def begin(self, head: bytes) -> _Exchange:
        """Count a request and draw what happens to it."""
        self.requests += 1
        chance = random.Random(f"{self.seed}/{self.requests}")
        return _Exchange(self, head, self.draw(chance, head), chance)

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


class _Message:
    """One HTTP/1.1 message: how far it has come and where it ends."""

    def __init__(self, head: bytes, request: bytes | None = None) -> None:
        """Begin with a *head*, which is that of the answer to *request* if there is one."""
        self.head = head
        self.passed = len(head)
        self._size = _size(head, request)
        self._chunked = self._size is None and _field(head, b"transfer-encoding") == b"chunked"
        self._left, self._line, self._trailer = self._size or 0, b"", False
        self.done = self._size == 0

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Part what belongs to the message from what comes after it."""
        end = self._chunks(data) if self._chunked else self._bytes(data)
        self.passed += end
        return data[:end], data[end:]

    def extent(self, part: str) -> tuple[int, int | None]:
        """Say where a part begins and, once it is known, how long it is."""
        head = len(self.head)
        if part == "head":
            return 0, head
        size = self.passed - head if self.done else self._size
        return (head, size) if part == "body" else (0, None if size is None else head + size)

    def _bytes(self, data: bytes) -> int:
        if self._size is None:
            return len(data)
        end = min(self._left, len(data))
        self._left -= end
        self.done = not self._left
        return end

    def _chunks(self, data: bytes) -> int:
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if self._line.endswith(b"\n"):
                self._end_line()
        return at

    def _end_line(self) -> None:
        line, self._line = self._line.strip(), b""
        if self._trailer:
            self.done = not line
        elif size := int(line.partition(b";")[0], 16):
            self._left = size + len(b"\r\n")
        else:
            self._trailer = True


def _size(head: bytes, request: bytes | None) -> int | None:
    """Say how long a body is; None is not known, or until the connection ends."""
    if request is not None and (request.startswith(b"HEAD ") or _status(head) in {204, 304}):
        return 0
    if _field(head, b"transfer-encoding"):
        return None
    length = _field(head, b"content-length")
    return int(length) if length else 0 if request is None else None


def _field(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"\r\n" + name + rb":[ \t]*([^\r\n]*)", head, re.IGNORECASE)
    return found[1].strip().lower() if found else b""


def _status(head: bytes) -> int:
    return int(head.split(None, 2)[1])


def _is_interim(head: bytes) -> bool:
    return 100 <= _status(head) < 200


class _Ended(Exception):
    """The connection is over."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__(reset)
        self.reset = reset


class _Wire:
    """One end of a connection, one of those that are *open*."""

    def __init__(
        self, open: set[_Wire], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._open, self._reader, self._writer = open, reader, writer
        self._open.add(self)
        self.touched = time.monotonic()
        # What is written is in the kernel when `write` returns: a cut is where it was planned.
        writer.transport.set_write_buffer_limits(0)

    async def read(self) -> bytes:
        """Wait for bytes, or raise EOFError."""
        data = await self._reader.read(_CHUNK)
        self.touched = time.monotonic()
        if not data:
            raise EOFError
        return data

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def end(self) -> None:
        """Say that nothing more will be written."""
        with suppress(OSError):
            self._writer.write_eof()

    async def close(self, *, reset: bool) -> None:
        """Cut it, by a RST or by a FIN."""
        sock = self._writer.get_extra_info("socket")
        with suppress(OSError):
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            else:
                sock.shutdown(socket.SHUT_WR)
        self._writer.transport.abort()
        self._open.discard(self)
        with suppress(OSError):
            await self._writer.wait_closed()


class _Sink(Protocol):
    async def write(self, data: bytes) -> None: ...


class _Tee:
    """Writes to several, one after the other."""

    def __init__(self, *sinks: _Sink) -> None:
        self._sinks = sinks

    async def write(self, data: bytes) -> None:
        for sink in self._sinks:
            await sink.write(data)


class _Whole(bytearray):
    """Keeps what is written."""

    async def write(self, data: bytes) -> None:
        self.extend(data)


async def _read_head(source: _Wire, rest: bytes, sink: _Sink | None) -> tuple[bytes, bytes]:
    """Read a head, and return what came with it; a part of one goes to the *sink* all the same."""
    try:
        while (end := rest.find(b"\r\n\r\n")) < 0:
            rest += await source.read()
    except EOFError:
        if rest and sink is not None:
            await sink.write(rest)
        raise
    return rest[: end + 4], rest[end + 4 :]


async def _read_out(server: _Wire, answer: _Message) -> None:
    """Read an answer to its end and close the connection."""
    try:
        with suppress(OSError, EOFError):
            while not answer.done:
                answer.split(await server.read())
    finally:
        await server.close(reset=False)


class _Copy:
    """The delivery of a request whose answer is thrown away; its trouble is not the client's."""

    def __init__(self, proxy: FaultProxy, head: bytes) -> None:
        self._proxy, self._head = proxy, head
        self._wire: _Wire | None = None

    async def open(self) -> None:
        with suppress(OSError):
            self._wire = await self._proxy.connect()

    async def write(self, data: bytes) -> None:
        with suppress(OSError):
            if self._wire is not None:
                await self._wire.write(data)

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close(reset=True)

    async def throw_away(self) -> None:
        """Read the answer."""
        if self._wire is None:
            return
        try:
            head, rest = await _read_head(self._wire, b"", None)
            while _is_interim(head):
                head, rest = await _read_head(self._wire, rest, None)
            self._proxy.thrown_away.append(head)
            answer = _Message(head, self._head)
            answer.split(rest)
            await _read_out(self._wire, answer)
        except (OSError, EOFError):
            await self.close()

    async def deliver(self, whole: bytes) -> None:
        """Send a request and read the answer."""
        await self.open()
        await self.write(whole)
        await self.throw_away()

    async def deliver_after(self, over: asyncio.Event, request: _Message, whole: _Whole) -> None:
        """Send a request that came whole, when it is over."""
        await over.wait()
        if request.done:
            await self.deliver(bytes(whole))


class _Exchange:
    """A request, what is planned for it, and its answer."""

    def __init__(
        self, proxy: FaultProxy, head: bytes, plan: Plan | None, chance: random.Random
    ) -> None:
        self._proxy, self.head, self.plan, self._chance = proxy, head, plan, chance
        self._number = proxy.requests
        self.over = asyncio.Event()

    def place(self, direction: Direction, message: _Message) -> int | None:
        """Say after how many bytes of *message* something happens, if it does and is known."""
        if self.plan is None or self.plan.direction != direction:
            return None
        return self.plan.place(message)

    def miss(self, direction: Direction) -> None:
        """Count what has not happened in a direction."""
        if self.plan is not None and self.plan.direction == direction:
            self.plan = None
            self._proxy.counts["missed"] += 1

    def strike(self) -> Plan:
        """Count what happens now, and have no other plan."""
        plan, self.plan = self.plan, None
        assert plan is not None
        self._proxy.counts[plan.kind] += 1
        line = self.head.partition(b"\r\n")[0].decode("latin-1")
        self._proxy.faults.append((self._number, line, plan))
        return plan

    def cut(self, reset: bool | None) -> _Ended:
        return _Ended(reset=self._chance.random() < 0.5 if reset is None else reset)


class _Connection:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(
        self, proxy: FaultProxy, client: _Wire, server: _Wire, chance: random.Random
    ) -> None:
        self._proxy, self._client, self._server, self._chance = proxy, client, server, chance
        self._under_way: deque[_Exchange] = deque()
        self._is_truncated = False

    async def run(self) -> None:
        """Pass on what comes until one side has ended, or is made to."""
        reset = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_requests())
                group.create_task(self._pass_answers())
                if self._proxy.idle is not None:
                    group.create_task(self._cut_when_idle(self._proxy.idle))
        except* OSError:
            pass
        except* _Ended as ended:
            reset = any(isinstance(e, _Ended) and e.reset for e in ended.exceptions)
        except* Exception as wrong:
            self._proxy.errors.append(wrong)
        finally:
            for exchange in self._under_way:
                exchange.over.set()
            await self._client.close(reset=reset)
            if not self._is_truncated:
                await self._server.close(reset=reset)

    async def _pass_requests(self) -> None:
        rest = b""
        with suppress(EOFError):
            while True:
                head, rest = await _read_head(self._client, rest, self._server)
                exchange = self._proxy.begin(head)
                self._under_way.append(exchange)
                request = _Message(head)
                if exchange.plan is not None and exchange.plan.kind == "duplicate":
                    rest = await self._pass_twice(exchange, request, rest)
                else:
                    rest = await self._pass_request(exchange, request, rest, self._server)
        self._server.end()

    async def _pass_answers(self) -> None:
        rest = b""
        with suppress(EOFError):
            while True:
                head, rest = await _read_head(self._server, rest, self._client)
                if _is_interim(head):
                    await self._client.write(head)
                    continue
                rest = await self._pass_answer(self._answered(), head, rest)
        raise _Ended(reset=False)

    def _answered(self) -> _Exchange:
        """Say what is answered; a server also speaks unasked, before it closes."""
        if self._under_way:
            return self._under_way.popleft()
        return _Exchange(self._proxy, b"", None, self._chance)

    async def _cut_when_idle(self, seconds: float) -> None:
        while True:
            touched = max(self._client.touched, self._server.touched)
            left = touched + seconds - time.monotonic()
            if left <= 0:
                self._proxy.counts["idle"] += 1
                raise _Ended(reset=self._chance.random() < 0.5)
            await asyncio.sleep(left)

    async def _pass_answer(self, exchange: _Exchange, head: bytes, rest: bytes) -> bytes:
        answer = _Message(head, exchange.head)
        try:
            return await self._pass(exchange, "answer", answer, rest, self._server, self._client)
        finally:
            exchange.over.set()

    async def _pass_request(
        self, exchange: _Exchange, request: _Message, rest: bytes, sink: _Sink
    ) -> bytes:
        return await self._pass(exchange, "request", request, rest, self._client, sink)

    async def _pass_twice(self, exchange: _Exchange, request: _Message, rest: bytes) -> bytes:
        plan = exchange.strike()
        copy = _Copy(self._proxy, request.head)
        if not plan.later:
            return await self._pass_at_once(plan, copy, exchange, request, rest)
        whole = _Whole()
        if plan.answer == "first":
            # Before the client can have its answer, so that `settle` waits for it.
            self._proxy.set_aside(copy.deliver_after(exchange.over, request, whole))
            return await self._pass_request(exchange, request, rest, _Tee(self._server, whole))
        rest = await self._pass_request(exchange, request, rest, whole)
        await copy.deliver(bytes(whole))
        await self._server.write(bytes(whole))
        return rest

    async def _pass_at_once(
        self, plan: Plan, copy: _Copy, exchange: _Exchange, request: _Message, rest: bytes
    ) -> bytes:
        await copy.open()
        self._proxy.set_aside(copy.throw_away())
        ends = (self._server, copy) if plan.answer == "first" else (copy, self._server)
        try:
            return await self._pass_request(exchange, request, rest, _Tee(*ends))
        except BaseException:
            await copy.close()
            raise

    async def _pass(
        self,
        exchange: _Exchange,
        direction: Direction,
        message: _Message,
        rest: bytes,
        source: _Wire,
        sink: _Sink,
    ) -> bytes:
        """Pass a message on, piece by piece, and return what came after it."""
        piece, rest = message.split(rest)
        piece = message.head + piece
        while True:
            place = exchange.place(direction, message)
            if place is not None and place <= message.passed:
                before = max(0, place - message.passed + len(piece))
                await sink.write(piece[:before])
                await self._strike(exchange, message)
                piece = piece[before:]
            await sink.write(piece)
            if message.done:
                exchange.miss(direction)
                return rest
            piece, rest = message.split(await source.read())

    async def _strike(self, exchange: _Exchange, message: _Message) -> None:
        plan = exchange.strike()
        if plan.kind == "delay":
            await asyncio.sleep(plan.pause)
            return
        if plan.kind == "truncate":
            self._is_truncated = True
            self._proxy.set_aside(_read_out(self._server, message))
            raise _Ended(reset=False)
        raise exchange.cut(plan.reset)
