"""A registry in memory for each test, and no login of the one who runs them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from .origin import Origin, serving


@pytest.fixture(autouse=True)
def docker_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Point Docker's configuration at an empty directory."""
    directory = tmp_path / "docker"
    directory.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    return directory


@pytest.fixture
def origin() -> Generator[Origin]:
    """Run a registry that is honest until the test bends it."""
    with serving() as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a store can be; nothing is there yet."""
    return tmp_path / "images"
