from __future__ import annotations

import io as streams
import json
import tarfile
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from lunette import errors
from lunette._answers import from_transport
from lunette._io import run
from lunette._operations import sandboxes
from lunette.results import SandboxInfo, StopFailure, StopResult
from lunette.service import Specification, read

from ..published.messages import multipart

HOST = Specification({"image": "host"})
ID = "3f6f2c0e-7c1c-4a8e-9a2b-0d6a8e0f4b1d"


def info(**more: Any) -> dict[str, Any]:
    return {
        "sandbox_id": ID,
        "state": "running",
        "engine": "fake",
        "service": {"image": "host"},
        "labels": {"run": "7"},
        "created_at": "2026-11-23T10:00:00Z",
        **more,
    }


def problem(status: int, code: str) -> httpx.Response:
    body = {"status": status, "code": code, "detail": f"it is {code}", "request_id": "r1"}
    return httpx.Response(status, json=body)


def test_create_makes_the_id_itself(scripted: Any) -> None:
    io = scripted(httpx.Response(201, json=info()))

    sandbox_id = run(sandboxes.create(io, Specification({"image": "host", "x-mine": {"a": [1]}})))

    assert str(UUID(sandbox_id)) == sandbox_id
    assert io.diary == [f"put /sandboxes/{sandbox_id}"]
    assert io.requests[0]["json"] == {"service": {"image": "host", "x-mine": {"a": [1]}}}


@pytest.mark.parametrize(
    "service",
    [
        {"image": "a"},
        {"image": "a", "command": "x y", "entrypoint": ["z"], "working_dir": "/w"},
        {"image": "a", "environment": {"A": "1", "B": 2, "C": 1.5, "D": True}},
        {"image": "a", "labels": ["a=b", "c"], "hostname": "h", "network_mode": "none"},
        {"image": "a", "labels": {"a": None, "b": 1}, "command": ["a", ""]},
        {"image": "a", "mem_limit": "1g", "x-any": {"deep": [None, {"b": 1}]}, "ports": [80]},
        {"image": 1, "deploy": "x", "ulimits": [1], "tmpfs": {"a": None}, "extra_hosts": 3},
    ],
)
def test_create_sends_the_service_unchanged(scripted: Any, service: dict[str, Any]) -> None:
    io = scripted(httpx.Response(201, json=info()))
    run(sandboxes.create(io, Specification(service)))
    assert io.requests[0]["json"] == {"service": service}


@pytest.mark.parametrize(
    "fault",
    [
        KeyboardInterrupt(),
        from_transport(httpx.ReadTimeout("slow")),
        from_transport(httpx.ReadError("cut")),
        httpx.Response(502, html="<h1>Bad Gateway</h1>"),
        httpx.Response(201, text="not JSON"),
        httpx.Response(201, json={"sandbox_id": "half"}),
        httpx.Response(200, json=["a list"]),
    ],
)
def test_create_that_may_have_acted_is_undone(scripted: Any, fault: Any) -> None:
    io = scripted(fault, httpx.Response(204))

    with pytest.raises((errors.LunetteError, KeyboardInterrupt)):
        run(sandboxes.create(io, HOST))

    url = io.requests[0]["url"]
    assert io.diary == [f"put {url}", "outlive 2", f"delete {url}"]


@pytest.mark.parametrize(
    "fault",
    [problem(422, "invalid_service"), from_transport(httpx.ConnectError("refused"))],
)
def test_create_that_did_nothing_leaves_nothing_to_undo(scripted: Any, fault: Any) -> None:
    io = scripted(fault)
    with pytest.raises(errors.LunetteError):
        run(sandboxes.create(io, HOST))
    assert len(io.diary) == 1


def test_failing_to_undo_does_not_hide_the_error(scripted: Any) -> None:
    io = scripted(KeyboardInterrupt(), from_transport(httpx.ConnectError("gone")))
    with pytest.raises(KeyboardInterrupt):
        run(sandboxes.create(io, HOST))


def test_get_tells_all(scripted: Any) -> None:
    io = scripted(httpx.Response(200, json=info(state="stopped", reason="ended", exit_code=0)))
    assert run(sandboxes.get(io, ID)) == SandboxInfo(
        sandbox_id=ID,
        state="stopped",
        reason="ended",
        exit_code=0,
        engine="fake",
        service={"image": "host"},
        labels={"run": "7"},
        created_at=datetime(2026, 11, 23, 10, tzinfo=UTC),
    )


def test_list_and_stop(scripted: Any) -> None:
    io = scripted(
        httpx.Response(200, json={"sandboxes": [info()]}),
        httpx.Response(
            200, json={"stopped": [ID], "failed": [{"sandbox_id": "x", "error": "no sandbox 'x'"}]}
        ),
    )

    assert [found.reason for found in run(sandboxes.list_all(io))] == [None]
    assert run(sandboxes.stop(io, iter([ID, "x"]))) == StopResult(
        [ID], [StopFailure("x", "no sandbox 'x'")]
    )
    assert io.requests[1]["json"] == {"sandbox_ids": [ID, "x"], "save_state": False}


