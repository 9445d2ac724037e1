"""Servers, and windows of users who are at them."""

from __future__ import annotations

import shutil
from collections.abc import Generator

import pytest

from lunette import LunetteClient, Sandbox

from ..faults.server import Server, serving
from .network import Network
from .tmux import Tmux, window


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all of this directory where a part of the machine is missing."""
    missing = [program for program in ("tmux", "vim.tiny") if shutil.which(program) is None]
    for item in items:
        if missing and item.path.is_relative_to(__file__.removesuffix("/conftest.py")):
            item.add_marker(pytest.mark.skip(reason=f"there is no {missing[0]}"))


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Generator[LunetteClient]:
    with LunetteClient(base_url=server.url) as client:
        yield client
        # Whatever a test did, of the sandboxes that its users made none is left.
        assert not client.list_sandboxes()


@pytest.fixture
def sandbox(client: LunetteClient) -> Generator[Sandbox]:
    with client.create_sandbox({"image": "host"}) as sandbox:
        yield sandbox


@pytest.fixture
def network(server: Server) -> Generator[Network]:
    with Network(server.path) as network:
        yield network


@pytest.fixture
def tmux(server: Server) -> Generator[Tmux]:
    with window(LUNETTE_BASE_URL=server.url) as tmux:
        yield tmux


@pytest.fixture
def far(network: Network) -> Generator[Tmux]:
    with window(LUNETTE_BASE_URL=network.url) as tmux:
        yield tmux
