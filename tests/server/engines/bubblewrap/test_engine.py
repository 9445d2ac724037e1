"""The engine itself, from its start to its end."""

from __future__ import annotations

import asyncio
import os

import pytest

from lunette.server.engines.bubblewrap.engine import BubblewrapEngine
from lunette.server.engines.protocol import EngineUnavailableError, SandboxSpec


def test_nothing_is_made_while_it_closes() -> None:
    async def main() -> None:
        engine = BubblewrapEngine()
        await engine.start()
        closing = asyncio.create_task(engine.aclose())
        tries = 0
        while not closing.done():
            await asyncio.sleep(0)
            with pytest.raises(EngineUnavailableError):
                await engine.create(SandboxSpec(id=f"{tries}", image="host"))
            tries += 1
        await closing
        assert tries > 1
        assert engine._forkserver is not None and not engine._forkserver.alive

    before = os.umask(0o022)
    try:
        asyncio.run(main())
    finally:
        os.umask(before)
