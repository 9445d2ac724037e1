from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette import errors
from lunette._io import run
from lunette._operations import files


def file(content: bytes) -> httpx.Response:
    length = {"Content-Length": str(len(content))}
    return httpx.Response(200, headers=length, content=iter([content]))


def test_upload_declares_its_length(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    io = scripted(httpx.Response(204))

    run(files.upload(io, "s1", tmp_path / "a", "/w/a b"))

    assert io.uploaded == b"0123456789"
    request = io.requests[0]
    assert (request["method"], request["url"]) == ("put", "/sandboxes/s1/files")
    assert request["params"] == {"path": "/w/a b"}
    assert request["headers"]["Content-Length"] == "10"
    assert "content" not in request


def test_upload_sends_files_that_claim_to_be_empty(scripted: Any) -> None:
    io = scripted(httpx.Response(204))
    run(files.upload(io, "s1", "/proc/self/status", "/w/status"))
    assert io.uploaded.startswith(b"Name:")
    assert int(io.requests[0]["headers"]["Content-Length"]) == len(io.uploaded)


def test_upload_sends_no_more_than_it_declared(scripted: Any, tmp_path: Path) -> None:
    source = tmp_path / "log"
    source.write_bytes(b"x" * 10)

    class Growing(scripted):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> httpx.Response:
            with source.open("ab") as log:
                log.write(b"more")
            answer: httpx.Response = await super().send(request, **options)
            return answer

    io = Growing(httpx.Response(204))
    run(files.upload(io, "s1", source, "/w/log"))
    assert io.uploaded == b"x" * 10


def test_upload_refuses_what_is_no_file_before_anything_is_sent(
    scripted: Any, tmp_path: Path
) -> None:
    io = scripted()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FileNotFoundError, match="nope"):
        run(files.upload(io, "s1", tmp_path / "nope", "/w"))
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        run(files.upload(io, "s1", tmp_path, "/w"))
    with pytest.raises(OSError, match="not a regular file"):
        run(files.upload(io, "s1", tmp_path / "fifo", "/w"))
    assert io.diary == []


@pytest.mark.parametrize(
    ("path", "error"), [("", ValueError), ("a\0", ValueError), (b"a", TypeError), (None, TypeError)]
)
def test_wrong_remote_paths(scripted: Any, path: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="the path in the sandbox"):
        run(files.read_bytes(scripted(), "s1", path))


def test_download_replaces_the_target(scripted: Any, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    target.chmod(0o640)

    run(files.download(scripted(file(b"new")), "s1", "/w/a", str(target)))

    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_download_makes_a_file_like_any_other(scripted: Any, tmp_path: Path) -> None:
    run(files.download(scripted(file(b"")), "s1", "/w/a", tmp_path / "new"))
    (tmp_path / "plain").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_download_keeps_a_symbolic_link(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    run(files.download(scripted(file(b"x")), "s1", "a", tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


def test_download_to_a_device_does_not_replace_it(scripted: Any) -> None:
    run(files.download(scripted(file(b"x")), "s1", "/w/a", os.devnull))
    assert Path(os.devnull).is_char_device()


def cut() -> httpx.Response:
    def body() -> Any:
        yield b"half"
        raise errors.from_transport(httpx.ReadError("cut"))

    return httpx.Response(200, content=body())


@pytest.mark.parametrize(
    "answer",
    [
        cut(),
        httpx.Response(200, headers={"Content-Length": "9"}, content=iter([b"half"])),
        httpx.Response(404, json={"code": "file_not_found", "path": "/w/a"}),
        httpx.Response(502, html="<h1>Bad Gateway</h1>"),
    ],
)
def test_failed_download_leaves_the_old_file(
    scripted: Any, tmp_path: Path, answer: httpx.Response
) -> None:
    (tmp_path / "out").write_text("old")
    with pytest.raises(errors.LunetteError):
        run(files.download(scripted(answer), "s1", "/w/a", tmp_path / "out"))
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert (tmp_path / "out").read_text() == "old"


def test_download_refuses_targets_before_anything_is_sent(scripted: Any, tmp_path: Path) -> None:
    io = scripted()
    with pytest.raises(IsADirectoryError, match=str(tmp_path / "a.txt")):
        run(files.download(io, "s1", "/w/a.txt", tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(files.download(io, "s1", "/w/a.txt", tmp_path / "nowhere" / "a"))
    assert io.diary == []


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


def test_transfers_are_logged(
    scripted: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="lunette")
    (tmp_path / "a").write_text("x")
    io = scripted(httpx.Response(204), file(b"x"))
    run(files.upload(io, "s1", tmp_path / "a", "/w/a"))
    run(files.download(io, "s1", "/w/a", tmp_path / "a"))
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert all(record.getMessage().startswith("[s1] ") for record in caplog.records)
