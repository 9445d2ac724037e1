"""A registry of these tests, in memory: it is honest until a test bends it."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import Factory, evolve, frozen

from ...images.oci_image import Image, Index, digest

__all__ = ["Asked", "Bend", "Origin", "Reply", "manifest_reply", "serving"]

_TLS_GREETING = b"\x16"


@frozen(kw_only=True)
class Asked:
    """A request; the names of its *headers* are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = Factory(dict)
    body: bytes = b""

    @property
    def start(self) -> int:
        """The first byte that is asked for."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(found[1]) if found else 0


@frozen(kw_only=True)
class Reply:
    """An answer; *cut* ends the connection after so many bytes of the body.

    *body* may have no end; *length* is the Content-Length, None for that of the body, and -1 for
    none at all, so that the body ends with the connection.
    """

    status: int = 200
    headers: Mapping[str, str] = Factory(dict)
    body: bytes | Iterator[bytes] = b""
    length: int | None = None
    cut: int | None = None


Bend = Callable[[Asked, Reply], Reply]


class Origin(ThreadingHTTPServer):
    """Listens at *host*; `bend` makes what it likes of an honest reply, `asked` is a diary."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.tls = tls
        self.port: int = self.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.asked: list[Asked] = []
        self.sent = 0
        self.bend: Bend = lambda asked, reply: reply
        self.open: set[socket.socket] = set()

    def push(self, image: Image | Index, name: str = "app:latest") -> str:
        """Have *image*, and return the reference of it here."""
        repository, _, tag = name.partition(":")
        self.manifests[tag] = (image.media_type, image.manifest)
        self.manifests[image.digest] = (image.media_type, image.manifest)
        for each in image.images if isinstance(image, Index) else (image,):
            self.blobs.update(each.blobs())
            self.manifests[each.digest] = (each.media_type, each.manifest)
        return f"{self.host}/{repository}:{tag}"

    def paths(self, part: str = "") -> list[str]:
        """Return what was asked for, in order."""
        return [f"{a.method} {a.path}" for a in list(self.asked) if part in a.path]

    def cut_all(self) -> None:
        """End every connection."""
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.tls is not None:  # greeted when it is first read, in a thread of its own
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that went away."""


def _honest(origin: Origin, asked: Asked) -> Reply:
    kind, name = asked.path.split("/")[-2:] if asked.path.count("/") > 1 else ("", "")
    if kind == "manifests" and name in origin.manifests:
        return manifest_reply(*origin.manifests[name])
    if kind != "blobs" or name not in origin.blobs:
        return Reply(status=404, body=b'{"errors":[{"code":"UNKNOWN","message":"no such thing"}]}')
    content, start = origin.blobs[name], asked.start
    if not start:
        return Reply(body=content)
    if start >= len(content):
        return Reply(status=416)
    span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    return Reply(status=206, headers=span, body=content[start:])


def manifest_reply(media_type: str, content: bytes) -> Reply:
    """Return the answer that has a manifest."""
    headers = {"Content-Type": media_type, "Docker-Content-Digest": digest(content)}
    return Reply(headers=headers, body=content)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Origin

    def setup(self) -> None:
        self.server.open.add(self.request)
        super().setup()

    def handle(self) -> None:
        # The beginning of a line of HTTP it is not, and no end of one would come.
        if self.server.tls is None and self._peek() == _TLS_GREETING:
            return
        super().handle()

    def _peek(self) -> bytes:
        data: bytes = self.connection.recv(1, socket.MSG_PEEK)
        return data

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def _answer(self) -> None:
        asked = Asked(
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        self.server.asked.append(asked)
        reply = self.server.bend(asked, _honest(self.server, asked))
        if asked.method == "HEAD" and isinstance(reply.body, bytes):
            reply = evolve(reply, length=len(reply.body), body=b"")
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if isinstance(reply.body, bytes) and reply.length != -1:
            length = len(reply.body) if reply.length is None else reply.length
            self.send_header("Content-Length", str(length))
        else:
            self.close_connection = True
        self.end_headers()
        body = iter([reply.body]) if isinstance(reply.body, bytes) else reply.body
        left = reply.cut
        for chunk in body:
            piece = chunk if left is None else chunk[:left]
            self.wfile.write(piece)
            self.server.sent += len(piece)
            left = None if left is None else left - len(piece)
        if reply.cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    do_GET = do_HEAD = do_POST = do_CONNECT = _answer


@contextmanager
def serving(*, port: int = 0, tls: ssl.SSLContext | None = None) -> Generator[Origin]:
    """Run a registry in threads of this process."""
    origin = Origin(port=port, tls=tls)
    thread = threading.Thread(target=origin.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield origin
    finally:
        origin.shutdown()
        thread.join()
        origin.server_close()
        origin.cut_all()
