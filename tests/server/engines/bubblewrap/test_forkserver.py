"""The fork server runs this Python and no other, and says so when it does not."""

from __future__ import annotations

import sys

import pytest

from lunette.server.engines.bubblewrap._forkserver import _check_python
from lunette.server.engines.protocol import EngineUnavailableError


def test_this_python_is_taken() -> None:
    _check_python({"python": sys.version, "prefix": sys.base_prefix})


@pytest.mark.parametrize("wrong", [{"python": "3.11.2 (main)"}, {"prefix": "/usr/elsewhere"}])
def test_a_libpython_of_somebody_else_is_refused(wrong: dict[str, str]) -> None:
    hello = {"python": sys.version, "prefix": sys.base_prefix, **wrong}
    with pytest.raises(EngineUnavailableError, match="not 3"):
        _check_python(hello)
