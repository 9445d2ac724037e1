"""Directories in and out of a sandbox of the embedded server, in every world."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from .archive.conftest import tree as tree
from .archive.trees import described

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")

HOST = {"image": "host"}


def test_what_goes_in_comes_out(perform: Any, tree: Path, tmp_path: Path) -> None:
    async def body(client: Any) -> None:
        out = tmp_path / "out"
        sandbox = await client.create_sandbox(HOST)
        told: list[tuple[int, int | None]] = []
        await sandbox.upload(tree, "new/tree", progress=lambda *done: told.append(done))
        assert told == sorted(told, key=lambda done: done[0])
        assert told[-1][0] == told[-1][1]
        before = os.umask(0)
        try:
            await sandbox.download("new/tree", out)
        finally:
            os.umask(before)
        await sandbox.download("new/tree", out / "again", ignore=["*", "!/mode-1"])
        assert [path.name for path in (out / "again").iterdir()] == ["mode-1"]
        names = (await sandbox.exec("ls -A . new")).stdout.split()
        assert names == [".:", "new", "new:", "tree"]
        found = described(out)
        for extra in (b".", b"again", b"again/mode-1"):
            del found[extra]
        wanted = described(tree)
        del wanted[b"."]
        assert found == wanted

    perform(body)


def test_a_merge_keeps_what_is_there(perform: Any, tmp_path: Path) -> None:
    (tmp_path / "source" / "d").mkdir(parents=True)
    (tmp_path / "source" / "d" / "f").write_text("new")
    (tmp_path / "source" / "link").symlink_to("/etc")

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        await sandbox.exec("mkdir d; echo old > d/f; echo kept > d/g")
        await sandbox.upload(tmp_path / "source", ".")
        found = (await sandbox.exec("cat d/f d/g; readlink link; ls -A")).stdout
        assert found == "newkept\n/etc\nd\nlink\n"
        await sandbox.exec("rm -r d; touch d")
        with pytest.raises(NotADirectoryError):
            await sandbox.upload(tmp_path / "source", ".")
        assert (await sandbox.exec("ls -A")).stdout == "d\nlink\n"

    perform(body)
