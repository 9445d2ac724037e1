from __future__ import annotations

import base64
import errno
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette.server import files
from lunette.server.engines.protocol import NotARegularFileError, SandboxGoneError, State, Status

from .conftest import Service
from .host_engine import HostEngine


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def _at(path: str) -> dict[str, Any]:
    return {"params": {"path": path}}


def test_raw_files_go_and_come(client: httpx.Client, sandbox: str, engine: HostEngine) -> None:
    content = os.urandom(3_000_000)
    assert client.put(f"{sandbox}/files", content=content, **_at("a b/é"[-1])).status_code == 204
    answer = client.get(f"{sandbox}/files", **_at("é"))
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(content))
    assert engine.readers[-1].closed.is_set()


def test_an_empty_file(client: httpx.Client, sandbox: str) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    answer = client.put(f"{sandbox}/files", content=b"", headers=headers, **_at("e"))
    assert answer.status_code == 204
    answer = client.get(f"{sandbox}/files", **_at("e"))
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


def test_an_upload_is_raw_bytes(client: httpx.Client, sandbox: str) -> None:
    for content_type in ("text/plain", "application/json", "multipart/form-data; boundary=x"):
        headers = {"Content-Type": content_type}
        answer = client.put(f"{sandbox}/files", content=b"x", headers=headers, **_at("a"))
        assert _code(answer) == (415, "unsupported_media_type")


def test_write_and_read(client: httpx.Client, sandbox: str) -> None:
    answer = client.post(f"{sandbox}/write", json={"path": "t", "content": "é\r\n\0"})
    assert (answer.status_code, answer.json()) == (200, {"path": "t"})
    assert client.get(f"{sandbox}/read", **_at("t")).json() == {
        "content": "é\r\n\0",
        "encoding": "utf-8",
    }
    encoded = base64.b64encode(b"\xff\xfe").decode()
    body = {"path": "b", "content": encoded, "encoding": "base64"}
    assert client.post(f"{sandbox}/write", json=body).status_code == 200
    assert client.get(f"{sandbox}/read", **_at("b")).json() == {
        "content": encoded,
        "encoding": "base64",
    }
    answer = client.post(f"{sandbox}/write", json={**body, "content": "!"})
    assert _code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "content"


def test_read_is_limited(
    client: httpx.Client, sandbox: str, engine: HostEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "READ_LIMIT", 3)
    client.put(f"{sandbox}/files", content=b"abc", **_at("f"))
    assert client.get(f"{sandbox}/read", **_at("f")).json()["content"] == "abc"
    client.put(f"{sandbox}/files", content=b"abcd", **_at("f"))
    answer = client.get(f"{sandbox}/read", **_at("f"))
    assert _code(answer) == (413, "file_too_large")
    assert answer.json()["path"] == "f"
    assert engine.readers[-1].closed.is_set()


@pytest.mark.parametrize("path", ["", "a\0b", "a" * 4097])
@pytest.mark.parametrize("call", ["files", "read"])
def test_paths_that_are_none(client: httpx.Client, sandbox: str, path: str, call: str) -> None:
    answer = client.get(f"{sandbox}/{call}", **_at(path))
    assert _code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "path"


