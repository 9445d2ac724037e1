"""An engine that cannot start is tried again, when somebody needs it."""

from __future__ import annotations

import asyncio

import pytest

from lunette.server import _launching
from lunette.server._launching import Launching
from lunette.server._problems import Problem
from lunette.server.engines.protocol import Engine, EngineUnavailableError

from .bent_engine import BentEngine


def test_what_was_in_the_way_may_be_over(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = BentEngine()
    tries: list[int] = []

    async def launch() -> Engine:
        tries.append(len(tries))
        if len(tries) == 1:
            raise EngineUnavailableError("no")
        return engine

    async def main() -> None:
        told: list[Engine] = []
        launching = Launching(launch, told.append)
        launching.begin()
        for _ in range(2):
            with pytest.raises(Problem, match="no"):
                await launching.wait()
        assert len(tries) == 1
        monkeypatch.setattr(_launching, "_AGAIN_SECONDS", 0.0)
        found = await asyncio.gather(*(launching.wait() for _ in range(3)))
        assert found == [engine] * 3
        assert (len(tries), told) == (2, [engine])

    asyncio.run(main())


def test_none_is_launched_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_launching, "_AGAIN_SECONDS", 0.0)
    tries: list[int] = []

    async def launch() -> Engine:
        tries.append(len(tries))
        raise EngineUnavailableError("no")

    async def main() -> None:
        launching = Launching(launch, lambda _: None)
        launching.begin()
        await launching.close()
        with pytest.raises(Problem, match="no"):
            await launching.wait()
        assert tries == [0]

    asyncio.run(main())
