"""Transfers on a server that speaks the published wire alone: whole, or not at all."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from lunette import NotSupportedError

from .clients import IMAGE, Perform
from .server import PublishedServer

EVERY_BYTE = bytes(range(256)) * 8000


def test_every_kind_of_source_and_target(perform: Perform, tmp_path: Path) -> None:
    async def items() -> AsyncGenerator[bytes]:
        yield EVERY_BYTE[:1000]
        yield EVERY_BYTE[1000:]

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        (tmp_path / "a").write_bytes(EVERY_BYTE)
        (tmp_path / "a").chmod(0o755)
        sources: list[Any] = [tmp_path / "a", EVERY_BYTE, iter([EVERY_BYTE])]
        sources.append(io.BytesIO(EVERY_BYTE))
        if client._spelling:
            sources.append(items())
        told: list[tuple[int, int | None]] = []
        for source in sources:
            await sandbox.upload(source, "a", progress=lambda *how_far: told.append(how_far))
            assert told.pop() == (len(EVERY_BYTE), len(EVERY_BYTE))
            target = io.BytesIO()
            await sandbox.download("a", target)
            await sandbox.download("a", tmp_path / "new" / "a", mode=0o600)
            assert target.getvalue() == (tmp_path / "new" / "a").read_bytes() == EVERY_BYTE
        assert (tmp_path / "new" / "a").stat().st_mode & 0o777 == 0o600

    perform(body)


def test_what_it_cannot_do_is_refused_before_anything_is_sent(
    perform: Perform, published: PublishedServer, tmp_path: Path
) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        sent = len(published.diary)
        (tmp_path / "tree").mkdir()
        with pytest.raises(NotSupportedError, match="mode"):
            await sandbox.upload(b"x", "a", mode=0o755)
        with pytest.raises(NotSupportedError):
            await sandbox.upload(tmp_path / "tree", "tree")
        with pytest.raises(NotSupportedError):
            await sandbox.download("tree", tmp_path / "tree")
        assert len(published.diary) == sent

    perform(body)
