"""Build contexts: the tar that is made of a folder, and how it is sent."""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
import threading
import tracemalloc
from collections.abc import Callable, Coroutine, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from lunette import LunetteClient, NotSupportedError, RetryPolicy, ServiceError
from lunette._context import Context
from lunette._form import Form
from lunette._io import run

from .published.messages import multipart
from .published.server import PublishedServer
from .worlds import Facade

ID = "3f6f2c0e-7c1c-4a8e-9a2b-0d6a8e0f4b1d"
SOON = RetryPolicy(attempts=3, first_delay=0.001, longest_delay=0.002)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return folder


def packed(folder: Path, dockerfile: str | None = None) -> tarfile.TarFile:
    content = b"".join(Context.found(folder, dockerfile).tar())
    assert len(content) % tarfile.BLOCKSIZE == 0
    return tarfile.open(fileobj=io.BytesIO(content))


def content_of(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_everything_is_kept_but_the_owner(folder: Path) -> None:
    (folder / "sub").mkdir(mode=0o750)
    (folder / "sub" / "script").write_bytes(b"x" * 200_000)
    (folder / "sub" / "script").chmod(0o4755)
    (folder / "empty").touch()
    os.utime(folder / "empty", (1, 1_000_000_000.75))
    (folder / "old").touch()
    os.utime(folder / "old", (1, -5))
    (folder / "link").symlink_to("./sub//script/")
    (folder / "dangling").symlink_to("/nowhere")
    tar = packed(folder)
    members = {member.name: member for member in tar}
    expected = ["Dockerfile", "dangling", "empty", "link", "old", "sub", "sub/script"]
    assert list(members) == expected
    assert content_of(tar, "sub/script") == b"x" * 200_000
    assert (members["sub"].mode, members["sub/script"].mode) == (0o750, 0o4755)
    assert members["sub"].isdir()
    assert (members["empty"].mtime, members["old"].mtime) == (1_000_000_000, -5)
    assert (members["link"].linkname, members["dangling"].linkname) == (
        "./sub//script/",
        "/nowhere",
    )
    owners = {(m.uid, m.gid, m.uname, m.gname) for m in members.values()}
    assert owners == {(0, 0, "", "")}


def test_names_of_any_kind(folder: Path) -> None:
    names = [b"a\xff\xfe", b"new\nline", "ä☺".encode(), b"x" * 255, b"'\" \\", b"-", b"..."]
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(name)
    long = folder.joinpath(*["d" * 200] * 5)
    long.mkdir(parents=True)
    (long / "file").touch()
    (folder / "to").symlink_to("t" * 300)
    tar = packed(folder)
    found = {os.fsencode(member.name) for member in tar}
    assert set(names) <= found
    assert os.fsencode((long / "file").relative_to(folder)) in found
    assert content_of(tar, os.fsdecode(b"a\xff\xfe")) == b"a\xff\xfe"
    assert tar.getmember("to").linkname == "t" * 300


def test_what_no_image_has_is_left_out(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        assert packed(folder).getnames() == ["Dockerfile"]


@pytest.mark.parametrize(
    ("ignore", "names"),
    [
        ("", [".dockerignore", "Dockerfile", "a", "b", "b/c", "b/d", "b/d/e", "b/d/f"]),
        ("*", [".dockerignore", "Dockerfile"]),
        ("b", [".dockerignore", "Dockerfile", "a"]),
        ("Dockerfile\n.dockerignore\nb\n", [".dockerignore", "Dockerfile", "a"]),
        ("b\n!b/d/e", [".dockerignore", "Dockerfile", "a", "b", "b/d", "b/d/e"]),
        ("*\n!**/f", [".dockerignore", "Dockerfile", "b", "b/d", "b/d/f"]),
        ("b/*\n!b/c", [".dockerignore", "Dockerfile", "a", "b", "b/c"]),
    ],
)
def test_what_is_ignored(folder: Path, ignore: str, names: list[str]) -> None:
    (folder / "b" / "d").mkdir(parents=True)
    for name in ("a", "b/c", "b/d/e", "b/d/f"):
        (folder / name).touch()
    (folder / ".dockerignore").write_text(ignore)
    assert packed(folder).getnames() == names


def test_a_dockerfile_and_its_own_ignore_file_are_sent_from_anywhere(folder: Path) -> None:
    (folder / "sub" / "more").mkdir(parents=True)
    for name in ("a", "sub/a", "sub/more/a"):
        (folder / name).touch()
    (folder / "sub" / "more" / "File").touch()
    (folder / "sub" / "more" / "File.dockerignore").write_text("**")
    expected = ["sub", "sub/more", "sub/more/File", "sub/more/File.dockerignore"]
    assert packed(folder, "sub/more/File").getnames() == expected
    (folder / "link").symlink_to("sub/more/File")
    assert Context.found(folder, "link").dockerfile == "sub/more/File"


@pytest.mark.parametrize("change", ["shorter", "longer", "gone", "fifo", "link"])
def test_a_file_that_changes_midway(folder: Path, change: str) -> None:
    (folder / "z").write_bytes(b"x" * 1_000_000)
    chunks = Context.found(folder, None).tar()
    if change in ("shorter", "longer"):
        while len(next(chunks)) < 10_000:
            pass  # up to the first of its content
        os.truncate(folder / "z", 500_000 if change == "shorter" else 1_000_001)
    else:
        next(chunks)
        (folder / "z").unlink()
    if change == "fifo":
        os.mkfifo(folder / "z")
    if change == "link":
        (folder / "z").symlink_to("Dockerfile")
    # What it was when it was seen first is not kept: only one that was read has changed.
    if change in ("fifo", "link"):
        assert all(chunk is not None for chunk in chunks)
        return
    with pytest.raises(ServiceError, match=r"z changed while it was sent|z: No such file"):
        for _ in chunks:
            pass


def test_memory_is_flat(folder: Path) -> None:
    with (folder / "z").open("wb") as file:
        file.truncate(256 * 1024 * 1024)
    form = Form({"service": "{}"}, "build_context", Context.found(folder, None).tar)
    tracemalloc.start()
    try:
        size = 0
        while chunk := form.read(256 * 1024):
            size += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 256 * 1024 * 1024
    assert peak < 4 * 1024 * 1024


def test_a_form_begins_again() -> None:
    opened: list[str] = []

    def file() -> Generator[bytes]:
        opened.append("opened")
        try:
            yield b"ab"
            yield b"cd"
        finally:
            opened.append("closed")

    form = Form({"a": "1\r\n", "b": "ä"}, "file", file)
    boundary = form.content_type.partition("boundary=")[2]
    begin = form.read(10)
    while len(form.read(1)) and "opened" not in opened:
        pass
    form.rewind()
    assert opened == ["opened", "closed"]
    assert form.read(10) == begin
    form.rewind()
    content = b"".join(iter(lambda: form.read(7), b""))
    assert multipart(content, boundary) == {"a": "1\r\n", "b": "ä", "file": b"abcd"}
    assert form.read(7) == b""
    form.close()
    assert Form({}, "a", file).content_type != form.content_type


class BuildServer(ThreadingHTTPServer):
    """A server of the contract that takes builds, or refuses them before it has read them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.keys: list[str] = []
        self.forms: list[dict[str, str | bytes]] = []
        self.cuts = 0
        self.refusing = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BuildServer

    def do_GET(self) -> None:
        self._answer(200, {"version": "1", "api_version": "1"})

    def do_POST(self) -> None:
        self.server.keys.append(self.headers["Idempotency-Key"])
        if self.server.refusing:
            self.rfile.read(10)
            detail = {"status": 422, "code": "not_supported", "detail": "no builds", "key": "build"}
            self._answer(422, detail)
        content = b"".join(self._chunks())
        if self.server.refusing:
            return
        if self.server.cuts:
            self.server.cuts -= 1
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        boundary = str(self.headers.get_param("boundary"))
        self.server.forms.append(multipart(content, boundary))
        self._answer(200, {"sandbox_id": ID})

    def _chunks(self) -> Generator[bytes]:
        assert self.headers["Transfer-Encoding"] == "chunked"
        if self.server.refusing:  # without end: until the client sees the answer, and is done
            while chunk := self.rfile.read1(1 << 20):
                if chunk.endswith(b"0\r\n\r\n"):
                    return
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Generator[BuildServer]:
    server = BuildServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


Body = Callable[[Any], Coroutine[Any, Any, None]]
Perform = Callable[[str, Body], None]


@pytest.fixture(params=["blocking", "asyncio", "trio", "aiohttp"])
def perform(request: pytest.FixtureRequest) -> Perform:
    """Run a test's body in one of the worlds, with a client of the server at a URL."""

    def blocking(url: str, body: Body) -> None:
        with LunetteClient("published-key", url, retry=SOON) as client:
            run(body(Facade(client, "")))

    def on_a_loop(url: str, body: Body) -> None:
        is_aiohttp = request.param == "aiohttp"
        transport: Any = "aiohttp" if is_aiohttp else None

        async def main() -> None:
            client = LunetteClient("published-key", url, retry=SOON, transport=transport)
            async with client as opened:
                await body(Facade(opened, "a"))

        anyio.run(main, backend="asyncio" if is_aiohttp else request.param)

    return blocking if request.param == "blocking" else on_a_loop


def test_a_context_is_streamed(server: BuildServer, folder: Path, perform: Perform) -> None:
    (folder / "a").write_bytes(os.urandom(3_000_000))

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(folder)
        assert sandbox.sandbox_id == ID

    perform(server.url, body)
    [form] = server.forms
    tar = form["build_context"]
    assert isinstance(tar, bytes)
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        assert content_of(members, "a") == (folder / "a").read_bytes()


def test_a_context_that_was_cut_is_sent_again_under_its_key(
    server: BuildServer, folder: Path, perform: Perform
) -> None:
    server.cuts = 2

    async def body(client: Any) -> None:
        await client.create_sandbox({"build": str(folder)})

    perform(server.url, body)
    assert len(server.keys) == 3
    assert len(set(server.keys)) == len(server.forms) == 1


def test_an_early_answer_is_what_is_raised(
    server: BuildServer, folder: Path, perform: Perform
) -> None:
    server.refusing = True
    (folder / "a").write_bytes(bytes(3_000_000))

    async def body(client: Any) -> None:
        with pytest.raises(NotSupportedError, match="no builds"):
            await client.create_sandbox(folder)

    perform(server.url, body)
    assert len(server.keys) == 1


def test_the_published_wire_gets_it_once(folder: Path, perform: Perform) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox({"build": str(folder), "hostname": "h"})
        await sandbox.destroy()

    with PublishedServer() as published:
        perform(published.url, body)
    [create] = [entry for entry in published.diary if entry.path == "/sandboxes"]
    assert list(create.body) == ["service", "dockerfile", "build_context"]
    assert json.loads(create.body["service"]) == {"hostname": "h"}
    assert "idempotency-key" not in create.headers


def test_a_compose_file_does_not_hold_up_the_loop(
    server: BuildServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lunette import service

    read_by: list[int] = []
    read = service.read

    def noted(*args: Any) -> Any:
        read_by.append(threading.get_ident())
        return read(*args)

    monkeypatch.setattr(service, "read", noted)
    (tmp_path / "Dockerfile").touch()

    async def main() -> None:
        async with LunetteClient("key", server.url) as client:
            await client.create_sandbox({"build": str(tmp_path)})

    anyio.run(main)
    assert read_by != [threading.get_ident()]
    assert len(read_by) == 1
