from __future__ import annotations

import errno
from typing import Any

import httpx
import pytest

from lunette import APIError, errors
from lunette._answers import from_transport
from lunette._digest import Xxh3
from lunette._io import run
from lunette._operations import _opening
from lunette._operations._opening import PART, Readable

ETAG = '"1"'
FILE = Readable("/w/a", 3 * PART, ETAG, b"x" * PART)


def part(content: bytes, start: int, size: int | str, etag: str = ETAG) -> httpx.Response:
    named = f"bytes {start}-{start + len(content) - 1}/{size}"
    headers = {"Content-Range": named, "ETag": etag}
    return httpx.Response(206, headers=headers, content=content)


def problem(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "why", "path": "/w/a"})


def test_a_file_is_opened_by_its_first_part(scripted: Any) -> None:
    io = scripted(part(b"x" * PART, 0, 5 * PART))
    file = run(_opening.open_to_read(io, "s1", "/w/a"))
    assert (file.size, file.etag, file.first) == (5 * PART, ETAG, b"x" * PART)
    headers = io.requests[0]["headers"]
    assert headers == {"Range": f"bytes=0-{PART - 1}", "Accept-Encoding": "identity"}


def test_one_that_says_it_is_empty_is_read_whole(scripted: Any) -> None:
    whole = httpx.Response(200, headers={"ETag": ETAG}, content=b"of /proc")
    io = scripted(problem(416, "range_not_satisfiable"), whole)
    file = run(_opening.open_to_read(io, "s1", "/proc/a"))
    assert (file.size, file.first) == (8, b"of /proc")
    assert "Range" not in io.requests[1]["headers"]


def test_a_server_without_ranges_gives_the_whole_file(scripted: Any) -> None:
    file = run(_opening.open_to_read(scripted(httpx.Response(200, content=b"abc")), "s1", "a"))
    assert file == Readable("a", 3, None, b"abc")
    io = scripted(httpx.Response(200, content=b"abcdef"))
    assert run(_opening.read_part(io, "s1", Readable("a", 6, None, b""), 2, 3)) == b"cde"
    assert "If-Match" not in io.requests[0]["headers"]


def test_a_part_is_of_the_same_version(scripted: Any) -> None:
    io = scripted(part(b"y" * 10, PART, 3 * PART))
    assert run(_opening.read_part(io, "s1", FILE, PART, 10)) == b"y" * 10
    assert io.requests[0]["headers"]["If-Match"] == ETAG
    assert io.requests[0]["headers"]["Range"] == f"bytes={PART}-{PART + 9}"


def test_what_was_read_is_not_asked_for(scripted: Any) -> None:
    assert run(_opening.read_part(scripted(), "s1", FILE, 5, 10)) == b"x" * 10


def test_the_last_part_ends_with_the_file(scripted: Any) -> None:
    io = scripted(part(b"y" * 10, 3 * PART - 10, 3 * PART))
    assert run(_opening.read_part(io, "s1", FILE, 3 * PART - 10, PART)) == b"y" * 10


@pytest.mark.parametrize(
    "answer",
    [
        problem(412, "precondition_failed"),
        part(b"y" * 9, PART, 3 * PART),
        part(b"y" * 10, PART, 4 * PART),
        httpx.Response(200, content=b"short"),
    ],
)
def test_one_that_changed_is_an_error(scripted: Any, answer: httpx.Response) -> None:
    with pytest.raises(
        OSError, match=r"hanged while it was read.* \(in the sandbox\)|/w/a"
    ) as caught:
        run(_opening.read_part(scripted(answer), "s1", FILE, PART, 10))
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, "/w/a")


@pytest.mark.parametrize("answer", [part(b"y" * 10, 0, 3 * PART), part(b"y" * 10, PART, "*")])
def test_a_range_that_nobody_asked_for(scripted: Any, answer: httpx.Response) -> None:
    with pytest.raises(APIError, match="not of the range asked for"):
        run(_opening.read_part(scripted(answer), "s1", FILE, PART, 10))


def begun(offset: int = 0) -> httpx.Response:
    return httpx.Response(200, json={"upload_id": "u", "offset": offset, "committed": False})


def test_a_file_is_written_by_an_upload(scripted: Any) -> None:
    io = scripted(begun(), begun(3), begun(5), httpx.Response(204))
    writing = run(_opening.open_to_write(io, "s1", "/w/a", "fail"))
    assert io.requests[0]["json"]["if_exists"] == "fail"
    run(writing.write(io, b"abc"))
    run(writing.write(io, b"de"))
    run(writing.commit(io))
    digest = Xxh3()
    digest.see(0, io.uploaded)
    assert io.uploaded == b"abcde"
    assert io.requests[3]["json"]["length"] == 5
    assert io.requests[3]["json"]["digest"] == str(digest)


def test_one_that_cannot_begin_leaves_nothing(scripted: Any) -> None:
    io = scripted(problem(409, "file_exists"))
    with pytest.raises(FileExistsError):
        run(_opening.open_to_write(io, "s1", "/w/a", "fail"))
    assert len(io.diary) == 1
    io = scripted(from_transport(httpx.ReadError("cut")), httpx.Response(204))
    with pytest.raises(errors.TransportError):
        run(_opening.open_to_write(io, "s1", "/w/a", "replace"))
    assert io.diary[-1].startswith("delete /sandboxes/s1/uploads/")


def test_abort_is_that_of_the_same_upload(scripted: Any) -> None:
    io, elsewhere = scripted(begun()), scripted(httpx.Response(204))
    writing = run(_opening.open_to_write(io, "s1", "/w/a", "replace"))
    run(writing.abort(elsewhere))
    assert elsewhere.requests[0]["url"] == io.requests[0]["url"]
