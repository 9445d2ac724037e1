from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import respx

from lunette import LunetteClient, Sandbox

from .conftest import speak_our_contract

URL = "http://lunette.test"


class Store:
    """The files of one sandbox, over respx."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, request: httpx.Request) -> httpx.Response:
        content = request.content
        assert int(request.headers["Content-Length"]) == len(content)
        assert request.headers["Content-Type"] == "application/octet-stream"
        self.files[request.url.params["path"]] = content
        return httpx.Response(204)

    def get(self, request: httpx.Request) -> httpx.Response:
        path = request.url.params["path"]
        if path not in self.files:
            return httpx.Response(404, json={"code": "file_not_found", "path": path})
        return httpx.Response(200, content=self.files[path])


@pytest.fixture
def sandbox() -> Any:
    store = Store()
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        router.put("/sandboxes/s1/files").mock(side_effect=store.put)
        router.get("/sandboxes/s1/files").mock(side_effect=store.get)
        speak_our_contract(router)
        with LunetteClient(base_url=URL) as client:
            yield Sandbox(client, "s1")


LARGE = bytes(range(256)) * 4096


def test_blocking(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LARGE)
    sandbox.upload(tmp_path / "a", "/w/a & b")
    sandbox.download("/w/a & b", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == LARGE
    sandbox.files.write_bytes("c", LARGE)
    assert sandbox.files.read_bytes("c") == LARGE
    sandbox.files.write_text("d", "ä\r\n", encoding="latin-1")
    assert sandbox.files.read_text("d", encoding="latin-1") == "ä\r\n"
    assert sandbox.files.read_text("d", errors="replace") == "\ufffd\r\n"
    with pytest.raises(FileNotFoundError, match="nope"):
        sandbox.files.read_text("nope")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async(sandbox: Sandbox, tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        await sandbox.aupload(tmp_path / "a", "/w/a & b")
        await sandbox.adownload("/w/a & b", str(tmp_path / "b"))
        await sandbox.files.awrite_bytes("c", LARGE)
        assert await sandbox.files.aread_bytes("c") == LARGE
        await sandbox.files.awrite_text("d", "ä\r\n", encoding="latin-1")
        assert await sandbox.files.aread_text("d", encoding="latin-1") == "ä\r\n"
        with pytest.raises(FileNotFoundError, match="nope"):
            await sandbox.adownload("nope", tmp_path / "nope")

    (tmp_path / "a").write_bytes(LARGE)
    anyio.run(main, backend=backend)
    assert (tmp_path / "b").read_bytes() == LARGE
    assert not (tmp_path / "nope").exists()


def test_repr(sandbox: Sandbox) -> None:
    assert repr(sandbox.files) == "Files(sandbox_id=s1)"


def test_a_cancelled_download_leaves_nothing(wire: Any, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    begun = threading.Event()

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b"x" * 300_000
            begun.set()
            await asyncio.Event().wait()

    async def main() -> None:
        with respx.mock(base_url=URL) as router:
            speak_our_contract(router)
            router.get("/sandboxes/s1/files").mock(
                return_value=httpx.Response(200, stream=Endless())
            )
            async with LunetteClient(base_url=URL) as client:
                task = asyncio.create_task(
                    Sandbox(client, "s1").adownload("/w/a", tmp_path / "out")
                )
                await asyncio.to_thread(begun.wait, 30)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert (tmp_path / "out").read_text() == "old"


def test_a_slow_disk_does_not_block_the_loop(sandbox: Sandbox, tmp_path: Path) -> None:
    ticks = 0

    async def main() -> None:
        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticker = asyncio.create_task(tick())
        await sandbox.aupload(tmp_path / "a", "/w/a")
        ticker.cancel()

    (tmp_path / "a").write_bytes(b"x")
    real = Path(tmp_path / "a").open

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.1)
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lunette._operations._sources._open", lambda path: slow("rb"))
        asyncio.run(main())
    assert ticks > 10
