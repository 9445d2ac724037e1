from __future__ import annotations

import base64
import errno
import io as streams
import logging
import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
import xxhash

from lunette import RetryPolicy, errors
from lunette._answers import from_transport
from lunette._io import run
from lunette._operations import transfers
from lunette._operations._downloading import chunks

DATA = bytes(range(251)) * 1000
OTHER = DATA[::-1]


def file(content: bytes, *, etag: str = '"1"', cut_at: int | None = None) -> httpx.Response:
    headers = {"Content-Length": str(len(content)), "ETag": etag}
    return httpx.Response(200, headers=headers, content=body(content, cut_at))


def rest(content: bytes, start: int, *, cut_at: int | None = None) -> httpx.Response:
    headers = {
        "Content-Length": str(len(content) - start),
        "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
        "ETag": '"1"',
    }
    return httpx.Response(206, headers=headers, content=body(content[start:], cut_at))


def body(content: bytes, cut_at: int | None) -> Any:
    if cut_at is None:
        yield content
        return
    yield content[:cut_at]
    raise from_transport(httpx.ReadError("cut"))


def stat(content: bytes, *, etag: str = '"1"') -> httpx.Response:
    digest = base64.b64encode(xxhash.xxh3_64(content).digest()).decode()
    found = {"path": "/w/a", "type": "file", "size": len(content), "mode": 0o644, "mtime": 1.0}
    more = {"uid": 0, "gid": 0, "etag": etag, "digest": f"xxh3-64=:{digest}:"}
    return httpx.Response(200, json=found | more)


def problem(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "path": "/w/a"})


def download(io: Any, target: Any, path: str = "/w/a", **options: Any) -> None:
    given = {"mode": None, "ignore": None, "progress": False} | options
    run(transfers.download(io, "s1", path, target, **given))


def ranges(io: Any) -> list[tuple[str | None, str | None]]:
    asked = [request for request in io.requests if request["url"].endswith("/files")]
    return [(a["headers"].get("Range"), a["headers"].get("If-Range")) for a in asked]


