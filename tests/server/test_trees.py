from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette.server import _repeats, trees
from lunette.server._load import Gate
from lunette.server.engines.protocol import SandboxGoneError, State, Status

from . import host_engine
from .bent_engine import BentEngine
from .conftest import GUARD, Service
from .transfers import code, digest_of, read_file


def _at(path: str, **more: Any) -> dict[str, Any]:
    return {"params": {"path": path, **more}}


def _put(client: httpx.Client, sandbox: str, path: str, content: bytes = b"") -> None:
    assert client.put(f"{sandbox}/files", content=content, **_at(path)).status_code == 204


def _stat(client: httpx.Client, sandbox: str, path: str, **more: Any) -> dict[str, Any]:
    answer = client.get(f"{sandbox}/files/stat", **_at(path, **more))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _root(engine: BentEngine, sandbox: str) -> Path:
    return engine.root / sandbox.rpartition("/")[2]


def test_a_file(client: httpx.Client, sandbox: str) -> None:
    _put(client, sandbox, "f", b"abc")
    found = _stat(client, sandbox, "f")
    assert found["path"].endswith("/f")
    assert (found["type"], found["size"], found["mode"]) == ("file", 3, 0o644)
    assert isinstance(found["mtime"], float)
    assert {"etag", "digest", "target", "path_base64"}.isdisjoint(found)


def test_the_digest_of_a_file(client: httpx.Client, sandbox: str) -> None:
    content = os.urandom(3_000_000)
    _put(client, sandbox, "f", content)
    found = _stat(client, sandbox, "f", digest="sha-256")
    assert (found["digest"], found["size"]) == (digest_of(content), 3_000_000)
    assert found["etag"] == client.get(f"{sandbox}/files", **_at("f")).headers["etag"]


def test_digests_of_what_has_none(client: httpx.Client, sandbox: str) -> None:
    for path, problem in ((".", (409, "is_a_directory")), ("nope", (404, "file_not_found"))):
        answer = client.get(f"{sandbox}/files/stat", **_at(path, digest="sha-256"))
        assert code(answer) == problem
    answer = client.get(f"{sandbox}/files/stat", **_at(".", digest="md5"))
    assert code(answer) == (422, "invalid_request")