@pytest.mark.parametrize("ids", ["one", [1], [None]])
def test_stop_refuses_what_is_no_ids(scripted: Any, ids: Any) -> None:
    io = scripted()
    with pytest.raises(TypeError, match="sandbox_ids"):
        run(sandboxes.stop(io, ids))


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(204),
        problem(404, "sandbox_not_found"),
        problem(410, "sandbox_lost"),
        from_transport(httpx.ReadError("cut"), errors.SandboxLostError),
    ],
)
def test_destroying_what_is_gone_is_no_error(scripted: Any, answer: Any) -> None:
    run(sandboxes.destroy(scripted(answer), ID))


def test_destroy_that_failed_says_so(scripted: Any) -> None:
    with pytest.raises(errors.APIError, match="internal_error"):
        run(sandboxes.destroy(scripted(problem(500, "internal_error")), ID))


def test_a_create_that_takes_long_is_followed(scripted: Any) -> None:
    io = scripted(
        httpx.Response(202, json=info(state="pending")),
        httpx.Response(200, json=info(state="pending")),
        httpx.Response(200, json=info()),
    )
    sandbox_id = run(sandboxes.create(io, HOST))
    url = f"/sandboxes/{sandbox_id}"
    assert io.diary == [f"put {url}", f"get {url}", f"get {url}"]
    assert io.requests[0]["headers"]["Prefer"] == "respond-async, wait=20"
    assert [request["params"] for request in io.requests[1:]] == [{"wait": 25.0}] * 2


def test_a_create_that_fails_later_is_that_error(scripted: Any) -> None:
    io = scripted(
        httpx.Response(202, json=info(state="pending")),
        problem(422, "invalid_service"),
        httpx.Response(204),
    )
    with pytest.raises(errors.ServiceError):
        run(sandboxes.create(io, HOST))
    assert io.diary[2] == "outlive 2"  # whatever it was that was said


@pytest.mark.parametrize(
    ("state", "kind"), [("failed", errors.SandboxFailedError), ("lost", errors.SandboxLostError)]
)
def test_a_sandbox_that_broke_while_it_was_made_is_an_error(
    scripted: Any, state: str, kind: type[Exception]
) -> None:
    io = scripted(
        httpx.Response(202, json=info(state="pending")),
        httpx.Response(200, json=info(state=state, reason="bwrap: no")),
        httpx.Response(204),
    )
    with pytest.raises(kind, match="bwrap: no"):
        run(sandboxes.create(io, HOST))


@pytest.mark.parametrize("published", [False, True])
def test_a_destroy_that_is_interrupted_is_done_all_the_same(scripted: Any, published: bool) -> None:
    stopped = httpx.Response(200, json={"stopped": [ID], "failed": []})
    io = scripted(KeyboardInterrupt(), stopped if published else httpx.Response(204))
    io.profile.published = published
    with pytest.raises(KeyboardInterrupt):
        run(sandboxes.destroy(io, ID))
    request = "post /sandboxes/stop" if published else f"delete /sandboxes/{ID}"
    assert io.diary == [request, "outlive 2", request]


@pytest.fixture
def building(tmp_path: Path) -> Specification:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "a").write_text("content of a")
    build = {"context": str(tmp_path), "args": {"A": "1"}}
    return read({"image": "mine", "build": build, "hostname": "h"})


def sent_form(io: Any) -> dict[str, str | bytes]:
    content_type = Message()
    content_type["Content-Type"] = io.requests[-1]["headers"]["Content-Type"]
    return multipart(io.uploaded, str(content_type.get_param("boundary")))


def test_a_build_is_sent_as_a_form(scripted: Any, building: Specification) -> None:
    io = scripted(httpx.Response(200, json={"sandbox_id": ID}))

    assert run(sandboxes.create(io, building)) == ID

    assert io.diary == ["post /sandboxes"]
    headers = io.requests[0]["headers"]
    assert UUID(headers["Idempotency-Key"])
    assert headers["Prefer"] == "respond-async, wait=20"
    assert io.patient
    form = sent_form(io)
    assert list(form) == ["image", "service", "dockerfile", "build_context"]
    assert (form["image"], form["dockerfile"]) == ("mine", "Dockerfile")
    service = {"image": "mine", "hostname": "h", "build": {"args": {"A": "1"}}}
    assert json.loads(form["service"]) == service
    assert isinstance(form["build_context"], bytes)
    with tarfile.open(fileobj=streams.BytesIO(form["build_context"])) as tar:
        assert tar.getnames() == ["Dockerfile", "a"]


