from __future__ import annotations

import pickle

import pytest
from attrs.exceptions import FrozenInstanceError

from lunette import ExecResult


def test_success_follows_the_exit_code() -> None:
    assert ExecResult("", "", 0).success
    assert not ExecResult("", "", 1).success
    assert ExecResult("out", "err", 1, True).success


def test_repr_is_the_published_one() -> None:
    assert repr(ExecResult("long", "", 0)) == "ExecResult(exit_code=0, success=True)"


def test_bytes_are_exact() -> None:
    assert ExecResult("ä", "", 0).stdout_bytes == "ä".encode()
    assert ExecResult("", "\ufffd", 0, stderr_base64="/w==").stderr_bytes == b"\xff"


def test_a_result_is_a_value() -> None:
    result = ExecResult("out", "", 0, signal=None)
    assert pickle.loads(pickle.dumps(result)) == result
    with pytest.raises(FrozenInstanceError):
        result.exit_code = 1  # type: ignore[misc]
