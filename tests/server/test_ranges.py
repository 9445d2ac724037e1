from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from lunette.server._problems import Problem
from lunette.server._ranges import asked_range, check_match

TAG = '"1-2"'


@pytest.mark.parametrize(
    ("fields", "size", "found"),
    [
        ({}, 10, None),
        ({"Range": "bytes=2-"}, 10, (2, 10)),
        ({"Range": "bytes=2-3"}, 10, (2, 4)),
        ({"Range": "bytes=2-100"}, 10, (2, 10)),
        ({"Range": " bytes = 2-3 "}, 10, None),
        ({"Range": "bytes=-3"}, 10, None),
        ({"Range": "bytes=3-2"}, 10, None),
        ({"Range": "bytes=1-2, 4-5"}, 10, None),
        ({"Range": "bytes=" + "9" * 31 + "-"}, 10, None),
        ({"Range": "bytes=²-"}, 10, None),
        ({"Range": "bytes=2-", "If-Range": TAG}, 10, (2, 10)),
        ({"Range": "bytes=2-", "If-Range": '"other"'}, 10, None),
        ({"Range": "bytes=2-", "If-Range": f"W/{TAG}"}, 10, None),
        ({"Range": "bytes=20-", "If-Range": '"other"'}, 10, None),
        ({"Range": "bytes=2-", "If-Range": "Wed, 21 Oct 2015 07:28:00 GMT"}, 10, None),
    ],
)
def test_what_is_asked_for(
    fields: dict[str, str], size: int, found: tuple[int, int] | None
) -> None:
    assert asked_range(Headers(fields), TAG, size) == found


@pytest.mark.parametrize(
    ("asked", "size"), [("bytes=10-", 10), ("bytes=10-11", 10), ("bytes=0-", 0)]
)
def test_what_is_behind_the_end(asked: str, size: int) -> None:
    with pytest.raises(Problem) as caught:
        asked_range(Headers({"Range": asked}), TAG, size)
    assert (caught.value.status, caught.value.code) == (416, "range_not_satisfiable")
    assert caught.value.headers is not None
    assert caught.value.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize("given", [None, "*", TAG, f'"x", {TAG}', f"W/{TAG},{TAG}"])
def test_files_that_match(given: str | None) -> None:
    check_match(Headers({} if given is None else {"If-Match": given}), TAG, "f")


@pytest.mark.parametrize("given", ['"x"', f"W/{TAG}", "1-2", ""])
def test_files_that_do_not(given: str) -> None:
    with pytest.raises(Problem) as caught:
        check_match(Headers({"If-Match": given}), TAG, "f")
    assert (caught.value.status, caught.value.code) == (412, "precondition_failed")
    assert caught.value.path == "f"
