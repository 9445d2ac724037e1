from __future__ import annotations

import base64
import errno
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import xxhash

from lunette import RetryPolicy, errors
from lunette._answers import from_transport
from lunette._io import run
from lunette._operations import _sources, transfers
from lunette._operations._sources import opened
from lunette._operations._uploading import Session, send

DATA = bytes(range(251)) * 20_000  # 5 MB


def at(offset: int, *, committed: bool = False) -> httpx.Response:
    answer = {"upload_id": "u", "offset": offset, "committed": committed}
    return httpx.Response(200, json=answer)


def cut() -> errors.LunetteError:
    return from_transport(httpx.ReadError("cut"))


def refused(status: int, code: str, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "no", **more})


DONE = httpx.Response(204)


def upload(io: Any, source: Any, path: str = "/w/a", **options: Any) -> None:
    given = {"mode": None, "ignore": None, "progress": False} | options
    run(transfers.upload(io, "s1", source, path, **given))


def digest(data: bytes) -> str:
    return f"xxh3-64=:{base64.b64encode(xxhash.xxh3_64(data).digest()).decode()}:"


def sha256(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def methods(io: Any) -> list[str]:
    """Return what was asked for, in short."""
    ids = [request["url"].rpartition("/uploads/")[2].partition("/")[0] for request in io.requests]
    assert len(set(ids)) <= 1
    words = [entry.partition(" ")[0] for entry in io.diary]
    return [word for word in words if word != "sleep"]


def test_a_small_file_is_one_request_with_its_length_and_digest(
    scripted: Any, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    io = scripted(DONE)

    upload(io, tmp_path / "a", "/w/a b")

    assert io.uploaded == b"0123456789"
    [request] = io.requests
    assert (request["method"], request["url"]) == ("put", "/sandboxes/s1/files")
    assert request["params"] == {"path": "/w/a b"}
    assert request["headers"]["Content-Length"] == "10"
    assert request["headers"]["Repr-Digest"] == sha256(b"0123456789")
    assert "content" not in request


def test_a_large_one_is_an_upload(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    (tmp_path / "a").chmod(0o700)
    io = scripted(at(0), at(len(DATA)), DONE)

    upload(io, tmp_path / "a")

    assert io.bodies == [b"", DATA, b""]
    begin, patch, commit = io.requests
    assert begin["json"] == {"path": "/w/a", "mode": "0755", "digest": "xxh3-64"}
    assert (patch["method"], patch["params"]) == ("patch", {"offset": 0})
    assert patch["headers"]["Content-Length"] == str(len(DATA))
    assert commit["url"] == f"{begin['url']}/commit"
    assert commit["json"] == {"length": len(DATA), "digest": digest(DATA)}


@pytest.mark.parametrize(
    "source",
    [lambda: DATA, lambda: iter([DATA]), lambda: bytearray(DATA)],
    ids=["bytes", "it", "ba"],
)
def test_a_cut_one_goes_on_where_it_was(scripted: Any, source: Callable[[], object]) -> None:
    size = 4 << 20
    io = scripted(
        at(0), cut(), at(1000), cut(), at(1000), at(3000), at(size), *[at(len(DATA)), DONE]
    )
    if not isinstance(source(), bytes | bytearray):
        upload(io, source())
    else:
        io.answers[6:8] = [at(len(DATA))]
        upload(io, source())

    patches = [request for request in io.requests if request["method"] == "patch"]
    assert [request["params"]["offset"] for request in patches][:4] == [0, 1000, 1000, 3000]
    sent = [
        body for body, request in zip(io.bodies, io.requests, strict=True) if request in patches
    ]
    assert sent[1] == sent[2] == DATA[1000 : 1000 + len(sent[1])]
    assert sent[3] == DATA[3000 : 3000 + len(sent[3])]
    assert io.requests[-1]["json"] == {"length": len(DATA), "digest": digest(DATA)}


def test_it_is_given_up_when_nothing_comes_for_as_many_attempts_as_allowed(scripted: Any) -> None:
    io = scripted(at(0), cut(), at(1), cut(), at(1), cut(), at(1), cut(), at(1), DONE)
    with pytest.raises(errors.TransportError, match="cut"):
        upload(io, DATA)
    # The first brought something, and three did not.
    assert methods(io) == ["put", *["patch", "get"] * 4, "outlive", "delete"]
    assert len([entry for entry in io.diary if entry.startswith("sleep")]) == 3


def test_one_attempt_is_one(scripted: Any) -> None:
    io = scripted(at(0), cut(), DONE)
    io.policy = RetryPolicy(attempts=1)
    with pytest.raises(errors.TransportError, match="cut"):
        upload(io, DATA)
    assert methods(io) == ["put", "patch", "outlive", "delete"]


def test_a_server_that_takes_nothing_is_no_endless_loop(scripted: Any) -> None:
    io = scripted(at(0), at(0), at(0), at(0), DONE)
    with pytest.raises(errors.TransportError, match="took nothing"):
        upload(io, DATA)
    assert methods(io) == ["put", "patch", "patch", "patch", "outlive", "delete"]


@pytest.mark.parametrize("offset", [-1, len(DATA) + 1])
def test_a_server_that_cannot_be_there_is_an_error(scripted: Any, offset: int) -> None:
    io = scripted(at(0), at(offset), DONE)
    with pytest.raises(errors.APIError, match=f"is at {offset}, where 0 bytes had come"):
        upload(io, DATA)
    assert methods(io)[-1] == "delete"


def test_what_the_server_says_of_an_upload_that_failed_is_the_error(scripted: Any) -> None:
    io = scripted(at(0), cut(), refused(507, "no_space", path="/w/a"), DONE)
    with pytest.raises(errors.APIError) as caught:
        upload(io, DATA)
    assert caught.value.code == "no_space"
    assert methods(io)[-2:] == ["outlive", "delete"]


def test_what_was_refused_needs_no_clean_up(scripted: Any) -> None:
    io = scripted(refused(403, "permission_denied", path="/w/a"))
    with pytest.raises(PermissionError):
        upload(io, DATA)
    assert methods(io) == ["put"]
    io = scripted(at(0), refused(410, "sandbox_destroyed"))
    with pytest.raises(errors.SandboxDestroyedError):
        upload(io, DATA)
    assert methods(io) == ["put", "patch"]


def test_what_perhaps_was_begun_is_cleaned_up(scripted: Any) -> None:
    io = scripted(cut(), DONE)
    with pytest.raises(errors.TransportError):
        upload(io, DATA)
    assert methods(io) == ["put", "outlive", "delete"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("of the source")])
def test_what_is_interrupted_leaves_nothing(scripted: Any, error: BaseException) -> None:
    def items() -> Any:
        yield DATA
        raise error

    io = scripted(at(0), at(4 << 20), DONE)
    with pytest.raises(type(error)):
        upload(io, items())
    assert methods(io)[-2:] == ["outlive", "delete"]


def test_a_failed_clean_up_hides_nothing(scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    io = scripted(at(0), refused(500, "internal_error"), cut())
    with pytest.raises(errors.APIError, match="no"):
        upload(io, DATA)
    assert "could not clean up" in caplog.text


class Changing:
    """Does something to the source when so many requests have been sent."""

    def __init__(self, scripted: Any, *answers: Any, when: int, what: Callable[[], object]) -> None:
        class Io(scripted):  # type: ignore[misc]
            async def send(self, request: Any, **options: Any) -> httpx.Response:
                if len(self.requests) == when:
                    what()
                answer: httpx.Response = await super().send(request, **options)
                return answer

        self.io = Io(*answers)


@pytest.mark.parametrize("when", [0, 1])
@pytest.mark.parametrize("size", [0, 10, len(DATA) - 1, len(DATA) + 1])
def test_a_file_that_changes_its_size_does_not_arrive(
    scripted: Any, tmp_path: Path, when: int, size: int
) -> None:
    source = tmp_path / "log"
    source.write_bytes(DATA)
    io = Changing(
        scripted, at(0), at(len(DATA)), DONE, when=when, what=lambda: os.truncate(source, size)
    ).io
    with pytest.raises(OSError, match="changed while it was read") as caught:
        upload(io, source)
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, str(source))
    assert methods(io)[-1] == "delete"
    assert not any(request["url"].endswith("commit") for request in io.requests)


def test_a_file_that_vanishes_is_read_on(scripted: Any, tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(DATA)
    io = Changing(scripted, at(0), at(len(DATA)), DONE, when=0, what=source.unlink).io
    upload(io, source)
    assert io.uploaded == DATA


def test_files_that_claim_to_be_empty_are_sent(scripted: Any) -> None:
    io = scripted(DONE)
    upload(io, "/proc/self/status")
    assert io.uploaded.startswith(b"Name:")
    assert int(io.requests[0]["headers"]["Content-Length"]) == len(io.uploaded)


def test_a_program_stays_one_unless_the_caller_says_otherwise(
    scripted: Any, tmp_path: Path
) -> None:
    source = tmp_path / "a"
    source.write_text("#!/bin/sh")
    modes = []
    for permissions, mode in [(0o755, None), (0o711, 0o600), (0o644, None), (0o644, 0o4711)]:
        source.chmod(permissions)
        io = scripted(DONE)
        upload(io, source, mode=mode)
        modes.append(io.requests[0]["params"].get("mode"))
    assert modes == ["0755", "0600", None, "4711"]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"mode": -1}, ValueError, "0o755"),
        ({"mode": 0o10000}, ValueError, "0o755"),
        ({"mode": "0755"}, TypeError, "an integer such as 0o755"),
        ({"mode": True}, TypeError, "an integer such as 0o755"),
        ({"ignore": "*.pyc"}, ValueError, "ignore is of directories"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(
    scripted: Any, options: Any, error: type[Exception], says: str
) -> None:
    io = scripted()
    with pytest.raises(error, match=says):
        upload(io, b"x", **options)
    assert io.diary == []


def test_progress_never_goes_back_and_ends_with_all(scripted: Any) -> None:
    told: list[tuple[int, int | None]] = []
    io = scripted(at(0), cut(), at(1000), at(len(DATA)), DONE)
    upload(io, DATA, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert {total for _, total in told} == {len(DATA)}
    assert told[-1] == (len(DATA), len(DATA))

    told = []
    io = scripted(at(0), at(4 << 20), at(len(DATA)), DONE)
    upload(io, iter([DATA]), progress=lambda done, total: told.append((done, total)))
    assert told[0][1] is None
    assert told[-1] == (len(DATA), len(DATA))


def test_progress_that_fails_ends_the_transfer(scripted: Any) -> None:
    def fail(done: int, total: int | None) -> None:
        raise ZeroDivisionError

    io = scripted(at(0), DONE)
    with pytest.raises(ZeroDivisionError):
        upload(io, DATA, progress=fail)
    assert methods(io) == ["put", "outlive", "delete"]


def test_a_session_by_itself(scripted: Any) -> None:
    async def use(session: Session) -> None:
        await session.begin({"path": "/w/log", "if_exists": "append"})
        for piece in (b"one", b"", b"two"):
            source = opened(piece)
            async for body in source.pieces(io):
                await session.append(body)
        await session.commit()
        await session.abort()

    io = scripted(at(0), at(3), at(6), DONE)
    run(use(Session(io, "s1")))
    assert io.uploaded == b"onetwo"
    assert io.requests[-1]["json"] == {"length": 6}


def test_transfers_are_logged(scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="lunette")
    upload(scripted(at(0), cut(), at(7), at(len(DATA)), DONE), DATA)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert "cut; it goes on at 7" in caplog.text
    assert all(record.getMessage().startswith("[s1] ") for record in caplog.records)


def test_pieces_of_a_stream_are_bounded(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "_PIECE", 1 << 20)
    items = [DATA[n : n + 333_333] for n in range(0, len(DATA), 333_333)]
    sizes = [min(1 << 20, len(DATA) - n) for n in range(0, len(DATA), 1 << 20)]
    io = scripted(at(0), *(at(sum(sizes[: n + 1])) for n in range(len(sizes))), DONE)
    run(send(io, "s1", {"path": "/w/t", "format": "tar"}, opened(items)))
    assert [len(body) for body in io.bodies] == [0, *sizes, 0]
    assert io.uploaded == DATA
    assert io.requests[0]["json"] == {"path": "/w/t", "format": "tar", "digest": "xxh3-64"}
