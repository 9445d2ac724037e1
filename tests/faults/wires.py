"""The ends of connections, what can be written to, and what is read."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from typing import Protocol

from .http_messages import Message

CHUNK = 2**16
_AT_ONCE = struct.pack("ii", 1, 0)


class Ended(Exception):
    """The connection is over."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__(reset)
        self.reset = reset


class Wire:
    """One end of a connection, one of those that are *open*."""

    def __init__(
        self, open: set[Wire], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._open, self._reader, self._writer = open, reader, writer
        self._open.add(self)
        self.touched = time.monotonic()
        # What is written is in the kernel when `write` returns: a cut is where it was planned.
        writer.transport.set_write_buffer_limits(0)

    async def read(self) -> bytes:
        """Wait for bytes, or raise EOFError."""
        data = await self._reader.read(CHUNK)
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


class Sink(Protocol):
    async def write(self, data: bytes) -> None: ...


class Tee:
    """Writes to several, one after the other."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    async def write(self, data: bytes) -> None:
        for sink in self._sinks:
            await sink.write(data)


class Whole(bytearray):
    """Keeps what is written."""

    async def write(self, data: bytes) -> None:
        self.extend(data)


async def read_head(source: Wire, rest: bytes, sink: Sink | None) -> tuple[bytes, bytes]:
    """Read a head, and return what came with it; a part of one goes to the *sink* all the same."""
    try:
        while (end := rest.find(b"\r\n\r\n")) < 0:
            rest += await source.read()
    except EOFError:
        if rest and sink is not None:
            await sink.write(rest)
        raise
    return rest[: end + 4], rest[end + 4 :]


async def read_out(server: Wire, answer: Message) -> None:
    """Read an answer to its end and close the connection."""
    try:
        with suppress(OSError, EOFError):
            while not answer.done:
                answer.split(await server.read())
    finally:
        await server.close(reset=False)