def test_no_path_at_all(client: httpx.Client, sandbox: str) -> None:
    for answer in (
        client.get(f"{sandbox}/files"),
        client.put(f"{sandbox}/files", content=b""),
        client.get(f"{sandbox}/read"),
        client.post(f"{sandbox}/write", json={"content": ""}),
    ):
        assert _code(answer) == (422, "invalid_request")
        assert answer.json()["key"] == "path"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (FileNotFoundError(errno.ENOENT, "x", "p"), 404, "file_not_found"),
        (PermissionError(errno.EACCES, "x", "p"), 403, "permission_denied"),
        (PermissionError(errno.EPERM, "x", "p"), 403, "permission_denied"),
        (OSError(errno.EROFS, "x", "p"), 403, "permission_denied"),
        (IsADirectoryError(errno.EISDIR, "x", "p"), 409, "is_a_directory"),
        (NotADirectoryError(errno.ENOTDIR, "x", "p"), 409, "not_a_directory"),
        (NotARegularFileError("p"), 409, "not_a_regular_file"),
        (OSError(errno.ENOTEMPTY, "x", "p"), 409, "is_a_directory"),
        (OSError(errno.ENXIO, "x", "p"), 409, "not_a_regular_file"),
        (OSError(errno.ENODEV, "x", "p"), 409, "not_a_regular_file"),
        (BlockingIOError(errno.EAGAIN, "x", "p"), 409, "file_busy"),
        (OSError(errno.EBUSY, "x", "p"), 409, "file_busy"),
        (OSError(errno.ETXTBSY, "x", "p"), 409, "file_busy"),
        (OSError(errno.EINVAL, "x", "p"), 422, "invalid_request"),
        (OSError(errno.EILSEQ, "x", "p"), 422, "invalid_request"),
        (OSError(errno.EMLINK, "x", "p"), 422, "invalid_request"),
        (OSError(errno.ELOOP, "x", "p"), 422, "invalid_request"),
        (OSError(errno.ENAMETOOLONG, "x", "p"), 422, "invalid_request"),
        (OSError(errno.EFBIG, "x", "p"), 413, "file_too_large"),
        (OSError(errno.EOVERFLOW, "x", "p"), 413, "file_too_large"),
        (OSError(errno.ENOSPC, "x", "p"), 507, "no_space"),
        (OSError(errno.EDQUOT, "x", "p"), 507, "no_space"),
    ],
)
def test_errors_of_files(
    client: httpx.Client, sandbox: str, engine: HostEngine, error: OSError, status: int, code: str
) -> None:
    engine.file_error = error
    for answer in (
        client.get(f"{sandbox}/files", **_at("p")),
        client.put(f"{sandbox}/files", content=b"x", **_at("p")),
        client.get(f"{sandbox}/read", **_at("p")),
        client.post(f"{sandbox}/write", json={"path": "p", "content": ""}),
    ):
        assert _code(answer) == (status, code)
        assert answer.json()["path"] == "p"


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "of the server"), ConnectionResetError(), OSError()]
)
def test_errors_of_the_server_are_not_those_of_files(
    client: httpx.Client, sandbox: str, engine: HostEngine, error: OSError
) -> None:
    engine.file_error = error
    assert _code(client.get(f"{sandbox}/files", **_at("p"))) == (500, "internal_error")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("path", [(), ("p",)])
def test_an_exhausted_server_says_so(
    client: httpx.Client, sandbox: str, engine: HostEngine, number: int, path: tuple[str, ...]
) -> None:
    engine.file_error = OSError(number, "x", *path)
    for answer in (
        client.get(f"{sandbox}/files", **_at("p")),
        client.put(f"{sandbox}/files", content=b"x", **_at("p")),
    ):
        assert _code(answer) == (503, "no_capacity")


def test_a_name_that_is_no_unicode_can_be_told(
    client: httpx.Client, sandbox: str, engine: HostEngine
) -> None:
    engine.file_error = FileNotFoundError(errno.ENOENT, "x", b"\xff")
    assert client.get(f"{sandbox}/files", **_at("p")).json()["path"] == "?"


def test_a_sandbox_that_is_gone(client: httpx.Client, sandbox: str, engine: HostEngine) -> None:
    engine.file_error = SandboxGoneError(Status(state=State.LOST, reason="killed"))
    assert _code(client.put(f"{sandbox}/files", content=b"", **_at("p"))) == (410, "sandbox_lost")


def test_a_cut_upload_reaches_the_engine_as_an_error(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    client.put(f"{sandbox}/files", content=b"old", **_at("f"))
    with service.raw() as connection:
        head = f"PUT {sandbox}/files?path=f HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
        connection.sendall(head.encode())
        part = engine.root / sandbox.rpartition("/")[2] / "f.part"
        service.until(part.exists)
    service.until(lambda: bool(engine.put_errors))
    assert client.get(f"{sandbox}/files", **_at("f")).content == b"old"
    assert not part.exists()


def test_a_download_that_nobody_takes_is_closed(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str
) -> None:
    (engine.root / sandbox.rpartition("/")[2] / "f").write_bytes(b"x" * 50_000_000)
    with service.raw() as connection:
        connection.sendall(f"GET {sandbox}/files?path=f HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        assert not engine.readers[-1].closed.is_set()
    service.wait(engine.readers[-1].closed.wait())


def test_a_file_that_shrinks_cuts_the_connection(
    service: Service, client: httpx.Client, engine: HostEngine, sandbox: str, tmp_path: Path
) -> None:
    target = engine.root / sandbox.rpartition("/")[2] / "f"
    target.write_bytes(b"x" * 50_000_000)
    with client.stream("GET", f"{sandbox}/files", **_at("f")) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        os.truncate(target, 1)
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in chunks:
                pass
    service.wait(engine.readers[-1].closed.wait())
    assert client.get("/health").status_code == 200


def test_an_upload_that_is_refused_leaves_the_connection_usable(
    client: httpx.Client, sandbox: str
) -> None:
    content = b"x" * 2_000_000
    answer = client.put(f"{sandbox}/nope", content=content)
    assert _code(answer) == (404, "unknown_endpoint")
    client.put(f"{sandbox}/files", content=content, **_at("f"))
    assert client.get(f"{sandbox}/files", **_at("f")).content == content
