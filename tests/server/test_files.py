from __future__ import annotations

import base64
import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette.server import _blocks, files
from lunette.server._blocks import Blocks
from lunette.server.engines.protocol import NotARegularFileError, SandboxGoneError, State, Status

from .bent_engine import BentEngine, _open_gate
from .conftest import GUARD, Service
from .transfers import digest_of


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def _at(path: str) -> dict[str, Any]:
    return {"params": {"path": path}}


def test_raw_files_go_and_come(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
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


def _etag(client: httpx.Client, sandbox: str, path: str) -> str:
    answer = client.get(f"{sandbox}/files", **_at(path))
    assert answer.headers["accept-ranges"] == "bytes"
    found: str = answer.headers["etag"]
    assert found.startswith('"') and found.endswith('"')
    return found


@pytest.mark.parametrize(
    ("asked", "content", "named"),
    [
        ("bytes=0-", b"0123456789", "bytes 0-9/10"),
        ("bytes=3-", b"3456789", "bytes 3-9/10"),
        ("bytes=3-3", b"3", "bytes 3-3/10"),
        ("bytes=9-", b"9", "bytes 9-9/10"),
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("Bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=2-99", b"23456789", "bytes 2-9/10"),
    ],
)
def test_a_part_of_a_file(
    client: httpx.Client, sandbox: str, asked: str, content: bytes, named: str
) -> None:
    client.put(f"{sandbox}/files", content=b"0123456789", **_at("f"))
    answer = client.get(f"{sandbox}/files", headers={"Range": asked}, **_at("f"))
    assert (answer.status_code, answer.content) == (206, content)
    assert answer.headers["content-range"] == named
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["etag"] == _etag(client, sandbox, "f")


@pytest.mark.parametrize(
    "asked", ["bytes=-3", "bytes=1-2,4-5", "bytes=4-2", "lines=1-2", "bytes=a-", "bytes=", "x"]
)
def test_ranges_of_other_forms_are_ignored(client: httpx.Client, sandbox: str, asked: str) -> None:
    client.put(f"{sandbox}/files", content=b"0123456789", **_at("f"))
    answer = client.get(f"{sandbox}/files", headers={"Range": asked}, **_at("f"))
    assert (answer.status_code, answer.content) == (200, b"0123456789")


@pytest.mark.parametrize(("content", "asked"), [(b"abc", "bytes=3-"), (b"", "bytes=0-")])
def test_a_range_behind_the_end(
    client: httpx.Client, sandbox: str, content: bytes, asked: str
) -> None:
    client.put(f"{sandbox}/files", content=content, **_at("f"))
    answer = client.get(f"{sandbox}/files", headers={"Range": asked}, **_at("f"))
    assert _code(answer) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


def test_a_range_of_a_file_that_is_another_now(client: httpx.Client, sandbox: str) -> None:
    client.put(f"{sandbox}/files", content=b"before", **_at("f"))
    old = _etag(client, sandbox, "f")
    headers = {"Range": "bytes=4-", "If-Range": old}
    answer = client.get(f"{sandbox}/files", headers=headers, **_at("f"))
    assert (answer.status_code, answer.content) == (206, b"re")
    client.put(f"{sandbox}/files", content=b"after!", **_at("f"))
    assert _etag(client, sandbox, "f") != old
    answer = client.get(f"{sandbox}/files", headers=headers, **_at("f"))
    assert (answer.status_code, answer.content) == (200, b"after!")


def test_a_file_that_must_be_as_before(client: httpx.Client, sandbox: str) -> None:
    client.put(f"{sandbox}/files", content=b"before", **_at("f"))
    old = _etag(client, sandbox, "f")
    for given in (old, "*", f'"x", {old}'):
        answer = client.get(f"{sandbox}/files", headers={"If-Match": given}, **_at("f"))
        assert (answer.status_code, answer.content) == (200, b"before")
    client.put(f"{sandbox}/files", content=b"after!", **_at("f"))
    for given in (old, f"W/{_etag(client, sandbox, 'f')}"):
        headers = {"If-Match": given, "Range": "bytes=99-"}
        answer = client.get(f"{sandbox}/files", headers=headers, **_at("f"))
        assert _code(answer) == (412, "precondition_failed")
        assert answer.json()["path"] == "f"


def test_what_is_refused_is_closed(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    client.put(f"{sandbox}/files", content=b"abc", **_at("f"))
    for headers in ({"If-Match": '"x"'}, {"Range": "bytes=5-"}):
        assert client.get(f"{sandbox}/files", headers=headers, **_at("f")).status_code > 400
        assert engine.readers[-1].closed.is_set()


def test_a_large_file_comes_in_parts(client: httpx.Client, sandbox: str) -> None:
    content = os.urandom(5_000_000)
    client.put(f"{sandbox}/files", content=content, **_at("f"))
    headers = {"Range": "bytes=1234567-4567890"}
    answer = client.get(f"{sandbox}/files", headers=headers, **_at("f"))
    assert answer.content == content[1234567:4567891]


def test_the_mode_of_a_file(client: httpx.Client, sandbox: str) -> None:
    def mode() -> int:
        found: int = client.get(f"{sandbox}/files/stat", **_at("f")).json()["mode"]
        return found

    client.put(f"{sandbox}/files", content=b"", params={"path": "f", "mode": "0755"})
    assert mode() == 0o755
    client.put(f"{sandbox}/files", content=b"", params={"path": "f", "mode": "640"})
    assert mode() == 0o640
    for wrong in ("8", "rwx", "", "07777777"):
        answer = client.put(f"{sandbox}/files", content=b"", params={"path": "f", "mode": wrong})
        assert _code(answer) == (422, "invalid_request")
        assert answer.json()["key"] == "mode"


@pytest.mark.parametrize("size", [0, 10, 100_000, 3_000_000])
def test_a_digest_is_compared(client: httpx.Client, sandbox: str, size: int) -> None:
    content = os.urandom(size)
    right = digest_of(content)
    for field in (right, f"md5=:AA==:, {right}", f"{right};x=1", f"{digest_of(b'?')},{right}"):
        headers = {"Repr-Digest": field}
        answer = client.put(f"{sandbox}/files", content=content, headers=headers, **_at("f"))
        assert answer.status_code == 204
    headers = {"Repr-Digest": digest_of(content + b"x")}
    answer = client.put(f"{sandbox}/files", content=content + b"y", headers=headers, **_at("f"))
    assert _code(answer) == (400, "digest_mismatch")
    assert client.get(f"{sandbox}/files", **_at("f")).content == content


def test_digests_of_other_kinds_are_ignored(client: httpx.Client, sandbox: str) -> None:
    headers = {"Repr-Digest": "sha-512=:AAAA:, md5=:AA==:"}
    answer = client.put(f"{sandbox}/files", content=b"x", headers=headers, **_at("f"))
    assert answer.status_code == 204


@pytest.mark.parametrize("field", ["sha-256=abc", "sha-256=:AAAA:", "sha-256=:!:", "sha-256="])
def test_a_digest_that_is_none(client: httpx.Client, sandbox: str, field: str) -> None:
    headers = {"Repr-Digest": field}
    answer = client.put(f"{sandbox}/files", content=b"x", headers=headers, **_at("f"))
    assert _code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "Repr-Digest"


def test_a_large_body_is_written_in_large_blocks(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    client.put(f"{sandbox}/files", content=b"x" * 10_000_000, **_at("f"))
    sizes = engine.given[-1].sizes
    assert sum(sizes) / len(sizes) > 128 << 10
    assert max(sizes) < 2 << 20


def test_what_waits_for_its_block_is_bounded(
    service: Service,
    client: httpx.Client,
    sandbox: str,
    engine: BentEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over that, who is slow or silent holds nothing."""
    monkeypatch.setattr(_blocks, "_MOST_HELD", 1_000_000)
    with contextlib.ExitStack() as opened:
        for number in range(20):
            connection = opened.enter_context(service.raw())
            head = f"PUT {sandbox}/files?path=f{number} HTTP/1.1\r\nHost: localhost\r\n"
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            connection.sendall(b"%x\r\n%b\r\n" % (500_000, b"x" * 500_000))
        service.until(lambda: sum(sum(writer.sizes) for writer in engine.given) >= 9_000_000)
        assert Blocks.held <= 1_000_000
    service.until(lambda: Blocks.held == 0)
    content = os.urandom(3_000_000)
    assert client.put(f"{sandbox}/files", content=content, **_at("f")).status_code == 204
    assert client.get(f"{sandbox}/files", **_at("f")).content == content


def _put_slowly(
    service: Service, sandbox: str, engine: BentEngine, content: bytes
) -> threading.Thread:
    """Put a file that the engine is slow with, so that others may overtake it."""

    def put() -> None:
        with service.client() as other:
            answer = other.put(f"{sandbox}/files", content=content, **_at("f"))
            assert answer.status_code == 204

    before = len(engine.given)
    thread = threading.Thread(target=put)
    thread.start()
    service.until(lambda: len(engine.given) > before)
    return thread


def test_a_late_file_is_not_put_over_its_repeat(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    service.call(engine.write_gate.clear)
    late = _put_slowly(service, sandbox, engine, b"first")
    gate = engine.write_gate
    service.call(setattr, engine, "write_gate", _open_gate())
    for content in (b"first", b"newer"):
        assert client.put(f"{sandbox}/files", content=content, **_at("f")).status_code == 204
    service.call(gate.set)
    late.join(GUARD)
    assert client.get(f"{sandbox}/files", **_at("f")).content == b"newer"
    assert engine.given[0].aborted.is_set()
    assert os.listdir(engine.root / sandbox.rpartition("/")[2]) == ["f"]  # noqa: PTH208


def test_a_repeat_is_answered_after_what_is_being_committed(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    service.call(engine.commit_gate.clear)
    gate = engine.commit_gate
    puts = service.registry.get(sandbox.rpartition("/")[2]).puts
    first = _put_slowly(service, sandbox, engine, b"first")
    service.until(lambda: puts._paths["f"].turn.locked())
    service.call(setattr, engine, "commit_gate", _open_gate())
    second = _put_slowly(service, sandbox, engine, b"second")
    service.until(lambda: engine.given[1].sizes == [6])
    assert second.is_alive()
    assert client.get(f"{sandbox}/files", **_at("f")).status_code == 404
    service.call(gate.set)
    for thread in (first, second):
        thread.join(GUARD)
    assert client.get(f"{sandbox}/files", **_at("f")).content == b"second"
    assert puts._paths == {}


def test_a_write_that_fails_leaves_nothing(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    engine.write_error = OSError(errno.ENOSPC, "x", "f")
    answer = client.put(f"{sandbox}/files", content=b"x" * 3_000_000, **_at("f"))
    assert _code(answer) == (507, "no_space")
    assert engine.given[-1].aborted.is_set()


def test_read_is_limited(
    client: httpx.Client, sandbox: str, engine: BentEngine, monkeypatch: pytest.MonkeyPatch
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
        (FileExistsError(errno.EEXIST, "x", "p"), 409, "file_exists"),
        (OSError(errno.ENOTEMPTY, "x", "p"), 409, "directory_not_empty"),
        (OSError(errno.ESTALE, "x", "p"), 409, "file_changed"),
        (OSError(errno.ENXIO, "x", "p"), 409, "not_a_regular_file"),
        (OSError(errno.ENODEV, "x", "p"), 409, "not_a_regular_file"),
        (BlockingIOError(errno.EAGAIN, "x", "p"), 409, "file_busy"),
        (OSError(errno.EBUSY, "x", "p"), 409, "file_busy"),
        (OSError(errno.ETXTBSY, "x", "p"), 409, "file_busy"),
        (OSError(errno.EINVAL, "x", "p"), 422, "invalid_request"),
        (OSError(errno.EILSEQ, "x", "p"), 422, "invalid_request"),
        (OSError(errno.EMLINK, "x", "p"), 422, "invalid_request"),
        (OSError(errno.EXDEV, "x", "p"), 422, "invalid_request"),
        (OSError(errno.ELOOP, "x", "p"), 422, "invalid_request"),
        (OSError(errno.ENAMETOOLONG, "x", "p"), 422, "invalid_request"),
        (OSError(errno.EFBIG, "x", "p"), 413, "file_too_large"),
        (OSError(errno.EOVERFLOW, "x", "p"), 413, "file_too_large"),
        (OSError(errno.ENOSPC, "x", "p"), 507, "no_space"),
        (OSError(errno.EDQUOT, "x", "p"), 507, "no_space"),
        (OSError(errno.EIO, "x", "p"), 409, "not_a_regular_file"),
        (OSError(errno.ENOSYS, "x", "p"), 409, "not_a_regular_file"),
    ],
)
def test_errors_of_files(
    client: httpx.Client, sandbox: str, engine: BentEngine, error: OSError, status: int, code: str
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
    client: httpx.Client, sandbox: str, engine: BentEngine, error: OSError
) -> None:
    engine.file_error = error
    assert _code(client.get(f"{sandbox}/files", **_at("p"))) == (500, "internal_error")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("path", [(), ("p",)])
def test_an_exhausted_server_says_so(
    client: httpx.Client, sandbox: str, engine: BentEngine, number: int, path: tuple[str, ...]
) -> None:
    engine.file_error = OSError(number, "x", *path)
    for answer in (
        client.get(f"{sandbox}/files", **_at("p")),
        client.put(f"{sandbox}/files", content=b"x", **_at("p")),
    ):
        assert _code(answer) == (503, "no_capacity")


def test_a_name_that_is_no_unicode_can_be_told(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    engine.file_error = FileNotFoundError(errno.ENOENT, "x", b"\xff")
    assert client.get(f"{sandbox}/files", **_at("p")).json()["path"] == "?"


def test_a_sandbox_that_is_gone(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    engine.file_error = SandboxGoneError(Status(state=State.LOST, reason="killed"))
    assert _code(client.put(f"{sandbox}/files", content=b"", **_at("p"))) == (410, "sandbox_lost")


def test_a_cut_upload_reaches_the_engine_as_an_error(
    service: Service, client: httpx.Client, engine: BentEngine, sandbox: str
) -> None:
    client.put(f"{sandbox}/files", content=b"old", **_at("f"))
    with service.raw() as connection:
        head = f"PUT {sandbox}/files?path=f HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
        connection.sendall(head.encode())
        service.until(lambda: len(engine.given) == 2)
    service.wait(engine.given[-1].aborted.wait())
    assert client.get(f"{sandbox}/files", **_at("f")).content == b"old"


def test_a_download_that_nobody_takes_is_closed(
    service: Service, client: httpx.Client, engine: BentEngine, sandbox: str
) -> None:
    (engine.root / sandbox.rpartition("/")[2] / "f").write_bytes(b"x" * 50_000_000)
    with service.raw() as connection:
        connection.sendall(f"GET {sandbox}/files?path=f HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        assert not engine.readers[-1].closed.is_set()
    service.wait(engine.readers[-1].closed.wait())


def test_a_file_that_shrinks_cuts_the_connection(
    service: Service, client: httpx.Client, engine: BentEngine, sandbox: str, tmp_path: Path
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
