"""An engine alone, as root and as an ordinary user."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ....isolation import stage
from ....isolation.engines import Box, Engine, driving
from ....isolation.files import Files


@pytest.fixture(scope="module", params=["root", "user"])
def mode(request: pytest.FixtureRequest) -> str:
    if request.param == "root" and not stage.is_root():
        pytest.skip("only root can run an engine as root")
    return str(request.param)


@pytest.fixture(scope="module")
def engine(mode: str) -> Iterator[Engine]:
    with driving(mode) as running:
        yield running


@pytest.fixture
def box(engine: Engine) -> Iterator[Box]:
    with engine.sandbox() as made:
        yield made


@pytest.fixture
def files(box: Box) -> Files:
    return Files(box)
