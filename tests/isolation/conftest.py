"""A real server for each way to run one, and servers with walls taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import stage
from engines import Box, Engine, driving
from servers import Server, serving

from lunette import Sandbox

from ..images.hostile import Hostile
from ..images.oci_image import Layer
from ..images.registry import Registry
from ..images.tar_layers import file


@pytest.fixture(scope="session", params=["root", "user"])
def mode(request: pytest.FixtureRequest) -> str:
    if request.param == "root" and not stage.is_root():
        pytest.skip("only root can run a server as root")
    return str(request.param)


@pytest.fixture(scope="session")
def server(mode: str) -> Iterator[Server]:
    with serving(mode) as running:
        yield running


@pytest.fixture
def sandbox(server: Server) -> Iterator[Sandbox]:
    with server.client.create_sandbox({"image": "host"}) as made:
        yield made


@pytest.fixture(scope="module")
def engine(mode: str) -> Iterator[Engine]:
    with driving(mode) as running:
        yield running


@pytest.fixture
def box(engine: Engine) -> Iterator[Box]:
    with engine.sandbox() as made:
        yield made


Weaken = Callable[..., Sandbox]


@pytest.fixture
def weaken(mode: str) -> Iterator[Weaken]:
    """Return a function that makes a sandbox of a weakened server."""
    with ExitStack() as stack:

        def made(*weaknesses: str) -> Sandbox:
            weak = stack.enter_context(serving(mode, *weaknesses))
            return stack.enter_context(weak.client.create_sandbox({"image": "host"}))

        yield made


@pytest.fixture(scope="session")
def hostile(local_registry: Registry, python_layer: Layer) -> Hostile:
    return Hostile(local_registry, python_layer)


@pytest.fixture(scope="session")
def plain(hostile: Hostile) -> str:
    program = Path("/usr/bin/id").read_bytes()
    return hostile.reference(file("as-root", program, mode=0o6755), file("victim", "whole"))
