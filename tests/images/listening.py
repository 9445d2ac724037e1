"""The socket of the proxy, and a thread for each connection."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from .messages import Request

Write: TypeAlias = Callable[[bytes], object]
Respond: TypeAlias = Callable[[Request, Write], None]

_AT_ONCE = struct.pack("ii", 1, 0)


class CutError(ConnectionError):
    """The connection is to end now, by a RST or by a FIN."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__(reset)
        self.reset = reset


class Listener(ThreadingHTTPServer):
    """Listens on a loopback *port* and lets *respond* answer; what else it raises is in *errors*.

    *respond* is called in the thread of the connection, with a function that writes to it. It ends
    the connection by an OSError.
    """

    # They are joined by `join`, as one of them may be who closes.
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, respond: Respond, errors: list[Exception]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.respond, self._errors = respond, errors
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._left: list[threading.Thread] = []
        self._resets: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._accepting.start()

    def cut(self) -> None:
        """Listen no more and end every connection; a thread of a connection may call it."""
        self.shutdown()
        self.server_close()
        self._accepting.join()
        with self._lock:
            left = dict(self._open)
        self._left = list(left.values())
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        """Wait for the threads of the connections that were cut."""
        for thread in self._left:
            thread.join()

    def reset(self, connection: socket.socket) -> None:
        """Let a connection end by a RST."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._resets.add(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        arguments = (request, client_address)
        thread = threading.Thread(
            target=self.process_request_thread, args=arguments, name="registry proxy", daemon=True
        )
        with self._lock:
            self._open[request] = thread
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._open[request]

    def shutdown_request(self, request: Any) -> None:
        if request in self._resets:
            self._resets.discard(request)
            request.close()  # a FIN before it would hide the RST
            return
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self._errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def _answer(self) -> None:
        request = Request(
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        try:
            self.server.respond(request, self.wfile.write)
        except CutError as cut:
            self.close_connection = True
            if cut.reset:
                self.server.reset(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer
