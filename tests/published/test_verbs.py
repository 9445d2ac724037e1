"""Every verb of the client, against a server that speaks the published wire alone."""

from __future__ import annotations

import base64
import errno
import json
import logging
import platform
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

import lunette
from lunette import LunetteClient, NotSupportedError, Sandbox, SandboxDestroyedError
from lunette._version import version

from ..worlds import Facade
from .clients import IMAGE, Perform, in_short
from .messages import Entry
from .server import PublishedServer

EVERY_BYTE = bytes(range(256))


def known(client: Any, sandbox_id: str) -> Any:
    """Return a sandbox of a *client* by its id, which no request has made or looked at."""
    return Facade(Sandbox(client._target, sandbox_id), client._spelling)


# The documented examples


@pytest.fixture
def configured(
    published: PublishedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> PublishedServer:
    monkeypatch.setenv("LUNETTE_BASE_URL", published.url)
    monkeypatch.setenv("LUNETTE_API_KEY", published.key)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text("print('from the script')")
    return published


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_async_example(
    configured: PublishedServer, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with LunetteClient() as client:
            sandbox = await client.create_sandbox({"image": "python:3.11-slim"})
            result = await sandbox.aexec("echo 'hello'")
            print(result.stdout)
            await sandbox.aupload("./script.py", "/workspace/script.py")
            result = await sandbox.aexec("python /workspace/script.py")
            await sandbox.destroy()
        print(result.stdout)

    anyio.run(main, backend=backend)
    assert capsys.readouterr().out == "hello\n\nfrom the script\n\n"
    assert in_short(configured.diary) == [
        "GET /capabilities",
        "POST /sandboxes",
        "POST /sandboxes/ID/exec",
        "POST /sandboxes/ID/write",
        "POST /sandboxes/ID/exec",
        "POST /sandboxes/stop",
    ]


def test_the_blocking_example(
    configured: PublishedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with LunetteClient() as client:  # noqa: SIM117 - as it is documented
        with client.create_sandbox({"image": "python:3.11-slim"}) as sandbox:
            print(sandbox.exec("echo 'hello'").stdout)
            sandbox.upload("./script.py", "/workspace/script.py")
            sandbox.exec("python /workspace/script.py > /workspace/out.txt")
            sandbox.download("/workspace/out.txt", "out.txt")
    assert capsys.readouterr().out == "hello\n\n"
    assert Path("out.txt").read_text() == "from the script\n"
    assert in_short(configured.diary)[-2:] == ["GET /sandboxes/ID/read", "POST /sandboxes/stop"]
    assert configured.sandboxes == {}


# What is sent


def test_every_verb_sends_what_the_wire_says(
    perform: Perform, published: PublishedServer, tmp_path: Path
) -> None:
    service = IMAGE | {"environment": {"A": "1"}, "labels": ["run=7"], "x-mine": {"deep": [1]}}

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(service)
        await sandbox.exec("echo 'ä' | cat")
        await sandbox.files.write_text("/workspace/a", "ä\r\n")
        await sandbox.files.write_bytes("b", EVERY_BYTE)
        (tmp_path / "local").write_bytes(b"")
        await sandbox.upload(tmp_path / "local", "/workspace/deep/c")
        await sandbox.files.read_bytes("/workspace/a")
        await sandbox.destroy()
        await client.stop_sandboxes(["x", "y"])
        identity = sandbox.sandbox_id
        start = f"POST /sandboxes/{identity}"
        form = {"image": IMAGE["image"], "service": service}
        encoded = base64.b64encode(EVERY_BYTE).decode()
        assert [(f"{entry.method} {entry.path}", sent_in(entry)) for entry in published.diary] == [
            ("GET /capabilities", b""),
            ("POST /sandboxes", form),
            (f"{start}/exec", {"command": "echo 'ä' | cat"}),
            (f"{start}/write", {"path": "/workspace/a", "content": "ä\r\n", "encoding": "utf-8"}),
            (f"{start}/write", {"path": "b", "content": encoded, "encoding": "base64"}),
            (f"{start}/write", {"path": "/workspace/deep/c", "content": "", "encoding": "utf-8"}),
            (f"GET /sandboxes/{identity}/read", b""),
            ("POST /sandboxes/stop", {"sandbox_ids": [identity], "save_state": False}),
            ("POST /sandboxes/stop", {"sandbox_ids": ["x", "y"], "save_state": False}),
        ]

    perform(body)
    [read] = published.sent("GET", "*/read")
    assert read.query == {"path": "/workspace/a"}
    kinds = [entry.headers.get("content-type") for entry in published.diary]
    assert kinds[1] == "application/x-www-form-urlencoded"
    assert set(kinds) == {None, kinds[1], "application/json"}


def sent_in(entry: Entry) -> Any:
    if entry.path != "/sandboxes":
        return entry.body
    assert list(entry.body) == ["image", "service"]
    return entry.body | {"service": json.loads(entry.body["service"])}


def test_every_request_says_who_asks(perform: Perform, published: PublishedServer) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        await sandbox.files.write_text("a", "")
        await sandbox.files.read_text("a")
        await sandbox.destroy()

    perform(body)
    agent = f"lunette/{version()} python/{platform.python_version()} httpx/{httpx.__version__}"
    assert len(published.diary) == 5
    for entry in published.diary:
        assert (entry.headers["x-api-key"], entry.headers["user-agent"]) == (published.key, agent)


# What this wire cannot do


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"timeout": 10}, "timeout"),
        ({"input": "text"}, "input"),
        ({"input": ""}, "input"),
        ({"input": b"\xff"}, "input"),
        ({"output_limit": 10}, "output_limit"),
        ({"env": {"A-B": "1"}}, "A-B"),
        ({"env": {"1A": "1"}}, "1A"),
        ({"env": {"A B": "1"}}, "A B"),
        ({"env": {"A;exit": "1"}}, "A;exit"),
        ({"env": {"Ä": "1"}}, "Ä"),
        ({"env": {"OK": "1", "A\n": "1"}}, "A"),
    ],
)
def test_what_exec_cannot_do_is_refused_before_it_is_sent(
    perform: Perform, published: PublishedServer, asked: dict[str, Any], named: str
) -> None:
    async def body(client: Any) -> None:
        with pytest.raises(NotSupportedError, match=named):
            await known(client, "some-id").exec("true", **asked)

    perform(body)
    assert in_short(published.diary) == ["GET /capabilities"]


def test_looking_at_sandboxes_is_refused_before_it_is_sent(
    perform: Perform, published: PublishedServer
) -> None:
    async def body(client: Any) -> None:
        with pytest.raises(NotSupportedError, match="list_sandboxes"):
            await client.list_sandboxes()
        with pytest.raises(NotSupportedError, match="get_sandbox"):
            await client.get_sandbox("some-id")

    perform(body)
    assert in_short(published.diary) == ["GET /capabilities"]


# Results and files


def test_a_failed_command_is_a_result_unless_checked(perform: Perform) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        result = await sandbox.exec("echo out; echo why >&2; exit 4")
        assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "why\n", 4)
        assert (result.signal, result.timed_out, result.truncated) == (None, False, 0)
        assert (await sandbox.exec("true", check=True)).success
        with pytest.raises(lunette.ExecFailedError) as failed:
            await sandbox.exec("echo why >&2; exit 4", check=True)
        assert (failed.value.returncode, failed.value.stderr) == (4, "why\n")

    perform(body)


@pytest.mark.parametrize("content", [b"", b"text \xc3\xa4\r\n", EVERY_BYTE], ids=["0", "t", "b"])
def test_files_go_both_ways(perform: Perform, tmp_path: Path, content: bytes) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        (tmp_path / "up").write_bytes(content)
        await sandbox.upload(tmp_path / "up", "/workspace/new/a b")
        await sandbox.download("new/a b", tmp_path / "down")
        assert (tmp_path / "down").read_bytes() == content
        await sandbox.files.write_bytes("/workspace/c", content)
        assert await sandbox.files.read_bytes("c") == content
        assert (await sandbox.exec("cmp 'new/a b' /workspace/c")).success
        if content != EVERY_BYTE:
            assert await sandbox.files.read_text("c") == content.decode()
            await sandbox.files.write_text("d", content.decode(), encoding="utf-16")
            assert await sandbox.files.read_text("d", encoding="utf-16") == content.decode()

    perform(body)


def test_a_missing_file_is_one(
    perform: Perform, published: PublishedServer, tmp_path: Path
) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        looks: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: sandbox.files.read_text("/workspace/nope"),
            lambda: sandbox.files.read_bytes("/workspace/nope"),
            lambda: sandbox.download("/workspace/nope", tmp_path / "nope"),
        ]
        for look in looks:
            with pytest.raises(FileNotFoundError, match="nope") as missing:
                await look()
            assert isinstance(missing.value, lunette.APIError)
            named = (missing.value.errno, missing.value.filename)
            assert named == (errno.ENOENT, "/workspace/nope")
        with pytest.raises(FileNotFoundError, match="missing") as missing:
            await sandbox.upload(tmp_path / "missing", "there")
        assert not isinstance(missing.value, lunette.LunetteError)

    perform(body)
    assert published.sent("POST", "*/write") == []
    assert list(tmp_path.iterdir()) == []


# The end of a sandbox


def test_destroy_stops_it_once(perform: Perform, published: PublishedServer) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        for _ in range(3):
            await sandbox.destroy()
            assert repr(sandbox).endswith("status=destroyed)")
        for late in (sandbox.exec, sandbox.files.read_text):
            with pytest.raises(SandboxDestroyedError):
                await late("true")

    perform(body)
    assert in_short(published.diary)[2:] == ["POST /sandboxes/stop"]
    assert published.sandboxes == {}


@pytest.mark.parametrize("status", [404, 405])
def test_where_nothing_can_be_stopped_it_is_forgotten(
    perform: Perform, published: PublishedServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        published.fail("/sandboxes/stop", status)
        await sandbox.destroy()
        await sandbox.destroy()
        assert repr(sandbox).endswith("status=destroyed)")
        with pytest.raises(SandboxDestroyedError):
            await sandbox.exec("true")
        [record] = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert record.getMessage().startswith(f"[{sandbox.sandbox_id}]")

    perform(body)
    assert len(published.sent(path="/sandboxes/stop")) == 1


def test_a_sandbox_that_is_gone_can_be_destroyed(
    perform: Perform, published: PublishedServer
) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        await client.stop_sandboxes([sandbox.sandbox_id])
        await sandbox.destroy()
        assert repr(sandbox).endswith("status=destroyed)")

    perform(body)
    assert len(published.sent(path="/sandboxes/stop")) == 2


def test_a_stop_that_failed_leaves_it_to_be_destroyed(
    perform: Perform, published: PublishedServer
) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        published.fail("/sandboxes/stop", 500)
        with pytest.raises(lunette.APIError):
            await sandbox.destroy()
        assert repr(sandbox).endswith("status=active)")
        await sandbox.destroy()

    perform(body)
    assert published.sandboxes == {}


def test_stopping_many_says_which_could_not_be(perform: Perform) -> None:
    async def body(client: Any) -> None:
        ids = [(await client.create_sandbox(IMAGE)).sandbox_id for _ in range(2)]
        result = await client.stop_sandboxes(iter([*ids, "other"]))
        assert result.stopped == ids
        assert [(f.sandbox_id, f.error) for f in result.failed] == [("other", "Sandbox not found")]

    perform(body)
