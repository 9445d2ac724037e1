"""Pausing, resuming and measuring sandboxes, in every world."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from lunette import SandboxPausedError

from .worlds import Body, Facade
from .worlds import perform as perform

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")


def test_a_sandbox_is_paused_measured_and_resumed(perform: Callable[[Body], None]) -> None:
    async def body(client: Facade) -> None:
        sandbox = await client.create_sandbox({"image": "host"})
        process = await sandbox.start("read line; echo $line; while :; do :; done", input="go\n")
        await sandbox.pause()
        await sandbox.pause()
        (listed,) = [one for one in await client.list_sandboxes() if one.state == "paused"]
        assert listed.sandbox_id == sandbox.sandbox_id
        with pytest.raises(SandboxPausedError, match="resume it first"):
            await sandbox.exec("true")
        with pytest.raises(SandboxPausedError):
            await sandbox.files.read_text("a")
        with pytest.raises(SandboxPausedError):
            await process.signal("CONT")
        used = await sandbox.stats()
        assert used.memory > 0 and used.processes >= 2
        await sandbox.resume()
        await sandbox.resume()
        assert (await sandbox.exec("echo on")).stdout == "on\n"
        await sandbox.pause()
        await process.kill()
        assert await process.poll() == 137
        await sandbox.destroy()

    perform(body)
