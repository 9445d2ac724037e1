"""Both ends of the proxy: a server and a client that look at bytes and at ends of connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from attrs import define, field

from .proxy import FaultProxy

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n0123\r\n2\r\n45\r\n0\r\n\r\n"
)
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
ANSWERS = {b"/": ANSWER, b"/chunked": CHUNKED, b"/endless": ENDLESS, b"/wait": ANSWER}
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
WAIT = POST.replace(b"/ ", b"/wait ")
SECONDS = 20.0


@define
class Seen:
    """What the server saw of a connection: its bytes and its end."""

    number: int
    received: bytearray = field(factory=bytearray)
    requests: int = 0
    end: str = ""


class Server:
    """A small HTTP server that looks at bytes and at the ways in which connections end."""

    def __init__(self, path: Path | None = None) -> None:
        self.seen: list[Seen] = []
        self.go_on = threading.Event()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(64)
        self.address = self._listener.getsockname()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        self._listener.close()

    def wait(self, number: int, *, requests: int = 0, end: bool = False) -> Seen:
        """Wait for a connection, for so many requests on it, or for its end."""

        def is_there() -> bool:
            seen = self.seen[number] if number < len(self.seen) else None
            return seen is not None and seen.requests >= requests and bool(seen.end or not end)

        with self._changed:
            assert self._changed.wait_for(is_there, SECONDS), self.seen
            return self.seen[number]

    def _start(self, target: Any, *args: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                seen = Seen(len(self.seen))
                with self._changed:
                    self.seen.append(seen)
                    self._changed.notify_all()
                self._start(self._serve, connection, seen)

    def _serve(self, connection: socket.socket, seen: Seen) -> None:
        end = "FIN"
        try:
            self._talk(connection, seen)
        except ConnectionResetError:
            end = "RST"
        except OSError:
            end = "broken pipe"
        connection.close()
        with self._changed:
            seen.end = end
            self._changed.notify_all()

    def _talk(self, connection: socket.socket, seen: Seen) -> None:
        begin = 0
        while data := connection.recv(65536):
            seen.received += data
            while size := _request(bytes(seen.received[begin:])):
                path = bytes(seen.received[begin:]).split()[1]
                begin += size
                with self._changed:
                    seen.requests += 1
                    self._changed.notify_all()
                if path == b"/wait":
                    self.go_on.wait(SECONDS)
                if path.startswith(b"/big"):
                    connection.sendall(big(int(path[4:])))
                else:
                    connection.sendall(ANSWERS[path])
                if path == b"/endless":
                    return


def _request(data: bytes) -> int:
    """Count the bytes of the request that stands at the beginning, if it is whole."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return 0
    if b": chunked" in head:
        last = body.find(b"0\r\n\r\n")
        return len(head) + len(end) + last + 5 if last >= 0 else 0
    length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0] or 0)
    return len(head) + len(end) + length if len(body) >= length else 0


def big(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


def end_of(reset: bool) -> str:
    return "RST" if reset else "FIN"


@pytest.fixture
def server() -> Generator[Server]:
    with Server() as server:
        yield server


class Client:
    """A socket that says how its connection ended."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.socket = socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])))
        self.socket.settimeout(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self.socket.recv(size - len(data))):
            data += piece
        return data

    def read_out(self) -> tuple[bytes, str]:
        data = b""
        try:
            while piece := self.socket.recv(65536):
                data += piece
        except ConnectionResetError:
            return data, "RST"
        return data, "FIN"


def ask(proxy: FaultProxy, request: bytes) -> tuple[bytes, str]:
    """Send a request and read until the connection ends."""
    with Client(proxy) as client:
        client.send(request)
        return client.read_out()
