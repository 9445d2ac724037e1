"""Which engine a server runs."""

from __future__ import annotations

import os
import sys

from lunette.server.engines.protocol import Engine, EngineUnavailableError

__all__ = ["ENGINES", "launch", "select"]

ENGINES = ("auto", "bubblewrap")


async def launch(name: str | None = None) -> Engine:
    """Select an engine and start it."""
    engine = select(name)
    await engine.start()
    return engine


def select(name: str | None = None) -> Engine:
    """Return the engine of *name*, else of LUNETTE_ENGINE, else the one that fits this machine.

    It is not started: `start` says whether this machine can run it.
    """
    chosen = name or os.environ.get("LUNETTE_ENGINE") or "auto"
    if chosen not in ENGINES:
        raise EngineUnavailableError(f"there is no engine '{chosen}', only: {', '.join(ENGINES)}")
    if sys.platform != "linux":
        raise EngineUnavailableError(
            f"no engine runs on {sys.platform} yet: run 'lunette serve' on Linux,"
            " and give its URL as base_url or LUNETTE_BASE_URL"
        )
    # Only here, since it needs modules that Linux alone has.
    from lunette.server.engines.bubblewrap.engine import BubblewrapEngine

    return BubblewrapEngine()
