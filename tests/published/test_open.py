"""Files that are open, over a wire that has but whole ones."""

from __future__ import annotations

from typing import Any

import pytest

from lunette import NotSupportedError

from .clients import IMAGE, Perform, in_short
from .server import PublishedServer

EVERY_BYTE = bytes(range(256))


def test_open_reads_and_writes_whole_files(perform: Perform, published: PublishedServer) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        files = sandbox.files
        async with await files.open("/workspace/a", "wb") as file:
            await file.write(EVERY_BYTE)
            await file.write(EVERY_BYTE)
            with pytest.raises(FileNotFoundError):
                await files.read_bytes("/workspace/a")
        async with await files.open("/workspace/a", "rb") as file:
            await file.seek(256)
            assert await file.read() == EVERY_BYTE
        async with await files.open("/workspace/b", "w") as file:
            await file.write("ä\nb")
        async with await files.open("/workspace/b") as file:
            assert [line async for line in file] == ["ä\n", "b"]
        assert [chunk async for chunk in files.iter_bytes("/workspace/b")] == ["ä\nb".encode()]
        with pytest.raises(RuntimeError, match="mine"):
            async with await files.open("/workspace/c", "w") as file:
                raise RuntimeError("mine")

    perform(body)
    written = [line for line in in_short(published.diary) if "write" in line]
    assert len(written) == 2


def test_what_whole_files_cannot_do(perform: Perform, published: PublishedServer) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        before = len(published.diary)
        for mode in ("a", "ab", "x"):
            with pytest.raises(NotSupportedError, match="write it whole"):
                await sandbox.files.open("/workspace/a", mode)
        for verb, args in (("list", []), ("mkdir", ["d"]), ("move", ["a", "b"]), ("exists", ["a"])):
            with pytest.raises(NotSupportedError, match="a command can"):
                await getattr(sandbox.files, verb)(*args)
        assert len(published.diary) == before

    perform(body)