def test_a_build_of_a_folder_alone(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    io = scripted(httpx.Response(200, json={"sandbox_id": ID}))
    run(sandboxes.create(io, read(tmp_path)))
    form = sent_form(io)
    assert list(form) == ["service", "dockerfile", "build_context"]
    assert form["service"] == "{}"
    assert str(tmp_path).encode() not in io.uploaded


def test_a_build_that_takes_long_is_followed(scripted: Any, building: Specification) -> None:
    io = scripted(httpx.Response(202, json=info(state="pending")), httpx.Response(200, json=info()))
    assert run(sandboxes.create(io, building)) == ID
    assert io.diary == ["post /sandboxes", f"get /sandboxes/{ID}"]


def test_a_build_that_may_have_acted_is_undone(scripted: Any, building: Specification) -> None:
    io = scripted(KeyboardInterrupt(), httpx.Response(204))
    with pytest.raises(KeyboardInterrupt):
        run(sandboxes.create(io, building))
    key = io.requests[0]["headers"]["Idempotency-Key"]
    assert io.diary == ["post /sandboxes", "outlive 2", f"delete /sandboxes/{key}"]


def test_a_refused_build_leaves_nothing_to_undo(scripted: Any, building: Specification) -> None:
    io = scripted(problem(422, "not_supported"))
    with pytest.raises(errors.NotSupportedError):
        run(sandboxes.create(io, building))
    assert len(io.diary) == 1


def test_a_build_on_the_published_wire(scripted: Any, building: Specification) -> None:
    io = scripted(httpx.Response(200, json={"sandbox_id": ID}))
    io.profile.published = True
    assert run(sandboxes.create(io, building)) == ID
    assert list(io.requests[0]["headers"]) == ["Content-Type"]  # no key: it is never repeated
    assert list(sent_form(io)) == ["image", "service", "dockerfile", "build_context"]


def test_what_cannot_be_read_is_told_from_within_the_upload(
    scripted: Any, building: Specification
) -> None:
    assert building.build is not None
    (building.build.context.folder / ".dockerignore").write_text("[a")
    io = scripted(httpx.Response(204))
    with pytest.raises(errors.ServiceError, match=r"\.dockerignore, line 1"):
        run(sandboxes.create(io, building))


# Lifetimes


def test_create_sends_lifetimes(scripted: Any) -> None:
    io = scripted(httpx.Response(201, json=info()))
    run(sandboxes.create(io, HOST, ttl=60, idle_timeout=1.5))
    assert io.requests[0]["json"] == {"service": HOST.service, "ttl": 60, "idle_timeout": 1.5}


def test_lifetimes_that_are_refused_before_anything_is_sent(
    scripted: Any, building: Specification
) -> None:
    io = scripted()
    for wrong in (0, -1, float("nan"), float("inf"), 31_536_001):
        with pytest.raises(ValueError, match="ttl"):
            run(sandboxes.create(io, HOST, ttl=wrong))
        with pytest.raises(ValueError, match="seconds"):
            run(sandboxes.extend(io, ID, wrong))
    with pytest.raises(TypeError, match="idle_timeout"):
        run(sandboxes.create(io, HOST, idle_timeout=True))
    with pytest.raises(errors.NotSupportedError, match="from a Dockerfile with idle_timeout"):
        run(sandboxes.create(io, building, idle_timeout=1))
    io.profile.published = True
    with pytest.raises(errors.NotSupportedError, match="create_sandbox with ttl and idle_timeout"):
        run(sandboxes.create(io, HOST, ttl=1, idle_timeout=1))
    with pytest.raises(errors.NotSupportedError, match="extend"):
        run(sandboxes.extend(io, ID, 1))
    assert io.diary == []


def test_extend(scripted: Any) -> None:
    end = "2026-11-23T11:00:00Z"
    answers = (httpx.Response(200, json=info(**more)) for more in ({"expires_at": end}, {}))
    io = scripted(*answers)
    assert run(sandboxes.extend(io, ID, 60)) == datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert run(sandboxes.extend(io, ID, 60)) is None
    assert io.diary == [f"put /sandboxes/{ID}/lifetime"] * 2
    assert io.requests[0]["json"] == {"seconds": 60}


def test_what_is_left_is_stopped_where_it_is_still_there(scripted: Any) -> None:
    stopped = httpx.Response(200, json={"stopped": [ID], "failed": []})
    io = scripted(httpx.Response(200, json={"sandboxes": [info()]}), stopped)
    assert run(sandboxes.stop_the_left(io, ["gone", ID])).stopped == [ID]
    assert io.requests[1]["json"]["sandbox_ids"] == [ID]
    io = scripted(httpx.Response(200, json={"sandboxes": []}))
    assert run(sandboxes.stop_the_left(io, ["gone"])).stopped == []
    io = scripted(stopped)
    io.profile.published = True
    assert run(sandboxes.stop_the_left(io, [ID])).stopped == [ID]
    assert io.diary == ["post /sandboxes/stop"]
