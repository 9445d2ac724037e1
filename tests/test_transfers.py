"""Files that go in and out of a sandbox, in every world, end to end.

`LUNETTE_LARGE_FILES=1` makes the largest one 5 GiB instead of 512 MiB.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io as streams
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lunette import LunetteClient

from .worlds import Body

HOST = {"image": "host"}
MIB = 1 << 20
SIZES = (0, 5, MIB, MIB + 1, 9 * MIB + 7)
LARGE = (5 << 30 if os.environ.get("LUNETTE_LARGE_FILES") else 512 << 20) + 7

Perform = Callable[[Body], None]


def some(size: int) -> bytes:
    return hashlib.shake_128(size.to_bytes(8, "big")).digest(min(size, MIB)) * (size // MIB + 1)


@asynccontextmanager
async def made(client: Any) -> AsyncGenerator[Any]:
    sandbox = await client.create_sandbox(HOST)
    try:
        yield sandbox
    finally:
        await sandbox.destroy()


def there(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))  # noqa: PTH208 - names are what is asked for


def cut_to(size: int) -> bytes:
    return some(size)[:size]


def test_every_kind_of_source_arrives_whole(perform: Perform, tmp_path: Path) -> None:
    def items(data: bytes) -> Generator[bytes]:
        for start in range(0, len(data), 70_001):
            yield data[start : start + 70_001]

    async def awaited(data: bytes) -> AsyncGenerator[bytes]:
        for item in items(data):
            await anyio.lowlevel.checkpoint()
            yield item

    async def body(client: Any) -> None:
        async with made(client) as sandbox:
            for size in SIZES:
                data = cut_to(size)
                (tmp_path / "a").write_bytes(data)
                sources: list[Any] = [tmp_path / "a", data, bytearray(data), items(data)]
                sources += [streams.BytesIO(data), (tmp_path / "a").open("rb")]
                if client._spelling:
                    sources.append(awaited(data))
                for number, source in enumerate(sources):
                    await sandbox.upload(source, f"d/{size}/{number}")
                    assert await sandbox.files.read_bytes(f"d/{size}/{number}") == data
                sources[5].close()

    perform(body)


def test_every_kind_of_target_gets_it_whole(perform: Perform, tmp_path: Path) -> None:
    async def body(client: Any) -> None:
        async with made(client) as sandbox:
            for size in SIZES:
                data = cut_to(size)
                await sandbox.upload(data, "a")
                path = tmp_path / client._spelling / "new" / str(size)
                memory = streams.BytesIO(b"before")
                memory.seek(6)
                with (tmp_path / "raw").open("wb", buffering=0) as raw:
                    for target in (path, str(path), memory, raw):
                        await sandbox.download("a", target)
                assert path.read_bytes() == (tmp_path / "raw").read_bytes() == data
                assert memory.getvalue() == b"before" + data

    perform(body)


NAMES = [
    "with space",
    "'quotes' \"and\" `more` $HOME \\",
    "a\nnewline",
    "-rf",
    "%2F%00&?#;=+",
    "\N{CRAB} ünï",
    "x" * 255,
    "\N{CRAB}" * 63,
]


def test_names_are_taken_as_they_are(perform: Perform, tmp_path: Path) -> None:
    async def body(client: Any) -> None:
        async with made(client) as sandbox:
            for name in NAMES:
                (tmp_path / name).write_text(name)
                await sandbox.upload(tmp_path / name, f"there/{name}")
                await sandbox.download(f"there/{name}", tmp_path / "back" / name)
                assert (tmp_path / "back" / name).read_text() == name
            found = await sandbox.exec(["ls", "-1A", "--zero", "there"])
            assert sorted(found.stdout.rstrip("\0").split("\0")) == sorted(NAMES)

    perform(body)


def test_permissions_are_kept_or_chosen(perform: Perform, tmp_path: Path) -> None:
    async def modes(sandbox: Any) -> list[str]:
        return (await sandbox.exec("stat -c %a program plain")).stdout.split()

    async def body(client: Any) -> None:
        async with made(client) as sandbox:
            (tmp_path / "a").write_bytes(b"#!/bin/sh\necho runs")
            (tmp_path / "a").chmod(0o755)
            await sandbox.upload(tmp_path / "a", "program")
            await sandbox.upload(b"x", "plain")
            assert await modes(sandbox) == ["755", "644"]
            assert (await sandbox.exec("./program")).stdout == "runs\n"
            await sandbox.upload(b"x" * (2 * MIB), "plain", mode=0o640)
            await sandbox.upload(b"x", "plain")
            await sandbox.upload(tmp_path / "a", "program", mode=0o600)
            assert await modes(sandbox) == ["600", "640"]
            await sandbox.download("program", tmp_path / "b", mode=0o711)
            assert (tmp_path / "b").stat().st_mode & 0o777 == 0o711

    perform(body)


def test_what_cannot_be_is_the_error_that_it_would_be_here(
    perform: Perform, tmp_path: Path
) -> None:
    async def body(client: Any) -> None:
        async with made(client) as sandbox:
            await sandbox.exec("mkdir -p dir; echo x > file")
            for data in (b"x", b"x" * (2 * MIB)):
                with pytest.raises(IsADirectoryError, match="dir"):
                    await sandbox.upload(data, "dir")
                with pytest.raises(NotADirectoryError):
                    await sandbox.upload(data, "file/a")
                with pytest.raises(OSError, match="/proc/nope"):
                    await sandbox.upload(data, "/proc/nope")
            with pytest.raises(FileNotFoundError, match="nope"):
                await sandbox.download("nope", tmp_path / "a")
            with pytest.raises(FileNotFoundError, match="nope"):
                await sandbox.upload(tmp_path / "nope", "a")
            with pytest.raises(OSError, match="/proc/nope") as caught:
                await sandbox.download("file", "/proc/nope")
            assert caught.value.filename == "/proc/nope"
            assert there(tmp_path) == []
            assert (await sandbox.exec("ls -A; ls -A dir")).stdout == "dir\nfile\n"
            (tmp_path / "a").touch()
            for path in ("dir", "dir/", "new/"):
                mend = f"Is a directory, write '{path.rstrip('/')}/"
                with pytest.raises(IsADirectoryError, match=f"{mend}a'"):
                    await sandbox.upload(tmp_path / "a", path)
                refused = pytest.raises(IsADirectoryError, match=f"{mend}a'")
                with (tmp_path / "a").open("rb") as file, refused:
                    await sandbox.upload(file, path)
                with pytest.raises(IsADirectoryError, match=f"{mend}NAME'"):
                    await sandbox.upload(b"x", path)
            assert (await sandbox.exec("ls -A; ls -A dir")).stdout == "dir\nfile\n"

    perform(body)


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """Mount a disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root mounts a disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_what_it_had(perform: Perform, small_disk: Path) -> None:
    async def body(client: Any) -> None:
        async with made(client) as sandbox:
            await sandbox.upload(b"x" * (2 * MIB), "a")
            (small_disk / "old").write_text("old")
            with pytest.raises(OSError, match="No space") as caught:
                await sandbox.download("a", small_disk / "old")
            assert caught.value.errno == errno.ENOSPC
            assert caught.value.filename == str(small_disk / "old")
            assert (small_disk / "old").read_text() == "old"
            assert there(small_disk) == ["old"]

    perform(body)


