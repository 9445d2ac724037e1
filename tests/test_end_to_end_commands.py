"""Commands in every world: what is kept of their output, and those that take long."""

from __future__ import annotations

from typing import Any

import pytest

import lunette

HOST = {"image": "host"}
MEGABYTE = 1024 * 1024


def test_output_limits_and_duration(perform: Any) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        result = await sandbox.exec("printf 0123456789; printf abc >&2; sleep 0.2", output_limit=4)
        assert (result.stdout, result.stderr, result.truncated) == ("0189", "abc", 6)
        assert 0.2 <= result.duration < 60
        result = await sandbox.exec("yes | head -c 1000000", output_limit=0)
        assert (result.stdout, result.truncated) == ("", 1_000_000)
        large = await sandbox.exec("head -c 16000000 /dev/zero", output_limit=16 * MEGABYTE)
        assert (len(large.stdout_bytes), large.truncated) == (16_000_000, 0)
        await sandbox.destroy()

    perform(body)


def test_a_long_command_is_asked_for_again(
    perform: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lunette._operations._FIRST_WAIT", 0)
    monkeypatch.setattr("lunette._operations._NEXT_WAIT", 0.1)
    caplog.set_level("INFO", logger="httpx")

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(HOST)
        result = await sandbox.exec("echo begun; sleep 0.5; echo ended")
        assert result.stdout == "begun\nended\n"
        with pytest.raises(lunette.ExecTimeoutError) as late:
            await sandbox.exec("echo begun; sleep 3598", timeout=0.4)
        assert late.value.result.stdout == "begun\n"
        assert "3598" not in (await sandbox.exec("cat /proc/[0-9]*/cmdline")).stdout
        await sandbox.destroy()

    perform(body)
    followed = [
        r for r in caplog.records if "GET" in r.getMessage() and "/processes/" in r.getMessage()
    ]
    assert len(followed) > 4
