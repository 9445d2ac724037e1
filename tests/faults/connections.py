"""A client's connection through the proxy: what passes, and where a plan strikes."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from .http_messages import Message, is_interim
from .plans import Direction, Plan
from .wires import Ended, Sink, Tee, Whole, Wire, read_head, read_out

if TYPE_CHECKING:
    from .proxy import FaultProxy


class Exchange:
    """A request, what is planned for it, and its answer."""

    def __init__(
        self, proxy: FaultProxy, head: bytes, plan: Plan | None, chance: random.Random
    ) -> None:
        self._proxy, self.head, self.plan, self._chance = proxy, head, plan, chance
        self._number = proxy.requests
        self.over = asyncio.Event()

    def place(self, direction: Direction, message: Message) -> int | None:
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

    def cut(self, reset: bool | None) -> Ended:
        return Ended(reset=self._chance.random() < 0.5 if reset is None else reset)


class Copy:
    """The delivery of a request whose answer is thrown away; its trouble is not the client's."""

    def __init__(self, proxy: FaultProxy, head: bytes) -> None:
        self._proxy, self._head = proxy, head
        self._wire: Wire | None = None

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
            head, rest = await read_head(self._wire, b"", None)
            while is_interim(head):
                head, rest = await read_head(self._wire, rest, None)
            self._proxy.thrown_away.append(head)
            answer = Message(head, self._head)
            answer.split(rest)
            await read_out(self._wire, answer)
        except (OSError, EOFError):
            await self.close()

    async def deliver(self, whole: bytes) -> None:
        """Send a request and read the answer."""
        await self.open()
        await self.write(whole)
        await self.throw_away()

    async def deliver_after(self, over: asyncio.Event, request: Message, whole: Whole) -> None:
        """Send a request that came whole, when it is over."""
        await over.wait()
        if request.done:
            await self.deliver(bytes(whole))


class Connection:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(
        self, proxy: FaultProxy, client: Wire, server: Wire, chance: random.Random
    ) -> None:
        self._proxy, self._client, self._server, self._chance = proxy, client, server, chance
        self._under_way: deque[Exchange] = deque()
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
        except* Ended as ended:
            reset = any(isinstance(e, Ended) and e.reset for e in ended.exceptions)
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
                head, rest = await read_head(self._client, rest, self._server)
                exchange = self._proxy.begin(head)
                self._under_way.append(exchange)
                request = Message(head)
                if exchange.plan is not None and exchange.plan.kind == "duplicate":
                    rest = await self._pass_twice(exchange, request, rest)
                else:
                    rest = await self._pass_request(exchange, request, rest, self._server)
        self._server.end()

    async def _pass_answers(self) -> None:
        rest = b""
        with suppress(EOFError):
            while True:
                head, rest = await read_head(self._server, rest, self._client)
                if is_interim(head):
                    await self._client.write(head)
                    continue
                rest = await self._pass_answer(self._answered(), head, rest)
        raise Ended(reset=False)

    def _answered(self) -> Exchange:
        """Say what is answered; a server also speaks unasked, before it closes."""
        if self._under_way:
            return self._under_way.popleft()
        return Exchange(self._proxy, b"", None, self._chance)

    async def _cut_when_idle(self, seconds: float) -> None:
        while True:
            touched = max(self._client.touched, self._server.touched)
            left = touched + seconds - time.monotonic()
            if left <= 0:
                self._proxy.counts["idle"] += 1
                raise Ended(reset=self._chance.random() < 0.5)
            await asyncio.sleep(left)

    async def _pass_answer(self, exchange: Exchange, head: bytes, rest: bytes) -> bytes:
        answer = Message(head, exchange.head)
        try:
            return await self._pass(exchange, "answer", answer, rest, self._server, self._client)
        finally:
            exchange.over.set()

    async def _pass_request(
        self, exchange: Exchange, request: Message, rest: bytes, sink: Sink
    ) -> bytes:
        return await self._pass(exchange, "request", request, rest, self._client, sink)

    async def _pass_twice(self, exchange: Exchange, request: Message, rest: bytes) -> bytes:
        plan = exchange.strike()
        copy = Copy(self._proxy, request.head)
        if not plan.later:
            return await self._pass_at_once(plan, copy, exchange, request, rest)
        whole = Whole()
        if plan.answer == "first":
            # Before the client can have its answer, so that `settle` waits for it.
            self._proxy.set_aside(copy.deliver_after(exchange.over, request, whole))
            return await self._pass_request(exchange, request, rest, Tee(self._server, whole))
        rest = await self._pass_request(exchange, request, rest, whole)
        await copy.deliver(bytes(whole))
        await self._server.write(bytes(whole))
        return rest

    async def _pass_at_once(
        self, plan: Plan, copy: Copy, exchange: Exchange, request: Message, rest: bytes
    ) -> bytes:
        await copy.open()
        self._proxy.set_aside(copy.throw_away())
        ends = (self._server, copy) if plan.answer == "first" else (copy, self._server)
        try:
            return await self._pass_request(exchange, request, rest, Tee(*ends))
        except BaseException:
            await copy.close()
            raise

    async def _pass(
        self,
        exchange: Exchange,
        direction: Direction,
        message: Message,
        rest: bytes,
        source: Wire,
        sink: Sink,
    ) -> bytes:
        """Pass a message on, piece by piece, and return what came after it."""
        piece, rest = message.split(rest)
        piece = message.head + piece
        while True:
            place = exchange.place(direction, message)
            if place is not None and place <= message.passed:
                before = max(0, place - message.passed + len(piece))
                self._proxy.passed[direction] += before
                await sink.write(piece[:before])
                await self._strike(exchange, message)
                piece = piece[before:]
            self._proxy.passed[direction] += len(piece)
            await sink.write(piece)
            if message.done:
                exchange.miss(direction)
                return rest
            piece, rest = message.split(await source.read())

    async def _strike(self, exchange: Exchange, message: Message) -> None:
        plan = exchange.strike()
        if plan.kind == "delay":
            await asyncio.sleep(plan.pause)
            return
        if plan.kind == "truncate":
            self._is_truncated = True
            self._proxy.set_aside(read_out(self._server, message))
            raise Ended(reset=False)
        raise exchange.cut(plan.reset)
