from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import uuid
from collections.abc import Generator, Iterator
from typing import Any

import httpx
import pytest

from lunette.server import _sending, _transfers
from lunette.server.engines.protocol import NoCapacityError, SandboxGoneError, State, Status

from .bent_engine import BentEngine
from .conftest import GUARD, Service
from .transfers import begin, code, commit, digest_of, read_file, send


def _head(upload: str, offset: int, length: int) -> bytes:
    return (
        f"PATCH {upload}?offset={offset} HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def _offset(client: httpx.Client, upload: str) -> int:
    answer = client.get(upload)
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["offset"]
    return found


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
def test_a_file_in_one_request(client: httpx.Client, sandbox: str, size: int) -> None:
    content = os.urandom(size)
    upload = begin(client, sandbox, path="a/b/f", digest="sha-256")
    answer = send(client, upload, 0, content)
    state = {"upload_id": "u", "offset": size, "committed": False}
    assert (answer.status_code, answer.json()) == (200, state)
    assert client.get(upload).json() == state
    assert code(client.get(f"{sandbox}/files", params={"path": "a/b/f"}))[0] == 404
    assert commit(client, upload, content, digest=digest_of(content)).status_code == 204
    assert read_file(client, sandbox, "a/b/f") == content
    assert client.get(upload).json() == {**state, "committed": True}


def test_a_file_in_many_requests(client: httpx.Client, sandbox: str) -> None:
    content = os.urandom(5_000_000)
    upload = begin(client, sandbox, digest="sha-256")
    for begin_at in range(0, len(content), 700_000):
        piece = content[begin_at : begin_at + 700_000]
        answer = send(client, upload, begin_at, piece)
        assert answer.json()["offset"] == begin_at + len(piece)
    assert commit(client, upload, content, digest=digest_of(content)).status_code == 204
    assert read_file(client, sandbox) == content


def test_a_body_of_unknown_length(client: httpx.Client, sandbox: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"abc" * 100_000, b"", b"def")

    upload = begin(client, sandbox)
    assert send(client, upload, 0, pieces()).json()["offset"] == 300_003


def test_what_has_come_is_left_out(client: httpx.Client, sandbox: str) -> None:
    upload = begin(client, sandbox, digest="sha-256")
    assert send(client, upload, 0, b"0123456789").json()["offset"] == 10
    assert send(client, upload, 0, b"01234").json()["offset"] == 10
    assert send(client, upload, 8, b"89abc").json()["offset"] == 13
    content = b"0123456789abc"
    assert commit(client, upload, content, digest=digest_of(content)).status_code == 204
    assert read_file(client, sandbox) == content


def test_a_gap(client: httpx.Client, sandbox: str) -> None:
    upload = begin(client, sandbox)
    send(client, upload, 0, b"abc")
    answer = send(client, upload, 4, b"e")
    assert code(answer) == (409, "upload_gap")
    assert answer.json()["offset"] == 3
    assert _offset(client, upload) == 3


@pytest.mark.parametrize("offset", ["-1", "x", "1.5", "", str(2**60)])
def test_an_offset_that_is_none(client: httpx.Client, sandbox: str, offset: Any) -> None:
    upload = begin(client, sandbox)
    answer = send(client, upload, offset, b"")
    assert code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "offset"


def test_a_body_of_another_type(client: httpx.Client, sandbox: str) -> None:
    upload = begin(client, sandbox)
    answer = client.patch(upload, params={"offset": 0}, json={})
    assert code(answer) == (415, "unsupported_media_type")


def test_a_repeat_of_a_begin(client: httpx.Client, sandbox: str) -> None:
    upload = begin(client, sandbox, mode="0755", digest="sha-256")
    send(client, upload, 0, b"abc")
    body = {"path": "f", "format": "file", "mode": "755", "digest": "sha-256"}
    answer = client.put(upload, json=body)
    assert (answer.status_code, answer.json()["offset"]) == (200, 3)
    for other in ({"path": "g"}, {"mode": "0700"}, {"if_exists": "fail"}):
        answer = client.put(upload, json={**body, **other})
        assert code(answer) == (422, "key_reused")
        assert answer.json()["key"] == "upload_id"
    commit(client, upload, b"abc")
    assert client.put(upload, json=body).json()["committed"] is True


def test_the_mode_and_what_is_there(client: httpx.Client, sandbox: str) -> None:
    client.put(f"{sandbox}/files", params={"path": "f"}, content=b"old")
    upload = begin(client, sandbox, mode="0750")
    send(client, upload, 0, b"new")
    assert read_file(client, sandbox) == b"old"
    commit(client, upload, b"new")
    assert read_file(client, sandbox) == b"new"
    found = client.get(f"{sandbox}/files/stat", params={"path": "f"}).json()
    assert found["mode"] == 0o750
    answer = client.put(f"{sandbox}/uploads/x", json={"path": "f", "if_exists": "fail"})
    assert code(answer) == (409, "file_exists")
    assert answer.json()["path"] == "f"


def test_a_file_that_is_made_meanwhile(client: httpx.Client, sandbox: str) -> None:
    upload = begin(client, sandbox, if_exists="fail")
    client.put(f"{sandbox}/files", params={"path": "f"}, content=b"faster")
    for _ in range(2):
        assert code(commit(client, upload, b"")) == (409, "file_exists")
    assert read_file(client, sandbox) == b"faster"


def test_appending_is_seen_as_it_comes(client: httpx.Client, sandbox: str) -> None:
    client.put(f"{sandbox}/files", params={"path": "f"}, content=b"old ")
    upload = begin(client, sandbox, if_exists="append")
    send(client, upload, 0, b"new")
    assert read_file(client, sandbox) == b"old new"
    assert commit(client, upload, b"new").status_code == 204
    assert read_file(client, sandbox) == b"old new"


@pytest.mark.parametrize("more", [{"mode": "0644"}, {"if_exists": "fail"}])
def test_what_directories_have_not(
    client: httpx.Client, sandbox: str, more: dict[str, str]
) -> None:
    answer = client.put(f"{sandbox}/uploads/u", json={"path": "d", "format": "tar", **more})
    assert code(answer) == (422, "invalid_request")
    assert answer.json()["key"] in more


def test_a_begin_that_fails_may_be_sent_again(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    engine.file_error = PermissionError(errno.EACCES, "x", "f")
    for _ in range(2):
        answer = client.put(f"{sandbox}/uploads/u", json={"path": "f"})
        assert code(answer) == (403, "permission_denied")
    engine.file_error = None
    begin(client, sandbox)


def test_begins_at_the_same_time_are_one(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    service.call(engine.begin_gate.clear)
    found: list[httpx.Response] = []

    def put() -> None:
        with service.client() as other:
            found.append(other.put(f"{sandbox}/uploads/u", json={"path": "f"}))

    threads = [threading.Thread(target=put) for _ in range(5)]
    for thread in threads:
        thread.start()
    uploads = _sandbox(service, sandbox).uploads
    service.until(lambda: "u" in uploads._open and uploads._open["u"].transfer.users == 5)
    service.call(engine.begin_gate.set)
    for thread in threads:
        thread.join(GUARD)
    assert [answer.status_code for answer in found] == [200] * 5
    assert len(engine.given) == 1


@pytest.mark.parametrize(
    "body", [{"length": 2}, {"length": 4}, {"length": 3, "digest": digest_of(b"abd")}]
)
def test_what_is_not_as_announced_is_given_up(
    client: httpx.Client, sandbox: str, body: dict[str, Any]
) -> None:
    upload = begin(client, sandbox, digest="sha-256")
    send(client, upload, 0, b"abc")
    for _ in range(2):
        assert code(client.put(f"{upload}/commit", json=body)) == (400, "digest_mismatch")
    assert code(send(client, upload, 3, b"d"))[0] == 400
    assert code(client.get(f"{sandbox}/files", params={"path": "f"}))[0] == 404
    assert _names(client, sandbox) == []


def test_a_digest_that_nobody_computed(client: httpx.Client, sandbox: str) -> None:
    upload = begin(client, sandbox)
    send(client, upload, 0, b"abc")
    answer = commit(client, upload, b"abc", digest=digest_of(b"abc"))
    assert code(answer) == (422, "invalid_request")
    assert answer.json()["key"] == "digest"
    assert commit(client, upload, b"abc").status_code == 204


def test_a_repeat_of_a_commit(client: httpx.Client, sandbox: str) -> None:
    upload = begin(client, sandbox)
    send(client, upload, 0, b"abc")
    assert commit(client, upload, b"abc").status_code == 204
    client.put(f"{sandbox}/files", params={"path": "f"}, content=b"later")
    assert commit(client, upload, b"abc").status_code == 204
    assert code(commit(client, upload, b"ab")) == (400, "digest_mismatch")
    assert client.delete(upload).status_code == 204
    assert commit(client, upload, b"abc").status_code == 204
    assert send(client, upload, 0, b"abc").json()["offset"] == 3
    assert code(send(client, upload, 4, b"e")) == (409, "upload_gap")
    assert read_file(client, sandbox) == b"later"


def test_commits_at_the_same_time_are_one(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    upload = begin(client, sandbox)
    send(client, upload, 0, b"abc")
    service.call(engine.commit_gate.clear)
    found: list[int] = []

    def put() -> None:
        with service.client() as other:
            found.append(commit(other, upload, b"abc").status_code)

    threads = [threading.Thread(target=put) for _ in range(3)]
    for thread in threads:
        thread.start()
    uploads = _sandbox(service, sandbox).uploads
    service.until(lambda: uploads._open["u"].transfer.users == 3)
    service.call(engine.commit_gate.set)
    for thread in threads:
        thread.join(GUARD)
    assert found == [204, 204, 204]


def test_a_commit_that_fails_says_the_same_again(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    upload = begin(client, sandbox)
    engine.commit_error = OSError(errno.ENOSPC, "x", "f")
    for _ in range(2):
        assert code(commit(client, upload, b"")) == (507, "no_space")
    assert engine.given[-1].aborted.is_set()


def test_an_upload_that_is_given_up(client: httpx.Client, sandbox: str) -> None:
    upload = begin(client, sandbox)
    send(client, upload, 0, b"abc")
    for _ in range(2):
        assert client.delete(upload).status_code == 204
    assert _names(client, sandbox) == []
    for answer in (
        client.get(upload),
        send(client, upload, 3, b"d"),
        commit(client, upload, b"abc"),
        client.put(upload, json={"path": "f"}),
    ):
        assert code(answer) == (404, "upload_not_found")


def test_an_end_does_not_wait_for_the_begin(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    service.call(engine.begin_gate.clear)
    found: list[httpx.Response] = []

    def put() -> None:
        with service.client() as other:
            found.append(other.put(f"{sandbox}/uploads/u", json={"path": "f"}))

    thread = threading.Thread(target=put)
    thread.start()
    uploads = _sandbox(service, sandbox).uploads
    service.until(lambda: "u" in uploads._open)
    assert client.delete(f"{sandbox}/uploads/u").status_code == 204
    thread.join(GUARD)
    service.call(engine.begin_gate.set)
    assert [code(answer) for answer in found] == [(404, "upload_not_found")]
    assert not engine.given


def test_an_end_that_overtakes_the_begin(client: httpx.Client, sandbox: str) -> None:
    assert client.delete(f"{sandbox}/uploads/u").status_code == 204
    answer = client.put(f"{sandbox}/uploads/u", json={"path": "f"})
    assert code(answer) == (404, "upload_not_found")


def test_uploads_that_are_none(client: httpx.Client, sandbox: str) -> None:
    upload = f"{sandbox}/uploads/u"
    for answer in (client.get(upload), send(client, upload, 0, b""), commit(client, upload, b"")):
        assert code(answer) == (404, "upload_not_found")
    other = f"/sandboxes/{uuid.uuid4()}/uploads/u"
    for answer in (client.get(other), client.delete(other), client.put(other, json={"path": "f"})):
        assert code(answer) == (404, "sandbox_not_found")
    answer = client.get(f"{sandbox}/uploads/a%20b")
    assert (code(answer), answer.json()["key"]) == ((422, "invalid_request"), "upload_id")


def test_an_error_of_a_write_stays(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    upload = begin(client, sandbox)
    engine.write_error = OSError(errno.ENOSPC, "x", "f")
    assert code(send(client, upload, 0, b"x" * 5_000_000)) == (507, "no_space")
    engine.write_error = None
    for answer in (
        client.get(upload),
        send(client, upload, 0, b"abc"),
        commit(client, upload, b""),
        client.put(upload, json={"path": "f"}),
    ):
        assert code(answer) == (507, "no_space")
    service.wait(engine.given[-1].aborted.wait())
    assert client.delete(upload).status_code == 204
    assert code(client.get(upload)) == (404, "upload_not_found")


def test_an_upload_whose_process_died_is_over(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    """It does not go on later, as `no_capacity` would promise."""
    upload = begin(client, sandbox)
    engine.write_error = NoCapacityError("the process that did it was ended")
    answers = send(client, upload, 0, b"abc"), client.get(upload), commit(client, upload, b"")
    for answer in answers:
        assert code(answer) == (404, "upload_not_found")
        assert "the process that did it was ended" in answer.json()["detail"]


def test_a_begin_that_found_no_room_may_be_sent_again(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    engine.file_error = NoCapacityError("no process for files")
    answer = client.put(f"{sandbox}/uploads/u", json={"path": "f"})
    assert code(answer) == (503, "no_capacity")
    engine.file_error = None
    begin(client, sandbox)


def test_a_commit_that_was_under_way_is_done(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    """Giving it up came too late."""
    upload = begin(client, sandbox)
    send(client, upload, 0, b"abc")
    service.call(engine.commit_gate.clear)

    def do_commit() -> None:
        with service.client() as other:
            commit(other, upload, b"abc")

    def give_up() -> None:
        with service.client() as other:
            other.delete(upload)

    threads = [threading.Thread(target=work) for work in (do_commit, give_up)]
    uploads = _sandbox(service, sandbox).uploads
    threads[0].start()
    service.until(lambda: uploads._open["u"].transfer._committing is not None)
    threads[1].start()
    service.until(lambda: not uploads._open)
    service.call(engine.commit_gate.set)
    for thread in threads:
        thread.join(GUARD)
    assert client.get(upload).json()["committed"] is True
    assert read_file(client, sandbox) == b"abc"


def test_a_fault_of_the_server_stays_too(
    client: httpx.Client, sandbox: str, engine: BentEngine, caplog: pytest.LogCaptureFixture
) -> None:
    upload = begin(client, sandbox)
    engine.write_error = RuntimeError("bug")
    for _ in range(2):
        assert code(send(client, upload, 0, b"abc")) == (500, "internal_error")
    assert "RuntimeError: bug" in caplog.text


def test_writes_are_in_large_blocks(client: httpx.Client, sandbox: str, engine: BentEngine) -> None:
    upload = begin(client, sandbox, digest="sha-256")
    send(client, upload, 0, os.urandom(20_000_000))
    sizes = engine.given[-1].sizes
    assert sum(sizes) / len(sizes) > 128 << 10
    assert max(sizes) < 2 << 20


@pytest.mark.parametrize("reset", [False, True])
def test_all_that_came_counts_when_the_connection_is_cut(
    service: Service, client: httpx.Client, sandbox: str, reset: bool
) -> None:
    """What is lost was in no block of uvicorn's yet: less than its high-water mark."""
    content = os.urandom(16 << 20)
    upload = begin(client, sandbox, digest="sha-256")
    with service.raw() as connection:
        connection.sendall(_head(upload, 0, len(content)))
        connection.sendall(content[: 9 << 20])
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    offset = _offset(client, upload)
    assert (9 << 20) - (64 << 10) <= offset <= 9 << 20
    assert _offset(client, upload) == offset
    send(client, upload, offset, content[offset:])
    assert commit(client, upload, content, digest=digest_of(content)).status_code == 204
    assert read_file(client, sandbox) == content


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a request that hangs be waited for, though the machine is busy."""
    monkeypatch.setattr(_sending, "_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(_sending, "_LAST_SECONDS", GUARD)


@pytest.fixture
def hanging(
    service: Service, client: httpx.Client, sandbox: str, patient: None
) -> Generator[tuple[str, socket.socket]]:
    """Yield an upload, and a connection over which 3 MB of 4 have been sent."""
    upload = begin(client, sandbox, digest="sha-256")
    with service.raw() as connection:
        connection.sendall(_head(upload, 0, 4_000_000) + b"x" * 3_000_000)
        yield upload, connection


def _answered(connection: socket.socket) -> str:
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return answer.decode()


def test_who_asks_ends_who_sends(client: httpx.Client, hanging: tuple[str, socket.socket]) -> None:
    upload, connection = hanging
    assert _offset(client, upload) == 3_000_000
    answer = _answered(connection)
    assert answer.startswith("HTTP/1.1 200 ")
    assert "connection: close" in answer.lower()
    assert '"offset":3000000' in answer


def test_who_sends_ends_who_sends(
    client: httpx.Client, sandbox: str, hanging: tuple[str, socket.socket]
) -> None:
    upload, connection = hanging
    assert send(client, upload, 2_000_000, b"x" * 2_000_000).json()["offset"] == 4_000_000
    assert _answered(connection).startswith("HTTP/1.1 200 ")
    content = b"x" * 4_000_000
    assert commit(client, upload, content, digest=digest_of(content)).status_code == 204
    assert read_file(client, sandbox) == content


def test_a_commit_ends_who_sends(client: httpx.Client, hanging: tuple[str, socket.socket]) -> None:
    upload, _ = hanging
    assert commit(client, upload, b"x" * 3_000_000).status_code == 204


def test_an_end_does_not_wait_for_who_sends(
    client: httpx.Client,
    sandbox: str,
    engine: BentEngine,
    hanging: tuple[str, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sending, "_SILENCE_SECONDS", GUARD)
    upload, connection = hanging
    assert client.delete(upload).status_code == 204
    assert engine.given[-1].aborted.is_set()
    connection.settimeout(GUARD)
    assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")


def test_a_request_that_never_stops_is_ended_too(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    upload = begin(client, sandbox)
    stop = threading.Event()

    def sending() -> Iterator[bytes]:
        while not stop.is_set():
            yield b"x" * 10_000

    def patch() -> None:
        with service.client() as other:
            try:
                found.append(send(other, upload, 0, sending()))
            except httpx.HTTPError as error:
                found.append(error)

    found: list[object] = []
    thread = threading.Thread(target=patch)
    thread.start()
    service.until(lambda: bool(engine.given[-1].sizes))
    offset = _offset(client, upload)
    assert offset > 0
    assert _offset(client, upload) == offset
    stop.set()
    thread.join(GUARD)
    assert found


def test_a_client_that_vanished_is_not_waited_for(
    service: Service,
    client: httpx.Client,
    sandbox: str,
    engine: BentEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_sending, "_HANGING_SECONDS", 0.2)
    upload = begin(client, sandbox)
    with service.raw() as connection:
        connection.sendall(_head(upload, 0, 100) + b"abc")
        assert '"offset":3' in _answered(connection)
    assert _offset(client, upload) == 3


def test_an_upload_that_waits_for_its_write(
    service: Service, client: httpx.Client, engine: BentEngine, hanging: tuple[str, socket.socket]
) -> None:
    """What is being written when another asks is written before it is told."""
    upload, _ = hanging
    service.until(lambda: len(engine.given[-1].sizes) > 0)
    service.call(engine.write_gate.clear)
    found: list[int] = []
    with service.client() as other:
        thread = threading.Thread(target=lambda: found.append(_offset(other, upload)))
        thread.start()
        uploads = next(iter(service.registry.all())).uploads
        service.until(lambda: uploads._open["u"].transfer.users == 2)
        service.call(engine.write_gate.set)
        thread.join(GUARD)
    assert found == [3_000_000]
    assert sum(engine.given[-1].sizes) == 3_000_000


def test_a_sandbox_that_is_destroyed_while_bytes_come(
    client: httpx.Client, sandbox: str, engine: BentEngine, hanging: tuple[str, socket.socket]
) -> None:
    upload, connection = hanging
    assert client.delete(sandbox).status_code == 204
    answer = _answered_once(connection)
    assert answer.startswith("HTTP/1.1 410 ")
    assert '"sandbox_destroyed"' in answer
    assert engine.given[-1].aborted.is_set()
    assert code(client.get(upload)) == (410, "sandbox_destroyed")
    assert client.delete(upload).status_code == 204


def _answered_once(connection: socket.socket) -> str:
    connection.settimeout(GUARD)
    return connection.recv(65536).decode()


def test_a_sandbox_that_is_lost_while_bytes_come(
    service: Service, client: httpx.Client, engine: BentEngine, hanging: tuple[str, socket.socket]
) -> None:
    upload, connection = hanging
    sandbox_id = upload.split("/")[2]
    service.call(engine.happen, sandbox_id, Status(state=State.LOST, reason="it broke"))
    answer = _answered_once(connection)
    assert answer.startswith("HTTP/1.1 410 ")
    assert '"sandbox_lost"' in answer
    service.wait(engine.given[-1].aborted.wait())


def test_a_sandbox_that_turns_out_to_be_gone(
    client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    upload = begin(client, sandbox)
    engine.write_error = SandboxGoneError(Status(state=State.LOST, reason="killed"))
    assert code(send(client, upload, 0, b"abc")) == (410, "sandbox_lost")
    assert client.get(sandbox).json()["state"] == "lost"
    assert client.delete(upload).status_code == 204


def test_a_server_that_stops_ends_uploads(engine: BentEngine) -> None:
    service = Service(engine)
    service.start()
    with service.client() as client:
        sandbox = f"/sandboxes/{uuid.uuid4()}"
        client.put(sandbox, json={"service": {"image": "host"}})
        upload = begin(client, sandbox)
        with service.raw() as connection:
            connection.sendall(_head(upload, 0, 4_000_000) + b"x" * 3_000_000)
            service.until(lambda: bool(engine.given[-1].sizes))
            service.stop()
            answer = _answered_once(connection)
    assert answer.startswith("HTTP/1.1 410 ")
    assert engine.given[-1].aborted.is_set()


def test_idle_uploads_are_given_up(
    service: Service,
    client: httpx.Client,
    sandbox: str,
    engine: BentEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = begin(client, sandbox, "busy", "g")
    with service.raw() as connection:
        connection.sendall(_head(busy, 0, 4_000_000) + b"x" * 3_000_000)
        service.until(lambda: bool(engine.given[0].sizes))
        monkeypatch.setattr(_transfers, "IDLE_SECONDS", 0.0)
        idle = begin(client, sandbox, "idle")
        service.wait(engine.given[1].aborted.wait())
        for answer in (client.get(idle), commit(client, idle, b"")):
            assert code(answer) == (404, "upload_not_found")
        assert not engine.given[0].aborted.is_set()
    service.wait(engine.given[0].aborted.wait())


def test_what_is_in_use_is_not_idle(
    client: httpx.Client, sandbox: str, monkeypatch: pytest.MonkeyPatch, service: Service
) -> None:
    upload = begin(client, sandbox)
    timer = _sandbox(service, sandbox).uploads._open["u"].timer
    assert timer is not None and not timer.cancelled()
    send(client, upload, 0, b"abc")
    assert timer.cancelled()


def test_too_many_uploads(client: httpx.Client, sandbox: str) -> None:
    for number in range(64):
        begin(client, sandbox, f"u{number}", f"f{number}")
    answer = client.put(f"{sandbox}/uploads/one-more", json={"path": "f"})
    assert code(answer) == (429, "too_many_requests")
    assert "retry-after" in answer.headers
    client.delete(f"{sandbox}/uploads/u0")
    commit(client, f"{sandbox}/uploads/u1", b"")
    begin(client, sandbox, "one-more")
    begin(client, sandbox, "two-more", "g")
    assert client.put(f"{sandbox}/uploads/3", json={"path": "f"}).status_code == 429


def test_only_the_last_uploads_are_remembered(
    client: httpx.Client, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_transfers, "_REMEMBERED", 2)
    for name in "abc":
        assert commit(client, begin(client, sandbox, name), b"").status_code == 204
    assert code(client.get(f"{sandbox}/uploads/a")) == (404, "upload_not_found")
    assert client.get(f"{sandbox}/uploads/b").json()["committed"] is True


def _sandbox(service: Service, sandbox: str) -> Any:
    return service.registry.get(sandbox.rpartition("/")[2])


def _names(client: httpx.Client, sandbox: str) -> list[str]:
    found = client.get(f"{sandbox}/files/list", params={"path": "."}).json()
    return [entry["path"] for entry in found["entries"]]
