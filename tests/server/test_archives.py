from __future__ import annotations

import errno
import gc
import io
import os
import tarfile
import threading
import tracemalloc
import uuid
from typing import Any

import httpx
import pytest

from lunette.server import _archive, _transfers
from lunette.server.engines.protocol import NoCapacityError, State, Status

from .bent_engine import BentEngine
from .conftest import GUARD, Service
from .transfers import begin as begin_upload
from .transfers import code, digest_of

_KIB = 1 << 10


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pieces be small, since there are large ones in the tests of transfers."""
    monkeypatch.setattr(_archive, "PIECE", 300 * _KIB)


def _fill(client: httpx.Client, sandbox: str, *sizes: int) -> dict[str, bytes]:
    files = {f"{number}": os.urandom(size) for number, size in enumerate(sizes)}
    client.put(f"{sandbox}/files/directory", params={"path": "d"})
    for name, content in files.items():
        client.put(f"{sandbox}/files", params={"path": f"d/{name}"}, content=content)
    return files


def _begin(client: httpx.Client, sandbox: str, name: str = "a", **more: Any) -> str:
    archive = f"{sandbox}/archives/{name}"
    answer = client.put(archive, json={"path": "d", **more})
    assert answer.status_code == 204, answer.text
    return archive


def _get(client: httpx.Client, archive: str, offset: Any) -> httpx.Response:
    return client.get(archive, params={"offset": offset})


def _read(client: httpx.Client, archive: str) -> bytes:
    whole = b""
    while True:
        answer = _get(client, archive, len(whole))
        assert answer.status_code == 200, answer.text
        assert len(answer.content) <= _archive.PIECE
        whole += answer.content
        if "archive-complete" in answer.headers:
            assert answer.headers["archive-complete"] == "?1"
            assert answer.headers["repr-digest"] == digest_of(whole)
            return whole
        assert "repr-digest" not in answer.headers
        assert len(answer.content) == _archive.PIECE


def _unpacked(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {member.name: tar.extractfile(member) for member in tar if member.isreg()}
        return {name: file.read() for name, file in found.items() if file}


@pytest.mark.parametrize("sizes", [(), (10,), (3_000_000, 6_000_000, 1)])
def test_a_directory_comes_out(client: httpx.Client, sandbox: str, sizes: tuple[int, ...]) -> None:
    files = _fill(client, sandbox, *sizes)
    archive = _begin(client, sandbox)
    assert _unpacked(_read(client, archive)) == files
    assert client.delete(archive).status_code == 204


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [300 * _KIB, 600 * _KIB])
def test_an_archive_that_ends_with_a_piece(
    client: httpx.Client, sandbox: str, engine: BentEngine, size: int
) -> None:
    """The last piece says so, though it is full."""
    _fill(client, sandbox)
    engine.blocks = [b"x" * (100 * _KIB)] * (size // (100 * _KIB))
    assert _read(client, _begin(client, sandbox)) == b"x" * size


@pytest.mark.usefixtures("small")
def test_a_block_that_is_larger_than_pieces(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    content = os.urandom(1000 * _KIB)
    _fill(client, sandbox)
    engine.blocks = [content, b"end"]
    assert _read(client, _begin(client, sandbox)) == content + b"end"


@pytest.mark.usefixtures("small")
def test_a_piece_can_be_asked_for_again(
    client: httpx.Client, sandbox: str, service: Service
) -> None:
    _fill(client, sandbox, 1_000_000)
    archive = _begin(client, sandbox)
    size = _archive.PIECE
    first = _get(client, archive, 0).content
    assert _get(client, archive, 0).content == first
    assert _get(client, archive, 1000).content == first[1000:]
    second = _get(client, archive, size).content
    assert _get(client, archive, 2 * size - 1).content == second[-1:]
    for offset in (0, size - 1, 4 * size):
        answer = _get(client, archive, offset)
        assert code(answer) == (416, "range_not_satisfiable")
    whole = first + second
    while (answer := _get(client, archive, len(whole))).content:
        whole += answer.content
    assert answer.headers["archive-complete"] == "?1"
    assert answer.headers["repr-digest"] == digest_of(whole)


@pytest.mark.usefixtures("small")
def test_who_asks_at_the_same_time(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    _fill(client, sandbox, 1_000_000)
    service.call(engine.bytes_gate.clear)
    archive = _begin(client, sandbox)
    found: list[bytes] = []

    def get() -> None:
        with service.client() as other:
            found.append(_get(other, archive, 0).content)

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    archives = service.registry.get(sandbox.rpartition("/")[2]).archives
    service.until(lambda: archives._open["a"].transfer.users == 4)
    service.call(engine.bytes_gate.set)
    for thread in threads:
        thread.join(GUARD)
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(found[0]) == _archive.PIECE


@pytest.mark.usefixtures("small")
def test_two_pieces_are_in_memory_at_most(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    _fill(client, sandbox, 3_000_000)
    archive = _begin(client, sandbox)
    piece, made = _archive.PIECE, engine.taken[-1]
    service.until(lambda: made.size > piece)
    assert made.size <= piece + 256 * _KIB
    _get(client, archive, 0)
    service.until(lambda: made.size > 2 * piece)
    _get(client, archive, 0)
    assert made.size <= 2 * piece + 256 * _KIB


@pytest.mark.usefixtures("small")
def test_an_error_midway(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    error = PermissionError(errno.EACCES, "x", "d/secret")
    _fill(client, sandbox)
    engine.blocks = [b"x" * (200 * _KIB), b"x" * (200 * _KIB), error]
    archive = _begin(client, sandbox)
    for _ in range(2):
        answer = _get(client, archive, 0)
        if answer.status_code == 200:  # the first piece is there
            answer = _get(client, archive, len(answer.content))
        assert code(answer) == (403, "permission_denied")
        assert answer.json()["path"] == "d/secret"
    assert engine.taken[-1].closed.is_set()
    assert client.delete(archive).status_code == 204
    assert code(_get(client, archive, 0)) == (404, "archive_not_found")


def test_an_archive_whose_process_died_is_over(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    _fill(client, sandbox)
    engine.blocks = [b"x" * _KIB, NoCapacityError("the process that did it was ended")]
    service.call(engine.bytes_gate.clear)
    archive = _begin(client, sandbox)
    service.call(engine.bytes_gate.set)
    for _ in range(2):
        answer = _get(client, archive, 0)
        assert code(answer) == (404, "archive_not_found")
        assert "the process that did it was ended" in answer.json()["detail"]


def test_little_is_kept_of_those_that_are_over(
    service: Service, client: httpx.Client, sandbox: str
) -> None:
    _fill(client, sandbox)
    rules = ["?" * 4000 + str(number) for number in range(100)]
    sizes: list[int] = []
    tracemalloc.start()
    try:
        for number in range(6):
            archive = _begin(client, sandbox, f"a{number}", ignore=rules)
            assert client.delete(archive).status_code == 204
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[-1] - sizes[1] < 500_000  # of 4 requests of as much each
    answer = client.put(archive, json={"path": "d", "ignore": rules})
    assert code(answer) == (404, "archive_not_found")
    answer = client.put(archive, json={"path": "d"})
    assert code(answer) == (422, "key_reused")


def test_nothing_is_kept_after_the_sandbox(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    _fill(client, sandbox)
    archives = service.registry.get(sandbox.rpartition("/")[2]).archives
    archive = _begin(client, sandbox, "a")
    assert client.delete(archive).status_code == 204
    _begin(client, sandbox, "b")
    assert list(archives._over) == ["a"]
    assert client.delete(sandbox).status_code == 204
    assert (archives._over, archives._open) == ({}, {})


def test_a_directory_that_is_none(client: httpx.Client, sandbox: str) -> None:
    client.put(f"{sandbox}/files", params={"path": "f"}, content=b"")
    for path, problem in (("nope", (404, "file_not_found")), ("f", (409, "not_a_directory"))):
        for _ in range(2):
            answer = client.put(f"{sandbox}/archives/a", json={"path": path})
            assert code(answer) == problem
            assert answer.json()["path"] == path
    _fill(client, sandbox, 10)
    _begin(client, sandbox)


def test_a_repeat_of_a_begin(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    _fill(client, sandbox, 10)
    for _ in range(2):
        archive = _begin(client, sandbox, ignore=["*.tmp"])
    assert len(engine.taken) == 1
    for body in ({"path": "d"}, {"path": ".", "ignore": ["*.tmp"]}):
        answer = client.put(archive, json=body)
        assert (code(answer), answer.json()["key"]) == ((422, "key_reused"), "archive_id")


def test_what_is_ignored(client: httpx.Client, sandbox: str) -> None:
    _fill(client, sandbox, 1, 2, 3)
    found = _unpacked(_read(client, _begin(client, sandbox, ignore=["*", "!1"])))
    assert found.keys() == {"1"}


def test_patterns_that_are_too_many(client: httpx.Client, sandbox: str) -> None:
    _fill(client, sandbox)
    for ignore in (["a\n" * 1001], ["a"] * 1001, ["a" * 4097], [1], "a"):
        answer = client.put(f"{sandbox}/archives/a", json={"path": "d", "ignore": ignore})
        assert code(answer) == (422, "invalid_request")
        assert answer.json()["key"].startswith("ignore")


@pytest.mark.parametrize("offset", ["-1", "x", "", str(2**60)])
def test_an_offset_that_is_none(client: httpx.Client, sandbox: str, offset: str) -> None:
    _fill(client, sandbox)
    answer = _get(client, _begin(client, sandbox), offset)
    assert (code(answer), answer.json()["key"]) == ((422, "invalid_request"), "offset")


def test_an_archive_that_is_over(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    _fill(client, sandbox, 10_000_000)
    archive = _begin(client, sandbox)
    for _ in range(2):
        assert client.delete(archive).status_code == 204
    assert engine.taken[-1].closed.is_set()
    for answer in (_get(client, archive, 0), client.put(archive, json={"path": "d"})):
        assert code(answer) == (404, "archive_not_found")
    assert client.delete(f"{sandbox}/archives/b").status_code == 204
    answer = client.put(f"{sandbox}/archives/b", json={"path": "d"})
    assert code(answer) == (404, "archive_not_found")


def test_an_end_while_somebody_waits(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    _fill(client, sandbox, 10)
    service.call(engine.bytes_gate.clear)
    archive = _begin(client, sandbox)
    with service.raw() as connection:
        connection.sendall(f"GET {archive}?offset=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        archives = service.registry.get(sandbox.rpartition("/")[2]).archives
        service.until(lambda: archives._open["a"].transfer.users == 1)
        assert client.delete(archive).status_code == 204
        assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")
    assert engine.taken[-1].closed.is_set()


def test_too_many_directories(client: httpx.Client, sandbox: str) -> None:
    _fill(client, sandbox, 10)
    for number in range(10):
        _begin(client, sandbox, f"a{number}")
    for number in range(6):
        begin_upload(client, sandbox, f"u{number}", format="tar")
    for answer in (
        client.put(f"{sandbox}/archives/b", json={"path": "d"}),
        client.put(f"{sandbox}/uploads/b", json={"path": "d", "format": "tar"}),
    ):
        assert code(answer) == (429, "too_many_requests")
        assert "retry-after" in answer.headers
    begin_upload(client, sandbox, "file")
    client.delete(f"{sandbox}/archives/a0")
    begin_upload(client, sandbox, "b", format="tar")
    client.delete(f"{sandbox}/uploads/u0")
    _begin(client, sandbox, "b")


def test_idle_archives_are_given_up(
    service: Service,
    client: httpx.Client,
    sandbox: str,
    engine: BentEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _fill(client, sandbox, 10_000_000)
    monkeypatch.setattr(_transfers, "IDLE_SECONDS", 0.0)
    archive = _begin(client, sandbox)
    service.wait(engine.taken[-1].closed.wait())
    assert code(_get(client, archive, 0)) == (404, "archive_not_found")


def test_archives_end_with_their_sandbox(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    _fill(client, sandbox, 10_000_000)
    archive = _begin(client, sandbox)
    sandbox_id = sandbox.rpartition("/")[2]
    service.call(engine.happen, sandbox_id, Status(state=State.LOST, reason="it broke"))
    service.wait(engine.taken[-1].closed.wait())
    assert code(_get(client, archive, 0)) == (410, "sandbox_lost")
    assert client.delete(sandbox).status_code == 204
    assert code(_get(client, archive, 0)) == (410, "sandbox_destroyed")
    assert client.delete(archive).status_code == 204
    other = f"/sandboxes/{uuid.uuid4()}/archives/a"
    assert code(client.delete(other)) == (404, "sandbox_not_found")


def test_a_directory_goes_in_and_out(client: httpx.Client, sandbox: str) -> None:
    files = _fill(client, sandbox, 10, 100_000)
    whole = _read(client, _begin(client, sandbox))
    upload = begin_upload(client, sandbox, path="e/f", format="tar", digest="sha-256")
    client.patch(
        upload,
        params={"offset": 0},
        content=whole,
        headers={"Content-Type": "application/octet-stream"},
    )
    body = {"length": len(whole), "digest": digest_of(whole)}
    assert client.put(f"{upload}/commit", json=body).status_code == 204
    assert _unpacked(_read(client, _begin(client, sandbox, "b", path="e/f"))) == files