def test_progress_is_told_in_the_world_of_the_caller(perform: Perform, tmp_path: Path) -> None:
    async def body(client: Any) -> None:
        here = threading.get_ident()
        told: list[tuple[int, int | None]] = []

        def tell(done: int, total: int | None) -> None:
            assert threading.get_ident() == here
            told.append((done, total))

        async with made(client) as sandbox:
            size = 9 * MIB
            calls: list[Callable[[], Any]] = [
                lambda: sandbox.upload(b"x" * size, "a", progress=tell),
                lambda: sandbox.download("a", tmp_path / "a", progress=tell),
                lambda: sandbox.upload(iter([b"x" * size]), "a", progress=tell),
            ]
            for call in calls:
                told.clear()
                await call()
                assert told[-1] == (size, size)
                assert told == sorted(told, key=lambda entry: entry[0])
                assert len(told) > 3

    perform(body)


def test_an_asynchronous_iterator_is_refused_where_nobody_can_await_it() -> None:
    async def items() -> AsyncGenerator[bytes]:
        yield b"x"

    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        with pytest.raises(TypeError, match="a call that is awaited"):
            sandbox.upload(items(), "a")
        assert sandbox.exec("ls -A").stdout == ""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_event_loop_ticks_while_a_pipe_is_slow(backend: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    ticks = 0

    async def main() -> None:
        nonlocal ticks
        async with LunetteClient() as client, await client.create_sandbox(HOST) as sandbox:
            write = os.open(tmp_path / "fifo", os.O_RDWR)
            with (tmp_path / "fifo").open("rb") as file:
                async with anyio.create_task_group() as group:
                    group.start_soon(sandbox.aupload, file, "a")
                    for _ in range(20):
                        os.write(write, b"0123456789")
                        await anyio.sleep(0.01)
                        ticks += 1
                    os.close(write)
            assert await sandbox.files.aread_bytes("a") == b"0123456789" * 20

    anyio.run(main, backend=backend)
    assert ticks == 20


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_waits_for_a_pipe_can_be_cancelled(backend: str, tmp_path: Path) -> None:
    read, write = os.pipe()

    async def main() -> None:
        async with LunetteClient() as client, await client.create_sandbox(HOST) as sandbox:
            with os.fdopen(read, "rb", buffering=0) as file:
                with anyio.move_on_after(0.2) as scope:
                    await sandbox.aupload(file, "a")
                assert scope.cancelled_caught
                os.close(write)  # who still waits for it, in a thread, sees its end
                assert (await sandbox.aexec("ls -A")).stdout == ""

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("at", [1, 3 * MIB, 70 * MIB, 100 * MIB])
def test_what_is_cancelled_leaves_nothing(backend: str, at: int, tmp_path: Path) -> None:
    source, size = tmp_path / "source", 100 * MIB
    source.touch()
    os.truncate(source, size)

    async def main() -> None:
        async with LunetteClient() as client, await client.create_sandbox(HOST) as sandbox:
            calls: list[Callable[[Any], Any]] = [
                lambda tell: sandbox.aupload(source, "a", progress=tell),
                lambda tell: sandbox.aupload(items(), "a", progress=tell),
                lambda tell: sandbox.adownload("big", tmp_path / "there" / "a", progress=tell),
            ]
            for call in calls:
                await sandbox.aexec(f"truncate -s {size} big")
                with anyio.CancelScope() as scope:
                    await call(lambda done, total, scope=scope: done >= at and scope.cancel())
            found = (await sandbox.aexec("ls -A")).stdout.split()
            assert set(found) <= ({"big", "a"} if at == size else {"big"})
            if at < size:
                assert there(tmp_path) == ["source"]

    def items() -> Generator[bytes]:
        for _ in range(100):
            yield bytes(MIB)

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("at", [1, 3 * MIB, 70 * MIB])
def test_ctrl_c_leaves_nothing(at: int, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.touch()
    os.truncate(source, 100 * MIB)

    def tell(done: int, total: int | None) -> None:
        if done >= at:
            signal.raise_signal(signal.SIGINT)

    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        sandbox.exec("truncate -s 100M big")
        with pytest.raises(KeyboardInterrupt):
            sandbox.upload(source, "a", progress=tell)
        with pytest.raises(KeyboardInterrupt):
            sandbox.upload(iter([bytes(MIB)] * 100), "a", progress=tell)
        with pytest.raises(KeyboardInterrupt):
            sandbox.download("big", tmp_path / "there" / "a", progress=tell)
        assert sandbox.exec("ls -A").stdout == "big\n"
        assert there(tmp_path) == ["source"]


def test_cancelled_as_asyncio_does_it_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.touch()
    os.truncate(source, 100 * MIB)

    async def main() -> None:
        async with LunetteClient() as client, await client.create_sandbox(HOST) as sandbox:
            await sandbox.aexec("truncate -s 100M big")
            for delay in (0.0, 0.001, 0.01, 0.03, 0.1):
                for work in (
                    sandbox.aupload(source, "a"),
                    sandbox.adownload("big", tmp_path / "b"),
                ):
                    task = asyncio.create_task(work)
                    await asyncio.sleep(delay)
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
                if (tmp_path / "b").exists():  # it was faster
                    (tmp_path / "b").unlink()
            assert set((await sandbox.aexec("ls -A")).stdout.split()) <= {"big", "a"}
            assert there(tmp_path) == ["source"]

    asyncio.run(main())


_MEASURED = """
import asyncio, sys
from pathlib import Path
from lunette import LunetteClient

source, target, world = sys.argv[1:]

def peak(anew=False):
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])

def items():
    with open(source, "rb") as file:
        while chunk := file.read(100_000):
            yield chunk

async def awaited():
    async with LunetteClient() as client, await client.create_sandbox({"image": "host"}) as sandbox:
        await sandbox.aupload(b"x" * (2 << 20), "small")
        await sandbox.adownload("small", target)
        before = peak(anew=True)
        await sandbox.aupload(source, "a")
        await sandbox.adownload("a", target)
        await sandbox.aupload(items(), "a")
        print(peak() - before)

def blocking():
    with LunetteClient() as client, client.create_sandbox({"image": "host"}) as sandbox:
        sandbox.upload(b"x" * (2 << 20), "small")
        sandbox.download("small", target)
        before = peak(anew=True)
        sandbox.upload(source, "a")
        sandbox.download("a", target)
        sandbox.upload(items(), "a")
        print(peak() - before)

blocking() if world == "blocking" else asyncio.run(awaited())
"""


@pytest.mark.parametrize("world", ["blocking", "asyncio"])
def test_memory_is_flat(world: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.touch()
    os.truncate(source, 128 * MIB)
    command = [sys.executable, "-c", _MEASURED, str(source), str(target), world]
    measured = subprocess.run(command, capture_output=True, text=True, check=True)
    assert target.stat().st_size == 128 * MIB
    assert int(measured.stdout) < 24 * 1024


@pytest.mark.timeout(300)
def test_a_large_sparse_file(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(LARGE)
        file.seek(LARGE - 3)
        file.write(b"end")
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        sandbox.upload(source, "a")
        source.unlink()
        assert sandbox.exec("stat -c %s a; tail -c 3 a").stdout == f"{LARGE}\nend"
        sandbox.download("a", target)
    assert target.stat().st_size == LARGE
    with target.open("rb") as file:
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"end"