def test_it_replaces_the_target(scripted: Any, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    target.chmod(0o640)

    download(scripted(file(b"new")), str(target))

    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_it_makes_a_file_like_any_other(scripted: Any, tmp_path: Path) -> None:
    download(scripted(file(b"")), tmp_path / "new")
    (tmp_path / "plain").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_mode_is_that_of_the_file(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "old").touch(0o600)
    for name in ("new", "old"):
        download(scripted(file(b"x")), tmp_path / name, mode=0o751)
        assert (tmp_path / name).stat().st_mode & 0o7777 == 0o751


def test_missing_directories_are_made_and_not_left(scripted: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="/w/a"):
        download(scripted(problem(404, "file_not_found")), tmp_path / "a" / "b")
    io = scripted(file(DATA, cut_at=10, etag=""))
    with pytest.raises(errors.TransportError):
        download(io, tmp_path / "a" / "b" / "c")
    assert list(tmp_path.iterdir()) == []
    download(scripted(file(DATA)), tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == DATA


def test_a_symbolic_link_stays_one(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    download(scripted(file(b"x")), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


def test_a_device_is_not_replaced(scripted: Any) -> None:
    download(scripted(file(b"x")), os.devnull)
    assert Path(os.devnull).is_char_device()


def test_a_long_name_has_room_for_what_is_written_first(scripted: Any, tmp_path: Path) -> None:
    for name in ("x" * 255, "\N{CRAB}" * 63 + "xyz", os.fsdecode(b"\xff" * 255)):
        download(scripted(file(b"x")), tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"x"


@pytest.mark.parametrize(
    "answer",
    [
        file(DATA, cut_at=7, etag=""),
        httpx.Response(200, headers={"Content-Length": "9"}, content=iter([b"half"])),
        problem(404, "file_not_found"),
        httpx.Response(502, html="<h1>Bad Gateway</h1>"),
    ],
)
def test_what_fails_leaves_the_old_file(
    scripted: Any, tmp_path: Path, answer: httpx.Response
) -> None:
    if not answer.headers.get("ETag", "x"):
        del answer.headers["ETag"]
    (tmp_path / "out").write_text("old")
    with pytest.raises(errors.LunetteError):
        download(scripted(answer), tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert (tmp_path / "out").read_text() == "old"


def test_a_cut_one_goes_on_where_it_was_and_is_compared(scripted: Any, tmp_path: Path) -> None:
    io = scripted(file(DATA, cut_at=1000), rest(DATA, 1000, cut_at=1), rest(DATA, 1001), stat(DATA))
    download(io, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA
    assert ranges(io) == [(None, None), ("bytes=1000-", '"1"'), ("bytes=1001-", '"1"')]
    assert io.requests[-1]["params"] == {
        "path": "/w/a",
        "digest": "xxh3-64",
        "follow_symlinks": True,
    }


def test_a_short_answer_is_a_cut(scripted: Any, tmp_path: Path) -> None:
    short = file(DATA)
    short.stream = httpx.Response(200, content=iter([DATA[:5]])).stream
    io = scripted(short, rest(DATA, 5), stat(DATA))
    download(io, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize("how", ["path", "file"])
def test_a_file_that_changed_is_read_from_its_beginning(
    scripted: Any, tmp_path: Path, how: str
) -> None:
    told: list[tuple[int, int | None]] = []
    new = OTHER[:200_000]
    io = scripted(file(DATA, cut_at=240_000), file(new, etag='"2"'))
    options: dict[str, Any] = {"progress": lambda done, total: told.append((done, total))}
    if how == "path":
        download(io, tmp_path / "a", **options)
        assert (tmp_path / "a").read_bytes() == new
    else:
        target = streams.BytesIO(b"before")
        target.seek(6)
        download(io, target, **options)
        assert target.getvalue() == b"before" + new
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_does_not_compare_is_read_again(scripted: Any, tmp_path: Path) -> None:
    parts = file(DATA, cut_at=10), rest(DATA, 10)
    io = scripted(*parts, stat(OTHER), file(DATA, cut_at=10), rest(DATA, 10), stat(DATA))
    download(io, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA
    again = file(DATA, cut_at=10), rest(DATA, 10)
    io = scripted(*again, problem(409, "file_changed"), file(OTHER, etag='"2"'))
    download(io, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == OTHER


def test_a_file_that_never_rests_is_an_error(scripted: Any, tmp_path: Path) -> None:
    answers = [file(DATA, cut_at=10 + n, etag=f'"{n}"') for n in range(9)]
    with pytest.raises(OSError, match="changed while it was read") as caught:
        download(scripted(*answers), tmp_path / "a")
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, "/w/a")
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_taken_back_a_changed_file_is_an_error(scripted: Any) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as got, os.fdopen(write, "wb") as target:
        with pytest.raises(OSError, match="changed") as caught:
            download(scripted(file(DATA, cut_at=10), file(DATA, etag='"2"')), target)
        assert caught.value.errno == errno.ESTALE
        download(scripted(file(DATA[:9], cut_at=4), rest(DATA[:9], 4), stat(DATA[:9])), target)
        target.close()
        assert got.read() == DATA[:10] + DATA[:9]


def test_it_is_given_up_when_nothing_comes(scripted: Any, tmp_path: Path) -> None:
    answers = [file(DATA, cut_at=10), *(rest(DATA, 10, cut_at=0) for _ in range(3))]
    io = scripted(*answers)
    with pytest.raises(errors.TransportError, match="cut"):
        download(io, tmp_path / "a")
    assert len(io.requests) == 4
    io = scripted(file(DATA, cut_at=10))
    io.policy = RetryPolicy(attempts=1)
    with pytest.raises(errors.TransportError, match="cut"):
        download(io, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_range_is_an_error(scripted: Any, tmp_path: Path) -> None:
    io = scripted(file(DATA, cut_at=10), rest(DATA, 11))
    with pytest.raises(errors.APIError, match="not of the range"):
        download(io, tmp_path / "a")


@pytest.mark.parametrize(
    "content_range",
    [f"bytes {'9' * 5000}-9/10", "bytes 10-99/100", f"bytes 10-{len(DATA) - 1}/{'9' * 5000}"],
)
def test_a_range_that_cannot_be_is_an_error(
    scripted: Any, tmp_path: Path, content_range: str
) -> None:
    wrong = rest(DATA, 10)
    wrong.headers["Content-Range"] = content_range
    with pytest.raises(errors.APIError, match="not of the range"):
        download(scripted(file(DATA, cut_at=10), wrong), tmp_path / "a")


def test_a_packed_answer_is_refused(scripted: Any, tmp_path: Path) -> None:
    packed = httpx.Response(200, headers={"Content-Encoding": "gzip, gzip"}, content=iter([b"x"]))
    with pytest.raises(errors.APIError, match=r"is packed \(gzip, gzip\)"):
        download(scripted(packed), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_what_comes_is_never_setuid(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(0o4755)
    download(scripted(file(DATA)), tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755


def test_wrong_targets_are_refused_before_anything_is_sent(scripted: Any, tmp_path: Path) -> None:
    io = scripted()
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file"):
        download(io, tmp_path / "file" / "a")
    with pytest.raises(TypeError, match="binary mode"):
        download(io, streams.StringIO())
    with (tmp_path / "file").open("w") as text, pytest.raises(TypeError, match="file must be op"):
        download(io, text)
    with pytest.raises(TypeError, match="not into int"):
        download(io, 7)
    with pytest.raises(ValueError, match="mode is of a path"):
        download(io, streams.BytesIO(), mode=0o644)
    with pytest.raises(TypeError, match="an integer such as 0o755"):
        download(io, tmp_path / "a", mode="644")
    assert io.diary == []


def test_an_iteration_that_was_cut_is_whole_or_fails(scripted: Any) -> None:
    async def read(io: Any) -> bytes:
        async with aclosing(chunks(io, "s1", "/w/a")) as found:
            return b"".join([chunk async for chunk in found])

    assert run(read(scripted(file(DATA, cut_at=10), rest(DATA, 10), stat(DATA)))) == DATA
    with pytest.raises(OSError, match="changed"):
        run(read(scripted(file(DATA, cut_at=10), rest(DATA, 10), stat(OTHER))))
    with pytest.raises(OSError, match="changed"):
        run(read(scripted(file(DATA, cut_at=10), file(OTHER, etag='"2"'))))


def test_downloads_are_logged(
    scripted: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="lunette")
    download(scripted(file(DATA, cut_at=10), rest(DATA, 10), stat(DATA)), tmp_path / "a")
    assert "cut; it goes on at 10" in caplog.text
    assert all(record.getMessage().startswith("[s1] ") for record in caplog.records)
