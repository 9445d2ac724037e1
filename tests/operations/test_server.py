from __future__ import annotations

from typing import Any

import httpx
import pytest

from lunette import errors
from lunette._answers import from_transport
from lunette._io import Profile, run
from lunette._operations.server import is_published
from lunette._version import API_VERSION
from lunette.server import _contract

OURS = httpx.Response(200, json={"name": "lunette", "version": "9", "api_version": API_VERSION})


def asked(scripted: Any, *answers: Any) -> Any:
    io = scripted(*answers)
    io.profile = Profile()
    return io


def test_the_client_speaks_the_version_of_the_contract() -> None:
    assert _contract.api_version() == API_VERSION


def test_a_server_of_ours_is_asked_once(scripted: Any) -> None:
    io = asked(scripted, OURS)
    assert [run(is_published(io)) for _ in range(3)] == [False] * 3
    assert io.diary == ["get /capabilities"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, html="<h1>Not Found</h1>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(405),
        httpx.Response(200, html="<h1>Welcome</h1>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"name": "another"}),
        httpx.Response(200, json={"api_version": 1}),
        httpx.Response(200, content=b"\xff"),
        httpx.Response(204),
    ],
)
def test_what_does_not_know_capabilities_is_published(scripted: Any, answer: Any) -> None:
    io = asked(scripted, answer)
    assert run(is_published(io))
    assert run(is_published(io))
    assert len(io.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(401), errors.AuthenticationError),
        (httpx.Response(403), errors.APIError),
        (httpx.Response(302, headers={"Location": "/login"}), errors.APIError),
        (httpx.Response(500), errors.APIError),
        (httpx.Response(502, html="<h1>Bad Gateway</h1>"), errors.APIError),
        (httpx.Response(404, json={"code": "unknown_endpoint"}), errors.APIError),
        (from_transport(httpx.ReadError("cut")), errors.TransportError),
        (httpx.Response(400, json={"code": "unsupported_api_version"}), errors.VersionError),
        (httpx.Response(200, json={"version": "9.1", "api_version": "2"}), errors.VersionError),
    ],
)
def test_what_it_is_not_known_from_is_an_error_and_is_asked_again(
    scripted: Any, answer: Any, kind: type[Exception]
) -> None:
    io = asked(scripted, answer, OURS)
    with pytest.raises(kind):
        run(is_published(io))
    assert not run(is_published(io))
    assert len(io.requests) == 2


def test_versions_that_are_too_far_apart_are_named(scripted: Any) -> None:
    io = asked(scripted, httpx.Response(200, json={"version": "9.1", "api_version": "2"}))
    with pytest.raises(
        errors.VersionError, match=r"\(lunette 9\.1\) speaks version 2 .* version 1"
    ):
        run(is_published(io))
