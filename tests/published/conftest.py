"""A server of the published wire alone, and its clients in every world."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import anyio
import pytest

from lunette import Sandbox
from lunette._io import run

from ..worlds import Facade
from .clients import IMAGE, Body, Perform, client_of
from .server import PublishedServer


@pytest.fixture
def published() -> Generator[PublishedServer]:
    with PublishedServer() as server:
        yield server


@pytest.fixture(params=["blocking", "asyncio", "trio"])
def perform(request: pytest.FixtureRequest, published: PublishedServer) -> Perform:
    """Run a test's body in one of the worlds, with a client of the published server."""

    def blocking(body: Body, **options: Any) -> None:
        with client_of(published, **options) as client:
            run(body(Facade(client, "")))

    def on_a_loop(body: Body, **options: Any) -> None:
        async def main() -> None:
            async with client_of(published, **options) as client:
                await body(Facade(client, "a"))

        anyio.run(main, backend=request.param)

    return blocking if request.param == "blocking" else on_a_loop


@pytest.fixture
def sandbox(published: PublishedServer) -> Generator[Sandbox]:
    with client_of(published) as client, client.create_sandbox(IMAGE) as sandbox:
        yield sandbox
