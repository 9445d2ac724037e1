"""How long sandboxes live, in every world."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lunette import APIError, SandboxExpiredError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")

HOST = {"image": "host"}
SOON, LONG = 0.1, 600.0


def test_a_sandbox_expires_unless_it_is_extended(perform: Any) -> None:
    async def body(client: Any) -> None:
        endless = await client.create_sandbox(HOST)
        assert await endless.extend(SOON) is None
        idle = await client.create_sandbox(HOST, idle_timeout=LONG)
        kept = await client.create_sandbox(HOST, ttl=LONG)
        before = datetime.now(UTC)
        end = await kept.extend(2 * LONG)
        assert timedelta(seconds=2 * LONG - 1) < end - before < timedelta(seconds=3 * LONG)
        assert abs(await kept.extend(1) - end) < timedelta(seconds=1)
        short = await client.create_sandbox(HOST, ttl=SOON)
        with pytest.raises(SandboxExpiredError) as expired:
            await short.exec("sleep 3599")
        assert isinstance(expired.value, APIError)
        assert expired.value.status_code == 410
        with pytest.raises(SandboxExpiredError):
            await short.files.read_text("a")
        with pytest.raises(SandboxExpiredError):
            await short.extend(1)
        assert (await kept.exec("echo there")).stdout == "there\n"
        found = {info.sandbox_id: info for info in await client.list_sandboxes()}
        assert found[endless.sandbox_id].expires_at is None
        assert found[idle.sandbox_id].expires_at is not None
        for sandbox in (endless, idle, kept, short):
            await sandbox.destroy()

    perform(body)