def test_a_file_that_changes_while_it_is_read(
    client: httpx.Client, sandbox: str, engine: BentEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_as_opened(_: object) -> bool:
        return False

    _put(client, sandbox, "f", b"abc")
    monkeypatch.setattr(host_engine.HostReader, "is_as_opened", is_as_opened)
    answer = client.get(f"{sandbox}/files/stat", **_at("f", digest="sha-256"))
    assert code(answer) == (409, "file_changed")
    assert answer.json()["path"] == "f"
    assert engine.readers[-1].closed.is_set()


def test_links(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    _put(client, sandbox, "f", b"abc")
    (_root(engine, sandbox) / "l").symlink_to("f")
    assert _stat(client, sandbox, "l")["type"] == "file"
    found = _stat(client, sandbox, "l", follow_symlinks="false")
    assert (found["type"], found["target"]) == ("symlink", "f")
    answer = client.get(
        f"{sandbox}/files/stat", **_at("l", follow_symlinks="false", digest="sha-256")
    )
    assert code(answer) == (409, "not_a_regular_file")


def test_a_name_that_is_no_unicode(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    root = _root(engine, sandbox)
    (root / "l").symlink_to(os.fsdecode(b"a\xffb"))
    (root / os.fsdecode(b"a\xffb")).mkdir()
    found = _stat(client, sandbox, "l", follow_symlinks="false")
    assert found["target"] == "a\N{REPLACEMENT CHARACTER}b"
    assert "path_base64" not in found


def test_a_path_that_is_no_unicode() -> None:
    from lunette.server.engines.files import FileStat

    path = os.fsdecode(b"/a\xff")
    stat = FileStat(path=path, type="file", size=0, mode=0, mtime=0.0, uid=0, gid=0)
    found = trees._info(stat)
    assert found["path"] == "/a\N{REPLACEMENT CHARACTER}"
    assert base64.b64decode(found["path_base64"]) == b"/a\xff"


def _list(client: httpx.Client, sandbox: str, path: str, **more: Any) -> tuple[str, list[str]]:
    answer = client.get(f"{sandbox}/files/list", **_at(path, **more))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert found.keys() == {"directory", "entries"}
    return found["directory"], [entry["path"] for entry in found["entries"]]


def test_a_directory(client: httpx.Client, sandbox: str) -> None:
    for path in ("d/b/x/y", "d/a", "d/é\n", "d/b/c"):
        _put(client, sandbox, path)
    directory, entries = _list(client, sandbox, "d")
    assert directory.endswith("/d")
    assert entries == ["a", "b", "é\n"]
    assert _list(client, sandbox, "d", depth=2)[1] == ["a", "b", "b/c", "b/x", "é\n"]
    assert _list(client, sandbox, "d", depth=0)[1] == ["a", "b", "b/c", "b/x", "b/x/y", "é\n"]


def test_an_empty_directory(client: httpx.Client, sandbox: str) -> None:
    client.put(f"{sandbox}/files/directory", **_at("d"))
    assert _list(client, sandbox, "d")[1] == []


def test_many_entries(client: httpx.Client, sandbox: str) -> None:
    names = [f"{number:05}" for number in range(3000)]
    script = f"mkdir d && cd d && touch {' '.join(names)}"
    assert client.post(f"{sandbox}/exec", json={"command": script}).json()["exit_code"] == 0
    assert _list(client, sandbox, "d")[1] == names


def test_a_listing_that_is_too_large(
    client: httpx.Client, sandbox: str, engine: BentEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "LISTING", 3)
    for name in "abc":
        _put(client, sandbox, f"d/{name}")
    assert len(_list(client, sandbox, "d")[1]) == 3
    _put(client, sandbox, "d/d")
    answer = client.get(f"{sandbox}/files/list", **_at("d"))
    assert code(answer) == (413, "listing_too_large")
    assert answer.json()["path"] == "d"
    assert engine.taken[-1].closed.is_set()


def test_a_listing_of_too_many_bytes(
    client: httpx.Client, sandbox: str, engine: BentEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_LISTING_BYTES", 1000)
    client.put(f"{sandbox}/files/directory", **_at("d"))
    line = b'{"path":"%s"}\n' % (b"x" * 100)
    engine.blocks = [b'"/d"\n', *[line] * 8]
    assert len(_list(client, sandbox, "d")[1]) == 8
    engine.blocks = [b'"/d"\n', *[line] * 9]
    answer = client.get(f"{sandbox}/files/list", **_at("d"))
    assert code(answer) == (413, "listing_too_large")
    assert "over 1000 bytes" in answer.json()["detail"]
    assert answer.json()["path"] == "d"
    assert engine.taken[-1].closed.is_set()


def _hang_up(service: Service, path: str) -> None:
    """Ask for *path*, and go away when the server is at it."""
    engine = service.engine
    assert isinstance(engine, BentEngine)
    before = len(engine.taken) + len(engine.readers)
    with service.raw() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        service.until(lambda: len(engine.taken) + len(engine.readers) > before)


def test_a_digest_that_nobody_waits_for(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    with (_root(engine, sandbox) / "f").open("wb") as file:
        file.truncate(1 << 43)
    _hang_up(service, f"{sandbox}/files/stat?path=f&digest=sha-256")
    service.wait(engine.readers[-1].closed.wait())
    service.until(lambda: _inside(service, sandbox) == 0)


def test_a_digest_in_a_sandbox_that_ends(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    with (_root(engine, sandbox) / "f").open("wb") as file:
        file.truncate(1 << 43)
    found: list[httpx.Response] = []

    def stat() -> None:
        with service.client() as other:
            found.append(other.get(f"{sandbox}/files/stat", **_at("f", digest="sha-256")))

    thread = threading.Thread(target=stat)
    thread.start()
    service.until(lambda: bool(engine.readers))
    assert client.delete(sandbox).status_code == 204
    thread.join(GUARD)
    assert code(found[0]) == (410, "sandbox_destroyed")
    assert engine.readers[-1].closed.is_set()


def test_a_listing_that_nobody_waits_for(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    service.call(engine.bytes_gate.clear)
    _hang_up(service, f"{sandbox}/files/list?path=.")
    service.wait(engine.taken[-1].closed.wait())
    service.until(lambda: _inside(service, sandbox) == 0)


def _inside(service: Service, sandbox: str) -> int:
    return service.registry.get(sandbox.rpartition("/")[2]).scans.inside


def _scans(service: Service) -> Gate:
    (found,) = {
        route.app._endpoints["GET"].__self__._scans
        for route in service.routes()
        if route.path.endswith("/files/list")
    }
    assert isinstance(found, Gate)
    return found


@pytest.mark.parametrize("of_all", [False, True])
def test_too_many_listings_and_digests(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine, of_all: bool
) -> None:
    known = service.registry.get(sandbox.rpartition("/")[2])
    gate = _scans(service) if of_all else known.scans
    service.call(setattr, gate, "_limit", 2)
    _put(client, sandbox, "f", b"abc")
    service.call(engine.bytes_gate.clear)
    found: list[int] = []

    def get() -> None:
        with service.client() as other:
            found.append(other.get(f"{sandbox}/files/list", **_at(".")).status_code)

    threads = [threading.Thread(target=get) for _ in range(2)]
    for thread in threads:
        thread.start()
    service.until(lambda: gate.inside == 2)
    for answer in (
        client.get(f"{sandbox}/files/list", **_at(".")),
        client.get(f"{sandbox}/files/stat", **_at("f", digest="sha-256")),
    ):
        assert code(answer) == (429, "too_many_requests")
        assert answer.headers["retry-after"] == "1"
    _stat(client, sandbox, "f")  # without a digest it is none of them
    service.call(engine.bytes_gate.set)
    for thread in threads:
        thread.join(GUARD)
    assert found == [200, 200]
    service.until(lambda: gate.inside == 0)
    _stat(client, sandbox, "f", digest="sha-256")


def test_a_listing_keeps_its_place_until_it_is_read(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    """All of it is in memory meanwhile."""
    engine.blocks = [b'"/d"\n', *[b'{"path":"%s"}\n' % (b"x" * 1_000_000)] * 32]
    with service.raw() as connection:
        path = f"{sandbox}/files/list?path=."
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        assert _inside(service, sandbox) == 1
    service.until(lambda: _inside(service, sandbox) == 0)


def test_listings_that_are_none(client: httpx.Client, sandbox: str) -> None:
    _put(client, sandbox, "f")
    for path, problem in (("f", (409, "not_a_directory")), ("nope", (404, "file_not_found"))):
        answer = client.get(f"{sandbox}/files/list", **_at(path))
        assert code(answer) == problem
        assert answer.json()["path"] == path
    for depth in ("-1", "x", "4097"):
        answer = client.get(f"{sandbox}/files/list", **_at(".", depth=depth))
        assert (code(answer), answer.json()["key"]) == ((422, "invalid_request"), "depth")


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("entries", [0, 1, 3])
def test_lines_in_blocks_of_any_size(size: int, entries: int) -> None:
    lines = ['"/d"', *(f'{{"path":"{number}"}}' for number in range(entries))]
    data = "".join(f"{line}\n" for line in lines).encode()

    class Lines:
        async def chunks(self) -> AsyncIterator[bytes]:
            for begin in range(0, len(data), size):
                yield data[begin : begin + size]

        async def aclose(self) -> None: ...

    found = json.loads(b"".join(asyncio.run(trees._joined(Lines(), "d"))))
    paths = [{"path": str(number)} for number in range(entries)]
    assert found == {"directory": "/d", "entries": paths}


def test_an_error_midway(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    engine.blocks = [b'"/d"\n{"path"', PermissionError(errno.EACCES, "x", "d/e")]
    client.put(f"{sandbox}/files/directory", **_at("d"))
    answer = client.get(f"{sandbox}/files/list", **_at("d"))
    assert (code(answer), answer.json()["path"]) == ((403, "permission_denied"), "d/e")
    assert engine.taken[-1].closed.is_set()


def test_making_directories(client: httpx.Client, sandbox: str) -> None:
    def make(path: str, **more: Any) -> httpx.Response:
        return client.put(f"{sandbox}/files/directory", **_at(path, **more))

    assert make("d").status_code == 204
    assert code(make("d")) == (409, "file_exists")
    assert make("d", exist_ok="true").status_code == 204
    assert code(make("a/b")) == (404, "file_not_found")
    assert make("a/b", parents="true", mode="0700").status_code == 204
    assert _stat(client, sandbox, "a/b")["mode"] == 0o700
    _put(client, sandbox, "f")
    assert code(make("f", exist_ok="true")) == (409, "file_exists")
    assert code(make("x", mode="9")) == (422, "invalid_request")
    assert code(make("x", parents="yes")) == (422, "invalid_request")


def test_removing(client: httpx.Client, sandbox: str) -> None:
    def remove(path: str, **more: Any) -> httpx.Response:
        return client.delete(f"{sandbox}/files", **_at(path, **more))

    _put(client, sandbox, "d/e/f")
    assert code(remove("d")) == (409, "directory_not_empty")
    assert remove("d/e/f").status_code == 204
    assert remove("d/e").status_code == 204
    _put(client, sandbox, "d/e/f")
    assert remove("d", recursive="true").status_code == 204
    answer = remove("d")
    assert (code(answer), answer.json()["path"]) == ((404, "file_not_found"), "d")


def test_moving(client: httpx.Client, sandbox: str) -> None:
    def move(source: str, target: str) -> httpx.Response:
        return client.post(f"{sandbox}/files/move", json={"source": source, "target": target})

    _put(client, sandbox, "a", b"content")
    _put(client, sandbox, "b", b"other")
    assert move("a", "b").status_code == 204
    assert read_file(client, sandbox, "b") == b"content"
    assert code(move("a", "b")) == (404, "file_not_found")
    assert code(move("", "b")) == (422, "invalid_request")


def _keyed(client: httpx.Client, sandbox: str, path: str, key: str, **more: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return client.delete(f"{sandbox}/files", headers=headers, **_at(path, **more))


def test_a_repeat_is_answered_as_the_first(client: httpx.Client, sandbox: str) -> None:
    _put(client, sandbox, "f")
    for _ in range(2):
        assert _keyed(client, sandbox, "f", "k").status_code == 204
    for _ in range(2):
        assert code(_keyed(client, sandbox, "f", "l")) == (404, "file_not_found")
        _put(client, sandbox, "f")
    assert code(_keyed(client, sandbox, "g", "k")) == (422, "key_reused")
    assert code(_keyed(client, sandbox, "f", "k", recursive="true")) == (422, "key_reused")
    headers = {"Idempotency-Key": "k"}
    answer = client.put(f"{sandbox}/files/directory", headers=headers, **_at("f"))
    assert (code(answer), answer.json()["key"]) == ((422, "key_reused"), "Idempotency-Key")
    assert read_file(client, sandbox, "f") == b""


def test_a_key_of_every_change(client: httpx.Client, sandbox: str) -> None:
    _put(client, sandbox, "f")
    for _ in range(2):
        headers = {"Idempotency-Key": "make"}
        answer = client.put(f"{sandbox}/files/directory", headers=headers, **_at("d"))
        assert answer.status_code == 204
    for _ in range(2):
        body = {"source": "f", "target": "d/f"}
        headers = {"Idempotency-Key": "move"}
        answer = client.post(f"{sandbox}/files/move", json=body, headers=headers)
        assert answer.status_code == 204
    headers = {"Idempotency-Key": "not a key"}
    answer = client.post(f"{sandbox}/files/move", json=body, headers=headers)
    assert code(answer) == (422, "invalid_request")


def test_a_repeat_joins_what_is_under_way(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    _put(client, sandbox, "f")
    service.call(engine.change_gate.clear)
    found: list[int] = []

    def remove() -> None:
        with service.client() as other:
            found.append(_keyed(other, sandbox, "f", "k").status_code)

    threads = [threading.Thread(target=remove) for _ in range(3)]
    for thread in threads:
        thread.start()
    service.until(lambda: bool(engine.changes))
    assert code(_keyed(client, sandbox, "g", "k")) == (422, "key_reused")
    service.call(engine.change_gate.set)
    for thread in threads:
        thread.join(GUARD)
    assert found == [204] * 3
    assert engine.changes == [("remove", "f")]


def test_what_the_server_could_not_do_may_be_asked_again(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    _put(client, sandbox, "f")
    engine.file_error = OSError(errno.EMFILE, "x")
    assert code(_keyed(client, sandbox, "f", "k")) == (503, "no_capacity")
    engine.file_error = None
    assert _keyed(client, sandbox, "f", "k").status_code == 204


def test_only_the_last_keys_are_known(
    client: httpx.Client, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_repeats, "_KNOWN_KEYS", 2)
    for name in "abc":
        _put(client, sandbox, name)
        assert _keyed(client, sandbox, name, name).status_code == 204
    assert code(_keyed(client, sandbox, "a", "a")) == (404, "file_not_found")
    assert _keyed(client, sandbox, "c", "c").status_code == 204


def test_sandboxes_that_are_gone(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    engine.file_error = SandboxGoneError(Status(state=State.LOST, reason="killed"))
    assert code(_keyed(client, sandbox, "f", "k")) == (410, "sandbox_lost")
    for path in (sandbox, f"/sandboxes/{uuid.uuid4()}"):
        for answer in (
            client.get(f"{path}/files/stat", **_at("f")),
            client.get(f"{path}/files/list", **_at("f")),
            client.put(f"{path}/files/directory", **_at("f")),
            client.delete(f"{path}/files", **_at("f")),
            client.post(f"{path}/files/move", json={"source": "a", "target": "b"}),
        ):
            assert answer.status_code == (410 if path == sandbox else 404)
