"""The registry that the server under attack pulls from: a few images, good and bad, in memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import socket
import tarfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

__all__ = ["GOOD", "REFUSED", "Origin", "serving_images"]

_OCI = "application/vnd.oci.image"
_MANIFEST = f"{_OCI}.manifest.v1+json"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_ARCHITECTURE = _ARCHITECTURES.get(platform.machine(), platform.machine())
_TLS_GREETING = b"\x16"
_SLOW_SECONDS = 0.3  # of each answer about the image `slow`
_PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
_FILES = {"etc/passwd": _PASSWD, "etc/group": "root:x:0:\nstaff:x:50:app\n", "srv/a.txt": "a.txt"}


class _Image(NamedTuple):
    """A manifest, and the blobs that it names."""

    manifest: bytes
    blobs: Mapping[str, bytes]


class _Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


def _image(
    files: Mapping[str, str], *, architecture: str = _ARCHITECTURE, **config: object
) -> _Image:
    archive = _tar(files)
    layer = gzip.compress(archive, mtime=0)
    settings = {
        "os": "linux",
        "architecture": architecture,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [_digest(archive)]},
    }
    described = json.dumps(settings).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _descriptor(f"{_OCI}.config.v1+json", described),
        "layers": [_descriptor(f"{_OCI}.layer.v1.tar+gzip", layer)],
    }
    blobs = {_digest(blob): blob for blob in (described, layer)}
    return _Image(json.dumps(manifest).encode(), blobs)


def _tar(files: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


_SMALL = _image(_FILES, Env=["OF=the image"], WorkingDir="/srv")
_IMAGES = {
    "small": _SMALL,
    "slow": _image(_FILES | {"slow": ""}),
    "app": _image(_FILES, User="app", Entrypoint=["/no"], Cmd=["/such"]),
    "stranger": _image(_FILES, User="stranger"),
    "elsewhere": _image(_FILES, architecture="s390x"),
    "unsafe": _image({"../../escaped": "unsafe"}),
    "malformed": _Image(b'{"schemaVersion": 2, "layers": ["\xff"]}', {}),
    "cut": _Image(_image(_FILES | {"cut": ""}).manifest, {}),
}
# A pull ends at once where the registry wants to be left alone for an hour.
_REFUSALS = {
    "denied": _Answer(403),
    "login": _Answer(401, headers={"WWW-Authenticate": "Bearer realm="}),
    "busy": _Answer(429, headers={"Retry-After": "3600"}),
    "broken": _Answer(503, headers={"Retry-After": "3600"}),
    "elsewhere/moved": _Answer(302, headers={"Location": "http://192.0.2.1/"}),
}
GOOD = ("small", "small:1", f"small@{_digest(_SMALL.manifest)}", "docker.io/library/app", "slow:2")
REFUSED = (
    *("stranger", "elsewhere", "unsafe:v1", "malformed", "cut", "nothing/such"),
    *_REFUSALS,
    f"small@sha256:{'0' * 64}",
)


class Origin(ThreadingHTTPServer):
    """Listens at *host*; at *closed* nobody does, and nobody else can."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, closed: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.closed = closed

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about pulls that were ended."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        # It is no beginning of a line of HTTP, and no end of one would come.
        if self.connection.recv(1, socket.MSG_PEEK) != _TLS_GREETING:
            super().handle()

    def do_GET(self) -> None:
        answer = _answer(self.path)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


def _answer(path: str) -> _Answer:
    """Answer /v2/REPOSITORY/KIND/NAME."""
    repository, kind, name = ["", "", "", *path.removeprefix("/v2/").rsplit("/", 2)][-3:]
    repository = repository.removeprefix("library/")
    if repository in _REFUSALS:
        return _REFUSALS[repository]
    image = _IMAGES.get(repository)
    if image is None:
        return _Answer(404)
    if repository == "slow":
        time.sleep(_SLOW_SECONDS)
    if kind == "manifests" and name in (_digest(image.manifest), "latest", "1", "2", "v1"):
        return _Answer(200, image.manifest, {"Content-Type": _MANIFEST})
    return _Answer(200, image.blobs[name]) if name in image.blobs else _Answer(404)


@contextmanager
def serving_images() -> Generator[Origin]:
    """Run the registry in threads of this process."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen: connections are refused
        host, port = bound.getsockname()
        with Origin(f"{host}:{port}") as origin:
            thread = threading.Thread(target=origin.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield origin
            finally:
                origin.shutdown()
                thread.join()
