from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from lunette._io import run
from lunette._operations import files


def file(content: bytes) -> httpx.Response:
    length = {"Content-Length": str(len(content))}
    return httpx.Response(200, headers=length, content=iter([content]))


@pytest.mark.parametrize(
    ("path", "error"), [("", ValueError), ("a\0", ValueError), (b"a", TypeError), (None, TypeError)]
)
def test_wrong_remote_paths(scripted: Any, path: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="the path in the sandbox"):
        run(files.read_bytes(scripted(), "s1", path))


def test_text_keeps_its_newlines(scripted: Any) -> None:
    io = scripted(httpx.Response(204))
    run(files.write_text(io, "s1", "/w/a", "ä\r\n", encoding="utf-8"))
    assert io.uploaded == "ä\r\n".encode()
    io = scripted(httpx.Response(200, content="ä\r\n".encode()))
    assert run(files.read_text(io, "s1", "/a", encoding="utf-8", error_mode="strict")) == "ä\r\n"


def test_text_that_is_none(scripted: Any) -> None:
    io = scripted(httpx.Response(200, content=b"\xff"), httpx.Response(200, content=b"\xff"))
    with pytest.raises(UnicodeDecodeError):
        run(files.read_text(io, "s1", "/a", encoding="utf-8", error_mode="strict"))
    text = run(files.read_text(io, "s1", "/a", encoding="utf-8", error_mode="replace"))
    assert text == "\ufffd"


def test_str_is_not_bytes(scripted: Any) -> None:
    text: Any = "text"
    with pytest.raises(TypeError, match="data must be bytes, not str"):
        run(files.write_bytes(scripted(), "s1", "/a", text))
    with pytest.raises(TypeError, match="text must be a string, not bytes"):
        run(files.write_text(scripted(), "s1", "/a", text.encode(), encoding="utf-8"))


def test_a_missing_remote_file_is_a_file_not_found_error(scripted: Any) -> None:
    problem = {"code": "file_not_found", "detail": "no", "path": "/w/nope", "request_id": "r"}
    with pytest.raises(FileNotFoundError, match="/w/nope") as caught:
        run(files.read_bytes(scripted(httpx.Response(404, json=problem)), "s1", "nope"))
    assert (caught.value.errno, caught.value.filename) == (2, "/w/nope")


def test_what_is_read_and_written_is_logged(
    scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="lunette")
    io = scripted(httpx.Response(204), file(b"x"))
    run(files.write_bytes(io, "s1", "/w/a", b"x"))
    run(files.read_bytes(io, "s1", "/w/a"))
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert all(record.getMessage().startswith("[s1] ") for record in caplog.records)


def test_large_bytes_are_an_upload_and_read_in_parts(scripted: Any) -> None:
    data = bytes(range(256)) * 5000
    begun = {"upload_id": "u", "offset": 0, "committed": False}
    io = scripted(
        httpx.Response(200, json=begun),
        httpx.Response(200, json=begun | {"offset": len(data)}),
        httpx.Response(204),
        file(data),
    )
    run(files.write_bytes(io, "s1", "/w/a", memoryview(data)))
    assert io.uploaded == data
    assert run(files.read_bytes(io, "s1", "/w/a")) == data
