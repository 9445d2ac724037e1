"""One server for each file of tests, the time that all have, and what a storm reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from lunette import LunetteClient, Sandbox

from .clients import ids
from .server import Server, serving
from .settings import HOST, LOG, SEED, TimeBox


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the storms come last of this directory: they take the time that is left."""
    here = Path(__file__).parent
    storms = [item for item in items if item.path == here / "test_storms.py"]
    others = [item for item in items if item.path != here / "test_storms.py"]
    ours = [place for place, item in enumerate(others) if here in item.path.parents]
    if ours:
        place = ours[-1] + 1
        items[:] = [*others[:place], *storms, *others[place:]]


@pytest.fixture(scope="session")
def time_box() -> TimeBox:
    """Return the time of all of these tests, which begins with the first server."""
    return TimeBox()


@pytest.fixture(scope="module")
def server(time_box: TimeBox) -> Generator[Server]:
    """Run the server that the tests of a file share."""
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def seed() -> int:
    """Say what repeats a run: captured, it is shown where a test fails."""
    print(f"LUNETTE_FAULT_SEED={SEED}")
    return SEED


@pytest.fixture
def report(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[[object], None]:
    """Say at once what a storm did, and how long it took."""
    caplog.set_level(logging.CRITICAL, "lunette")  # thousands of attempts
    begun = time.monotonic()

    def say(what: object) -> None:
        with capsys.disabled():
            print(f"\n{time.monotonic() - begun:.1f} s: {what}")

    return say


@pytest.fixture
def direct(server: Server) -> Generator[LunetteClient]:
    """Return a client that goes around the proxy; its test may leave no sandbox."""
    with LunetteClient(base_url=server.url) as client:
        yield client
        left = ids(client)
        client.stop_sandboxes(left)  # the next test begins with none
        assert left == []


@pytest.fixture
def sandbox(direct: LunetteClient) -> Generator[Sandbox]:
    """Return a sandbox that is talked to around the proxy."""
    with direct.create_sandbox(HOST) as sandbox:
        sandbox.files.write_text(LOG, "")
        yield sandbox
