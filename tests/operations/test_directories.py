from __future__ import annotations

import base64
import errno
import hashlib
import io as streams
import logging
import os
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import xxhash

from lunette._answers import from_transport
from lunette._io import run
from lunette._operations import transfers
from lunette.errors import APIError, NotSupportedError, TransportError

IS_A_DIRECTORY = {"code": "is_a_directory", "detail": "no", "path": "/w/d", "request_id": "r"}


def archive(**content: str) -> bytes:
    file = streams.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, text in content.items():
            info = tarfile.TarInfo(name)
            if text.startswith("->"):
                info.type, info.linkname = tarfile.SYMTYPE, text[2:]
                made.addfile(info)
            else:
                info.size = len(text)
                made.addfile(info, streams.BytesIO(text.encode()))
    return file.getvalue()


def named(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def piece(data: bytes, whole: bytes | None = None) -> httpx.Response:
    last = {} if whole is None else {"Archive-Complete": "?1", "Repr-Digest": named(whole)}
    return httpx.Response(200, headers=last, content=data)


def cut(data: bytes) -> httpx.Response:
    """An answer that ends too early."""

    def chunks() -> Any:
        yield data
        raise from_transport(httpx.ReadError("cut"))

    return httpx.Response(200, content=chunks())


def refusal(code: str, status: int = 409) -> httpx.Response:
    return httpx.Response(status, json=IS_A_DIRECTORY | {"code": code})


def download(io: Any, target: Any, **options: Any) -> None:
    given = {"mode": None, "ignore": None, "progress": False} | options
    run(transfers.download(io, "s1", "d", target, **given))


def upload(io: Any, source: Any, **options: Any) -> None:
    given = {"mode": None, "ignore": None, "progress": False} | options
    run(transfers.upload(io, "s1", source, "d", **given))


def offsets(io: Any) -> list[int]:
    return [r["params"]["offset"] for r in io.requests if "offset" in r.get("params", {})]


def test_pieces_make_a_directory(scripted: Any, tmp_path: Path) -> None:
    data = archive(a="1", b="2" * 3000)
    told: list[tuple[int, int | None]] = []
    io = scripted(
        refusal("is_a_directory"),
        httpx.Response(204),
        piece(data[:700]),
        piece(data[700:], data),
        httpx.Response(204),
    )
    download(io, tmp_path / "x" / "y", progress=lambda done, total: told.append((done, total)))
    assert {p.name: p.read_text() for p in (tmp_path / "x" / "y").iterdir()} == {
        "a": "1",
        "b": "2" * 3000,
    }
    assert offsets(io) == [0, 700]
    assert [line.split()[0] for line in io.diary if "outlive" not in line] == [
        "get",
        "put",
        "get",
        "get",
        "delete",
    ]
    assert told[-1] == (len(data), len(data))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_cut_piece_goes_on_where_it_was(scripted: Any, tmp_path: Path) -> None:
    data = archive(a="1" * 5000)
    io = scripted(
        httpx.Response(204),
        cut(data[:1000]),
        cut(data[1000:1001]),
        piece(data[1001:], data),
        httpx.Response(204),
    )
    download(io, tmp_path / "t", ignore="x")
    assert (tmp_path / "t" / "a").read_text() == "1" * 5000
    assert offsets(io) == [0, 1000, 1001]


def test_one_that_is_cut_too_often_leaves_nothing(scripted: Any, tmp_path: Path) -> None:
    data = archive(a="1")
    io = scripted(
        httpx.Response(204), cut(data[:600]), cut(b""), cut(b""), cut(b""), httpx.Response(204)
    )
    with pytest.raises(TransportError):
        download(io, tmp_path / "new" / "t", ignore="x")
    assert not list(tmp_path.iterdir())
    assert io.diary[-1].startswith("delete")


@pytest.mark.parametrize(
    ("data", "whole", "why"),
    [
        (archive(a="1"), b"other", "what came is not what was sent"),
        (archive(a="1")[:700], archive(a="1")[:700], "cut off"),
        (archive(**{"../a": "1"}), b"", r'"\.\." in its name'),
        (b"", None, "ends before it is complete"),
    ],
)
def test_an_archive_that_is_wrong_leaves_nothing(
    scripted: Any, tmp_path: Path, data: bytes, whole: bytes | None, why: str
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "old").write_text("old")
    io = scripted(httpx.Response(204), piece(data, whole), httpx.Response(204))
    with pytest.raises(APIError, match=why):
        download(io, tmp_path / "t")
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_it_is_merged_with_what_is_there(
    scripted: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "t"
    target.mkdir()
    (target / "a").write_text("before")
    (target / "kept").write_text("kept")
    (tmp_path / "link").symlink_to(target)
    data = archive(a="after", out="->/etc/passwd", inside="->a")
    io = scripted(httpx.Response(204), piece(data, data), httpx.Response(204))
    caplog.set_level(logging.WARNING, logger="lunette")
    download(io, str(tmp_path / "link"))
    assert sorted(path.name for path in target.iterdir()) == ["a", "inside", "kept"]
    assert (target / "a").read_text() == "after"
    assert "links that lead elsewhere" in caplog.text
    assert "link/out" in caplog.text
    assert len(caplog.records) == 1


def test_the_umask_holds_for_what_comes(scripted: Any, tmp_path: Path) -> None:
    def wide(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mode = 0o4777
        return info

    (tmp_path / "d" / "in").mkdir(parents=True)
    (tmp_path / "d" / "in" / "f").touch()
    file = streams.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        made.add(tmp_path / "d", ".", filter=wide)
    data = file.getvalue()
    before = os.umask(0o027)
    try:
        download(scripted(httpx.Response(204), piece(data, data), httpx.Response(204)), tmp_path)
        io = scripted(httpx.Response(204), piece(data, data), httpx.Response(204))
        download(io, tmp_path / "new", ignore="x")
    finally:
        os.umask(before)
    for path in ("in/f", "new", "new/in", "new/in/f"):
        assert (tmp_path / path).stat().st_mode & 0o7777 == 0o750, path


def test_a_packed_piece_is_refused(scripted: Any, tmp_path: Path) -> None:
    packed = httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=iter([b"x"]))
    io = scripted(httpx.Response(204), packed, httpx.Response(204))
    with pytest.raises(APIError, match=r"is packed \(gzip\)"):
        download(io, tmp_path / "t", ignore="x")
    assert not list(tmp_path.iterdir())


def test_the_deepest_directory_leaves_nothing_where_it_cannot_be(
    scripted: Any, tmp_path: Path
) -> None:
    entries = [tarfile.TarInfo("a/" * levels) for levels in range(1, 4097)]
    for entry in entries:
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    data = b"".join(entry.tobuf() for entry in entries) + bytes(1024)
    (tmp_path / "a").touch()
    io = scripted(httpx.Response(204), piece(data, data), httpx.Response(204))
    with pytest.raises(NotADirectoryError):
        download(io, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_stands_in_the_way_is_found_first(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for path in ("f", "f/below"):
        with pytest.raises(NotADirectoryError):
            download(scripted(refusal("is_a_directory")), tmp_path / path)


def test_a_file_is_no_directory(scripted: Any, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"write '.*/d'"):
        download(scripted(refusal("not_a_directory")), tmp_path)
    with pytest.raises(ValueError, match="ignore is of directories, and d is none"):
        download(scripted(refusal("not_a_directory")), tmp_path / "x", ignore="x")
    with pytest.raises(ValueError, match="do not go into a file"):
        download(scripted(), streams.BytesIO(), ignore="x")
    with pytest.raises(IsADirectoryError):
        download(scripted(refusal("is_a_directory")), streams.BytesIO())


def test_a_file_is_not_written_to_the_name_of_a_directory(scripted: Any, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"write '.*/new/d'"):
        download(scripted(refusal("not_a_directory")), f"{tmp_path}/new/")
    whole = archive(f="x")
    answers = (httpx.Response(201), piece(whole, whole), httpx.Response(204))
    download(scripted(*answers), f"{tmp_path}/e/")
    assert (tmp_path / "e" / "f").read_text() == "x"


def test_a_directory_takes_no_mode(scripted: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode is of a file"):
        upload(scripted(), tmp_path, mode=0o755)
    with pytest.raises(ValueError, match="mode is of a file"):
        download(scripted(), tmp_path, mode=0o755)


def test_a_directory_is_sent_as_an_archive(
    scripted: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "f").write_text("content")
    (tmp_path / "f.pyc").touch()
    os.mkfifo(tmp_path / "fifo")
    told: list[tuple[int, int | None]] = []

    def state(offset: int) -> httpx.Response:
        return httpx.Response(200, json={"upload_id": "u", "offset": offset, "committed": False})

    for path in (tmp_path, tmp_path / "f"):
        os.utime(path, (0, 1_700_000_000))
    size = 512 * 3 + 1024  # the root, a file, and the end
    io = scripted(state(0), state(size), httpx.Response(204))
    caplog.set_level(logging.WARNING, logger="lunette")
    upload(io, tmp_path, ignore="*.pyc", progress=lambda d, t: told.append((d, t)))
    with tarfile.open(fileobj=streams.BytesIO(io.uploaded)) as sent:
        assert sent.getnames() == [".", "f"]
    assert io.requests[0]["json"] | {"path": "d", "format": "tar"} == io.requests[0]["json"]
    commit = io.requests[-1]["json"]
    digest = base64.b64encode(xxhash.xxh3_64(io.uploaded).digest()).decode()
    assert commit == {"length": size, "digest": f"xxh3-64=:{digest}:"}
    assert told[-1] == (size, size)
    assert [record.getMessage() for record in caplog.records] == [
        f"[s1] left out what is no file, directory or link (1): {str(tmp_path / 'fifo')!r}"
    ]


def test_what_cannot_be_read_gives_the_upload_up(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 20_000_000)  # more than is read ahead
    answer = httpx.Response(200, json={"upload_id": "u", "offset": 0, "committed": False})

    class Shrinking(type(scripted())):  # type: ignore[misc]
        def _answer(self, request: Any) -> httpx.Response:
            if request["method"] == "patch":
                os.truncate(tmp_path / "f", 5_000_000)
                offset = request["params"]["offset"] + len(self.bodies[-1])
                state = {"upload_id": "u", "offset": offset, "committed": False}
                self.answers.insert(0, httpx.Response(200, json=state))
            return super()._answer(request)

    io = Shrinking(answer, httpx.Response(204))
    with pytest.raises(OSError, match="changed while it was read") as caught:
        upload(io, tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, str(tmp_path / "f"))
    assert io.diary[-1].startswith("delete")


def test_the_published_wire_has_no_directories(scripted: Any, tmp_path: Path) -> None:
    io = scripted()
    io.profile.published = True
    with pytest.raises(NotSupportedError, match="upload of a directory"):
        upload(io, tmp_path)
    with pytest.raises(NotSupportedError, match="download of a directory"):
        download(io, tmp_path)
    assert not io.requests
