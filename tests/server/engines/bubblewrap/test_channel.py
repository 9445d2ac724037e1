"""The server's end of the socket to a worker, against the other end in the same process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lunette.server.engines.bubblewrap._channel import Channel
from lunette.server.engines.bubblewrap.inside import wire
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import NoCapacityError

from .descriptors import no_descriptors

RUNS: Message = {"pid": 7, "marker": "abc"}


class Peer:
    """The other side: *sock*, a descriptor to send with answers, and a channel to it."""

    def __init__(self, sock: socket.socket, channel: Channel, given: int) -> None:
        self.sock = sock
        self.channel = channel
        self.given = given

    def asked(self, *, room: bool) -> asyncio.Task[tuple[Message, list[int]]]:
        return asyncio.create_task(self.channel.ask({"op": "exec"}, deadline=30, room=room))

    def answer(self, message_id: int) -> None:
        wire.send(self.sock, {"id": message_id, **RUNS}, [self.given])


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, socket.socket(socket.AF_UNIX) as given:
        channel = Channel(ours)
        try:
            async with asyncio.timeout(30):
                yield Peer(theirs, channel, given.fileno())
        finally:
            channel.close()


def _open_here() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_place_is_held_for_each_answer() -> None:
    async def main() -> None:
        async with peer() as it:
            asking = [it.asked(room=True) for _ in range(3)]
            await asyncio.sleep(0)
            with no_descriptors():
                wire.send(it.sock, {"id": 9, "exit": 0})  # which takes no place
                for number in (2, 3, 1):
                    it.answer(number)
                answers = await asyncio.gather(*asking)
            for message, fds in answers:
                assert "errno" not in message
                os.close(*fds)

    asyncio.run(main())


def test_nothing_is_sent_where_there_is_no_place() -> None:
    async def main() -> None:
        async with peer() as it:
            with no_descriptors(), pytest.raises(NoCapacityError, match="nothing was sent"):
                await it.asked(room=True)
            it.sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                wire.receive(it.sock)

    asyncio.run(main())


def test_an_answer_without_its_descriptor_says_what_runs() -> None:
    async def main() -> None:
        async with peer() as it:
            asking = it.asked(room=False)
            await asyncio.sleep(0)
            with no_descriptors():
                it.answer(1)
                message, fds = await asking
            assert (message["pid"], message["marker"], fds) == (7, "abc", [])
            assert message["error"] == "no room for more descriptors"

    asyncio.run(main())


def test_what_nobody_waits_for_gives_its_place_back() -> None:
    async def main() -> None:
        async with peer() as it:
            heard: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            it.channel.unasked = heard.set_result
            asking = it.asked(room=True)
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            assert not it.channel._held
            it.answer(1)
            assert (await heard)["pid"] == 7

    asyncio.run(main())


def test_an_answer_that_comes_as_its_caller_is_cancelled() -> None:
    async def main() -> None:
        async with peer() as it:
            heard: list[Message] = []
            it.channel.unasked = heard.append
            asking = it.asked(room=False)
            await asyncio.sleep(0)
            before = _open_here()
            it.answer(1)
            it.channel._receive()
            asking.cancel()
            await asyncio.wait([asking])
            assert [message["pid"] for message in heard] == [7]
            assert _open_here() == before

    asyncio.run(main())


def test_what_the_other_side_said_last_comes_before_its_end() -> None:
    async def main() -> None:
        async with peer() as it:
            said: asyncio.Queue[Message] = asyncio.Queue()
            it.channel.unasked = said.put_nowait
            it.channel.tell({"op": "commit"})
            wire.send(it.sock, {"errno": 22})
            it.sock.close()  # and has not read what it was told, so that its socket is reset
            assert await said.get() == {"errno": 22}
            await it.channel.closed

    asyncio.run(main())
