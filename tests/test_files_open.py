"""`sandbox.files` against the embedded server, each body in every world."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
from pathlib import PurePosixPath
from typing import Any

import pytest

from lunette import AsyncFile, LunetteClient, SandboxDestroyedError

HOST = {"image": "host"}
LARGE = bytes(range(256)) * 20_000


def test_a_file_is_written_and_read(perform: Any) -> None:
    async def body(client: Any) -> None:
        files = (await client.create_sandbox(HOST)).files
        async with await files.open("d/a", "wb") as file:
            assert await file.write(LARGE) == len(LARGE)
            assert not await files.exists("d/a")
        async with await files.open(PurePosixPath("d") / "a", "rb") as file:
            assert await file.read(3) == LARGE[:3]
            assert await file.seek(-4, 2) == len(LARGE) - 4
            assert await file.read() == LARGE[-4:]
            await file.seek(2_000_000)
            assert await file.tell() == 2_000_000
            assert await file.read(1_500_000) == LARGE[2_000_000:3_500_000]
        assert await files.read_bytes("d/a") == LARGE
        assert b"".join([chunk async for chunk in files.iter_bytes("d/a")]) == LARGE

    perform(body)


def test_text_and_its_lines(perform: Any) -> None:
    async def body(client: Any) -> None:
        files = (await client.create_sandbox(HOST)).files
        lines = [f"line {n} ä\n" for n in range(200_000)]
        async with await files.open("a", "w") as file:
            await file.writelines(lines)
        async with await files.open("a", "a") as file:
            await file.write("more\n")
            await file.flush()
            assert (await files.read_text("a")).endswith("more\n")
            await file.write("and more\n")
        async with await files.open("a") as file:
            found = [line async for line in file]
        assert found == [*lines, "more\n", "and more\n"]
        async with await files.open("a") as file:
            assert await file.readline() == "line 0 ä\n"
            place = await file.tell()
            rest = await file.readlines()
            await file.seek(place)
            assert await file.read() == "".join(rest)
        await files.write_bytes("w", "a\r\nb".encode("utf-16"))
        async with await files.open("w", encoding="utf-16", newline="") as file:
            assert await file.read() == "a\r\nb"

    perform(body)


def test_what_is_there_already(perform: Any) -> None:
    async def body(client: Any) -> None:
        files = (await client.create_sandbox(HOST)).files
        async with await files.open("a", "x") as file:
            await file.write("mine")
        with pytest.raises(FileExistsError) as caught:
            await files.open("a", "x")
        assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, "a")
        with pytest.raises(FileNotFoundError):
            await files.open("nope")
        with pytest.raises(IsADirectoryError):
            await files.open(".", "w")

    perform(body)


def test_an_error_leaves_the_old_file(perform: Any) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        files = sandbox.files
        await files.write_text("a", "old")
        for mode in ("w", "wb"):
            with pytest.raises(RuntimeError, match="mine"):
                async with await files.open("a", mode) as file:
                    await file.write("new" if mode == "w" else LARGE)
                    raise RuntimeError("mine")
        assert await files.read_text("a") == "old"
        assert [info.name for info in await files.list(".", depth=None)] == ["a"]

    perform(body)


def test_a_file_that_changes_while_it_is_read(perform: Any) -> None:
    async def body(client: Any) -> None:
        files = (await client.create_sandbox(HOST)).files
        await files.write_bytes("a", LARGE)
        async with await files.open("a", "rb") as file:
            assert await file.read(10) == LARGE[:10]
            await files.write_bytes("a", LARGE[::-1])
            with pytest.raises(OSError, match="Changed while it was read") as caught:
                await file.read()
            assert caught.value.errno == errno.ESTALE

    perform(body)


def test_a_file_that_says_it_is_empty(perform: Any) -> None:
    async def body(client: Any) -> None:
        files = (await client.create_sandbox(HOST)).files
        await files.write_bytes("empty", b"")
        async with await files.open("empty") as file:
            assert await file.read() == ""
        async with await files.open("new", "w"):
            pass
        assert (await files.stat("new")).size == 0

    perform(body)


def test_a_sandbox_that_is_destroyed_meanwhile(perform: Any) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        file = await sandbox.files.open("a", "w")
        await file.write("a")
        await sandbox.destroy()
        with pytest.raises(SandboxDestroyedError):
            await file.close()
        assert file.closed

    perform(body)


def test_many_files_of_one_directory(perform: Any) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        await sandbox.exec("mkdir -p d/e; cd d; seq 3000 | xargs touch; ln -s e l", check=True)
        found = await sandbox.files.list("d")
        assert [info.name for info in found] == sorted([*map(str, range(1, 3001)), "e", "l"])
        link = found[-1]
        assert (link.path, link.target, link.is_symlink()) == ("/workspace/d/l", "e", True)
        await sandbox.files.move("d", "moved")
        assert await sandbox.files.exists("moved/e")
        await sandbox.files.remove("moved", recursive=True)
        assert await sandbox.files.list() == []
        assert not await sandbox.files.exists("moved")

    perform(body)


def test_an_asynchronous_file_is_one() -> None:
    async def main() -> None:
        async with LunetteClient() as client, await client.create_sandbox(HOST) as sandbox:
            file = await sandbox.files.aopen("a", "w")
            async with file:
                assert isinstance(file, AsyncFile)
                assert repr(file) == "AsyncFile(name='a', mode='w', closed=False)"

    asyncio.run(main())


def test_a_file_that_nobody_closed_is_not_written() -> None:
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        file: io.TextIOWrapper | None = sandbox.files.open("a", "w")
        assert file is not None
        file.write("a")
        with pytest.warns(ResourceWarning, match="'a' in the sandbox was not closed"):
            del file
            gc.collect()
        assert not sandbox.files.exists("a")
