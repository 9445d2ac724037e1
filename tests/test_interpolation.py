"""The table of https://docs.docker.com/reference/compose-file/interpolation/, and its edges."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from lunette._interpolation import Filling, interpolated
from lunette.errors import ServiceError

VARIABLES = {"SET": "value", "EMPTY": "", "OTHER": "other", "_a1": "under"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        # Direct substitution
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a${SET}b$SET-c", "avalueb" + "value-c"),
        ("$_a1 ${_a1}", "under under"),
        ("$SET.x ${SET}x", "value.x valuex"),
        ("${EMPTY}", ""),
        # Default value
        ("${SET:-default}", "value"),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-default}", "default"),
        ("${SET-default}", "value"),
        ("${EMPTY-default}", ""),
        ("${UNSET-default}", "default"),
        ("${UNSET:-}", ""),
        # Required value
        ("${SET:?error}", "value"),
        ("${SET?error}", "value"),
        ("${EMPTY?error}", ""),
        # Alternative value
        ("${SET:+replacement}", "replacement"),
        ("${EMPTY:+replacement}", ""),
        ("${UNSET:+replacement}", ""),
        ("${SET+replacement}", "replacement"),
        ("${EMPTY+replacement}", "replacement"),
        ("${UNSET+replacement}", ""),
        # Nested
        ("${UNSET:-${OTHER}}", "other"),
        ("${SET?$OTHER}", "value"),
        ("${UNSET:-${UNSET:-default}}", "default"),
        ("${UNSET-${SET} ${OTHER}}!", "value other!"),
        ("${SET:+<$OTHER>}", "<other>"),
        ("${SET:-${UNSET?never looked at}}", "value"),
        # The first operator is the one
        ("${UNSET-my?text:-x+y}", "my?text:-x+y"),
        ("${UNSET:-/non:-alphanumeric}", "/non:-alphanumeric"),
        ("${UNSET:-two\nlines}", "two\nlines"),
        # Literal dollars
        ("$$SET", "$SET"),
        ("$${SET}", "${SET}"),
        ("$$$SET", "$value"),
        ("$", "$"),
        ("$5 and $ and $-", "$5 and $ and $-"),
        ("100$", "100$"),
        ("$}", "$}"),
        ("{SET}", "{SET}"),
        # A brace in a word closes it, unless it belongs to a variable
        ("${UNSET:-{}}", "{}"),
        ("$ä", "$ä"),
    ],
)
def test_substitution(text: str, expected: str) -> None:
    assert Filling(VARIABLES.get).text(text, "file: key") == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("${UNSET:?why}", "the variable UNSET is not set: why"),
        ("${EMPTY:?why}", "the variable EMPTY is empty: why"),
        ("${UNSET?why}", "the variable UNSET is not set: why"),
        ("${UNSET?}", "the variable UNSET is not set$"),
        ("${UNSET:?needs ${OTHER}}", "the variable UNSET is not set: needs other"),
        ("${UNSET:-${EMPTY:?deep}}", "the variable EMPTY is empty: deep"),
        ("${", "no closing brace"),
        ("${SET", "'\\${SET' has no closing brace"),
        ("${UNSET:-${SET}", "no closing brace"),
        ("${}", "'\\${}' is no variable"),
        ("${ SET}", "is no variable"),
        ("${SET }", "is no variable"),
        ("${SET/foo/bar}", "is no variable"),
        ("${SET!}", "is no variable"),
        ("${SET:=x}", "is no variable"),
        ("${1A}", "is no variable"),
        ("${UNSET:-" * 60 + "}" * 60, "nested more than 50 deep"),
        ("${" * 300_000, "nested more than 50 deep"),
        ("${UNSET:-" * 100_000 + "}" * 100_000, "nested more than 50 deep"),
    ],
)
def test_errors_name_the_place_and_the_variable(text: str, says: str) -> None:
    with pytest.raises(ServiceError, match=f"^compose.yaml: services.web.image: .*{says}"):
        Filling(VARIABLES.get).text(text, "compose.yaml: services.web.image")


def test_what_is_not_set_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lunette"):
        assert Filling(VARIABLES.get).text("a $UNSET b ${UNSET} $EMPTY", "f: k") == "a  b  "
    said = "f: k: the variable UNSET is not set; it is left empty"
    assert [record.getMessage() for record in caplog.records] == [said, said]


def test_values_of_every_kind_and_no_keys() -> None:
    value: Any = {"$SET": ["$SET", {"a": "${OTHER}", "b": 1}, None, True], "c": 1.5}
    expected = {"$SET": ["value", {"a": "other", "b": 1}, None, True], "c": 1.5}
    assert interpolated(value, VARIABLES.get, "f") == expected


def test_the_path_of_a_value() -> None:
    with pytest.raises(ServiceError, match=r"^f: a\.b\[1\]\.c: the variable UNSET"):
        interpolated({"b": ["x", {"c": "${UNSET?}"}]}, VARIABLES.get, "f: a")


def test_values_that_multiply() -> None:
    large = {"A": "x" * 1024 * 1024}
    for value in ("$A" * 20, ["${A:-x}"] * 20, {str(n): "${A}" for n in range(20)}):
        with pytest.raises(ServiceError, match=r"^f.*: the values of all variables are larger"):
            interpolated(value, large.get, "f")
