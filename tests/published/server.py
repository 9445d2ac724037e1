"""A server of the published wire alone: that of the hosted service, as `lunette-sdk` 0.2.3 has it.

It runs the commands on this machine and isolates nothing. Written from the description of the wire,
so that it agrees with our own server only where both keep to that. What the description leaves open
is refused here: a field that it does not name is a 422.
"""

from __future__ import annotations

import base64
import binascii
import shutil
import socket
import struct
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from attrs import define

from .host_sandbox import Sandbox
from .messages import (
    Answer,
    Entry,
    Refusal,
    gone,
    in_json,
    json_object,
    multipart,
    only,
    page,
    refusal,
    strings,
    value_of,
)

Unknown = Literal["404", "405", "html200"]
_RESET = struct.pack("ii", 1, 0)


@define
class _Fault:
    path: str
    answer: Answer | None
    after: bool
    left: int


class PublishedServer(ThreadingHTTPServer):
    """Listens at `url` from `__enter__` on; afterwards nothing that it started is left.

    * `diary` has every request, `sent(method, path)` those that match, `runs` each command that was
      really run.
    * `unknown` is what a path outside of the wire gets: an HTML page with 404 or 405, or as if it
      were fine.
    * `fail` and `cut` spoil the next requests of a path.
    """

    daemon_threads = False
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.key = "published-key"
        self.forbidden_key = "forbidden-key"
        self.unknown: Unknown = "404"
        self.diary: list[Entry] = []
        self.runs: list[str] = []
        self.sandboxes: dict[str, Sandbox] = {}
        self.errors: list[BaseException] = []
        self.lock = threading.Lock()
        self._faults: list[_Fault] = []
        self._connections: set[socket.socket] = set()
        self._directory = Path(tempfile.mkdtemp(prefix="published-")).resolve()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is None and self.errors:
            raise BaseExceptionGroup("the server itself failed", self.errors)

    def close(self) -> None:
        """End every connection, kill what runs and wait for the threads."""
        self.shutdown()
        self._thread.join()
        with self.lock:
            sandboxes, connections = [*self.sandboxes.values()], [*self._connections]
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for sandbox in sandboxes:
            sandbox.end()
        self.server_close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def sent(self, method: str = "*", path: str = "*") -> list[Entry]:
        """Find requests in the diary by patterns: `server.sent("POST", "/sandboxes/*/exec")`."""
        with self.lock:
            return [
                entry
                for entry in self.diary
                if fnmatchcase(entry.method, method) and fnmatchcase(entry.path, path)
            ]

    def fail(
        self,
        path: str,
        status: int,
        *,
        times: int = 1,
        after: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer the next requests of a *path* (a pattern) with *status*; if *after*, having acted.

        A 502 comes with the page of a proxy, anything else with JSON; a 429 says `Retry-After: 0`
        unless the *headers* say something else.
        """
        answer = page(status) if status == 502 else refusal(status, "as the test wants").answer
        retry = {"Retry-After": "0"} if status == 429 else {}
        answer = Answer(status, answer.content, {**answer.headers, **retry, **(headers or {})})
        self._spoil(path, answer, after, times)

    def cut(self, path: str, *, times: int = 1, after: bool = False) -> None:
        """Cut the connection of the next requests of a *path* with a RST; if *after*, having acted.

        The request was read whole before.
        """
        self._spoil(path, None, after, times)

    def _spoil(self, path: str, answer: Answer | None, after: bool, times: int) -> None:
        with self.lock:
            self._faults.append(_Fault(path, answer, after, times))

    def take_fault(self, path: str) -> _Fault | None:
        """Find what is to be spoiled about a request, and count it."""
        with self.lock:
            for fault in self._faults:
                if fault.left and fnmatchcase(path, fault.path):
                    fault.left -= 1
                    return fault
        return None

    def make(self) -> Sandbox:
        """Make a sandbox."""
        sandbox = Sandbox(str(uuid.uuid4()), self._directory)
        with self.lock:
            self.sandboxes[sandbox.id] = sandbox
        return sandbox

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self.lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            self._connections.discard(request)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET)) == _RESET:
            self.close_request(request)  # not after a FIN
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that went away, and nothing else."""
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: PublishedServer

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        entry = Entry(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            self._body(),
        )
        with self.server.lock:
            self.server.diary.append(entry)
        fault = self.server.take_fault(entry.path)
        answer: Answer | None
        if fault is None or fault.after:
            answer = self._acted(entry)
        if fault is not None:
            answer = fault.answer
        if answer is None:
            self._cut()
            return
        entry.status = answer.status
        self._send(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _acted(self, entry: Entry) -> Answer:
        try:
            self._authenticate(entry)
            return self._act(entry)
        except Refusal as refused:
            return refused.answer

    def _authenticate(self, entry: Entry) -> None:
        key = entry.headers.get("x-api-key")
        if key == self.server.forbidden_key:
            raise refusal(403, "This key may do nothing")
        if key != self.server.key:
            raise refusal(401, "Invalid or missing API key")

    def _act(self, entry: Entry) -> Answer:
        match entry.method, entry.path.split("/")[1:]:
            case "POST", ["sandboxes"]:
                return self._create(entry)
            case "POST", ["sandboxes", "stop"]:
                return self._stop(entry)
            case "POST", ["sandboxes", sandbox_id, "exec"]:
                return self._exec(sandbox_id, entry)
            case "POST", ["sandboxes", sandbox_id, "write"]:
                return self._write(sandbox_id, entry)
            case "GET", ["sandboxes", sandbox_id, "read"]:
                return self._read(sandbox_id, entry)
        return page({"404": 404, "405": 405, "html200": 200}[self.server.unknown])

    def _create(self, entry: Entry) -> Answer:
        if not isinstance(entry.body, dict) or "form" not in entry.headers.get("content-type", ""):
            raise refusal(422, "not a form")
        only(entry.body, optional=("image", "service", "dockerfile", "build_context"))
        if not entry.body:
            raise refusal(422, "neither an image nor a service")
        if "service" in entry.body and not isinstance(value_of(entry.body["service"]), dict):
            raise refusal(422, "service is not a JSON object")
        return in_json(200, {"sandbox_id": self.server.make().id})

    def _exec(self, sandbox_id: str, entry: Entry) -> Answer:
        body = strings(only(json_object(entry), "command"))
        sandbox = self._sandbox(sandbox_id)
        with self.server.lock:
            self.server.runs.append(body["command"])
        return in_json(200, sandbox.run(body["command"]))

    def _write(self, sandbox_id: str, entry: Entry) -> Answer:
        body = strings(only(json_object(entry), "path", "content", "encoding"))
        decode = _DECODERS.get(body["encoding"])
        if decode is None:
            raise refusal(422, "encoding is neither utf-8 nor base64")
        path = self._sandbox(sandbox_id).path(body["path"])
        try:
            content = decode(body["content"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except binascii.Error as error:
            raise refusal(422, str(error)) from error
        except OSError as error:
            raise refusal(400, error.strerror or "OSError") from error
        return in_json(200, {})

    def _read(self, sandbox_id: str, entry: Entry) -> Answer:
        query = only(entry.query, "path")
        try:
            content = self._sandbox(sandbox_id).path(query["path"]).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Refusal(page(404)) from error
        except OSError as error:
            raise refusal(400, error.strerror or "OSError") from error
        try:
            return in_json(200, {"content": content.decode(), "encoding": "utf-8"})
        except UnicodeDecodeError:
            text = base64.b64encode(content).decode()
            return in_json(200, {"content": text, "encoding": "base64"})

    def _stop(self, entry: Entry) -> Answer:
        body = only(json_object(entry), "sandbox_ids", optional=("save_state",))
        stopped, failed = [], []
        for sandbox_id in body["sandbox_ids"]:
            with self.server.lock:
                sandbox = self.server.sandboxes.pop(sandbox_id, None)
            if sandbox is None:
                failed.append({"sandbox_id": sandbox_id, "error": "Sandbox not found"})
                continue
            sandbox.end()
            stopped.append(sandbox_id)
        return in_json(200, {"stopped": stopped, "failed": failed})

    def _sandbox(self, sandbox_id: str) -> Sandbox:
        with self.server.lock:
            sandbox = self.server.sandboxes.get(sandbox_id)
        if sandbox is None:
            raise gone()
        return sandbox

    def _body(self) -> Any:
        content = self._content()
        kind = self.headers.get_content_type()
        if kind == "application/json":
            return value_of(content)
        if kind == "application/x-www-form-urlencoded":
            return dict(parse_qsl(content.decode(), keep_blank_values=True))
        if kind == "multipart/form-data":
            return multipart(content, str(self.headers.get_param("boundary")))
        return content

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return content

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def _cut(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


_DECODERS: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "base64": lambda text: base64.b64decode(text, validate=True),
}
