"""The tag `images` of the contract, over images that a test can hold, and over none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from lunette.server.engines.protocol import PulledImage, PullPolicy, Report
from lunette.server.images import endpoints
from lunette.server.images.endpoints import ImageEndpoints
from lunette.server.images.errors import ImageInUseError, ImageNotFoundError, error_of_kind
from lunette.server.images.image import Progress

from ..conftest import Service
from ..host_engine import HostEngine

DIGEST = "sha256:" + "0" * 64
AT_ONCE = {"Prefer": "respond-async, wait=0"}
WHOLE = "docker.io/library/python:3.11-slim"
PATH = "/images/python:3.11-slim"


class HeldImages:
    """Pulls wait for the gate; what came of them is there until it is removed."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.pulls: list[tuple[str, PullPolicy]] = []
        self.reports: list[Report] = []
        self.cancelled = 0
        self.error: Exception | None = None
        self.here: dict[str, PulledImage] = {}
        self.used: set[str] = set()

    async def all(self) -> Sequence[PulledImage]:
        return list(self.here.values())

    async def pull(self, reference: str, policy: PullPolicy, report: Report) -> PulledImage:
        self.pulls.append((reference, policy))
        self.reports.append(report)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        self.here[reference] = _pulled(reference)
        return self.here[reference]

    async def remove(self, reference: str) -> None:
        if reference in self.used:
            raise ImageInUseError(f"the image {reference!r} is in use")
        if self.here.pop(reference, None) is None:
            raise ImageNotFoundError(f"the image {reference!r} is not here")


def _pulled(reference: str, created: str | None = None) -> PulledImage:
    return PulledImage(
        reference=reference,
        image_id=DIGEST,
        digest=DIGEST,
        size=10,
        unpacked=20,
        created=created,
        pulled_at="2026-11-25T10:00:00Z",
    )


def _shown(reference: str) -> dict[str, Any]:
    return {
        "reference": reference,
        "state": "ready",
        "image_id": DIGEST,
        "digest": DIGEST,
        "size": 10,
        "unpacked": 20,
        "pulled_at": "2026-11-25T10:00:00Z",
    }


@pytest.fixture
def images(engine: HostEngine) -> HeldImages:
    found = HeldImages()
    engine.images = found
    return found


def _told(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body.get("state") or body["code"]


def test_a_pull_is_waited_for_without_a_preference(
    service: Service, client: httpx.Client, images: HeldImages
) -> None:
    with ThreadPoolExecutor(1) as threads:
        put = threads.submit(client.put, PATH)
        service.until(lambda: bool(images.pulls))
        service.call(images.gate.set)
        answer = put.result()
    assert (answer.status_code, answer.json()) == (200, _shown(WHOLE))
    assert images.pulls == [(WHOLE, "always")]
    assert client.get("/images").json() == {"images": [_shown(WHOLE)]}


def test_what_is_said_of_an_image(
    service: Service, client: httpx.Client, images: HeldImages
) -> None:
    images.here = {"a": _pulled("a", created="2026-01-01T00:00:00Z"), "b": _pulled("b")}
    found = client.get("/images").json()["images"]
    assert found == [{**_shown("a"), "created": "2026-01-01T00:00:00Z"}, _shown("b")]


def test_a_pull_that_takes_long_is_asked_for_again(
    service: Service, client: httpx.Client, images: HeldImages
) -> None:
    first = client.put(PATH, headers=AT_ONCE)
    assert (first.status_code, first.json()) == (202, {"reference": WHOLE, "state": "pulling"})
    assert first.headers["preference-applied"] == "respond-async"
    service.until(lambda: bool(images.reports))
    service.call(images.reports[0], Progress("unpacking", 1, 2))
    again = client.put(PATH, headers=AT_ONCE)
    progress = {"stage": "unpacking", "done": 1, "total": 2}
    assert again.json() == {"reference": WHOLE, "state": "pulling", "progress": progress}
    service.call(images.gate.set)
    last = client.put(PATH, headers={"Prefer": "respond-async, wait=25"})
    assert (last.status_code, last.json()) == (200, _shown(WHOLE))
    assert len(images.pulls) == 1


def test_ten_who_ask_wait_for_the_same(
    service: Service, client: httpx.Client, images: HeldImages
) -> None:
    names = [PATH, "/images/docker.io/library/python:3.11-slim", "/images/library/python:3.11-slim"]
    with ThreadPoolExecutor(10) as threads:
        puts = [threads.submit(client.put, names[n % 3]) for n in range(10)]
        service.until(lambda: _asking(service) == 10)
        service.call(images.gate.set)
        assert [put.result().json() for put in puts] == [_shown(WHOLE)] * 10
    assert len(images.pulls) == 1


def _asking(service: Service) -> int:
    """Return how many requests wait for a pull."""
    paths = next(r.app for r in service.routes() if r.path == "/images/{reference:path}")
    found: ImageEndpoints = paths._endpoints["PUT"].__self__
    return sum(pull._asking for pull in found._pulls.values())


def test_a_pull_after_the_last_one_asks_again(
    service: Service, client: httpx.Client, images: HeldImages
) -> None:
    service.call(images.gate.set)
    for _ in range(2):
        assert client.put(PATH).status_code == 200
    assert len(images.pulls) == 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("not_found", (404, "image_not_found")),
        ("denied", (403, "registry_denied")),
        ("registry", (502, "registry_error")),
        ("invalid_image", (422, "invalid_image")),
        ("platform", (422, "not_supported")),
        ("no_space", (507, "no_space")),
        ("store", (503, "engine_unavailable")),
        ("killed", (503, "no_capacity")),
        ("image", (500, "internal_error")),
    ],
)
def test_a_failure_is_told_to_who_comes_back(
    service: Service,
    client: httpx.Client,
    images: HeldImages,
    kind: str,
    expected: tuple[int, str],
) -> None:
    images.error = error_of_kind(kind, f"it was {kind}")
    assert client.put(PATH, headers=AT_ONCE).status_code == 202
    service.call(images.gate.set)
    answer = client.put(PATH, headers={"Prefer": "respond-async, wait=25"})
    assert _told(answer) == expected
    if kind != "image":  # which is a fault of ours
        assert (answer.json()["detail"], answer.json()["key"]) == (f"it was {kind}", "reference")
    assert len(images.pulls) == 1
    images.error = None
    assert client.put(PATH).status_code == 200


def test_what_nobody_foresaw(service: Service, client: httpx.Client, images: HeldImages) -> None:
    images.error = RuntimeError("s3cret")
    service.call(images.gate.set)
    answer = client.put(PATH)
    assert _told(answer) == (500, "internal_error")
    assert "s3cret" not in answer.text


def test_a_pull_that_nobody_asks_for_any_more_ends(
    service: Service, client: httpx.Client, images: HeldImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "_UNASKED_SECONDS", 0.0)
    assert client.put(PATH, headers=AT_ONCE).status_code == 202
    service.until(lambda: images.cancelled == 1)
    service.call(images.gate.set)
    assert client.put(PATH).status_code == 200
    assert len(images.pulls) == 2


def test_the_end_of_one_pull_is_not_that_of_the_next(
    service: Service, client: httpx.Client, images: HeldImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a first one has been answered, its time runs out while a second is under way."""
    timers: list[Any] = []
    loop = service.call(asyncio.get_running_loop)
    original = loop.call_later

    def call_later(delay: float, work: Any, *arguments: Any) -> asyncio.TimerHandle:
        if delay == endpoints._UNASKED_SECONDS:
            timers.append(work)
        handle: asyncio.TimerHandle = original(delay, work, *arguments)
        return handle

    monkeypatch.setattr(loop, "call_later", call_later)
    service.call(images.gate.set)
    assert client.put(PATH).status_code == 200
    service.call(images.gate.clear)
    assert client.put(PATH, headers=AT_ONCE).status_code == 202
    service.call(timers[0])
    assert client.put(PATH, headers=AT_ONCE).status_code == 202
    service.call(images.gate.set)
    assert client.put(PATH).status_code == 200
    assert (len(images.pulls), images.cancelled) == (2, 0)


def test_remove(service: Service, client: httpx.Client, images: HeldImages) -> None:
    images.here = {WHOLE: _pulled(WHOLE)}
    images.used = {WHOLE}
    answer = client.delete(PATH)
    assert (_told(answer), answer.json()["key"]) == ((409, "image_in_use"), "reference")
    images.used = set()
    assert client.delete(PATH).status_code == 204
    assert _told(client.delete(PATH)) == (404, "image_not_found")
    assert client.get("/images").json() == {"images": []}


@pytest.mark.parametrize(
    ("path", "reference"),
    [
        ("ghcr.io%2Fa%2Fb%3Av1", "ghcr.io/a/b:v1"),
        ("ghcr.io/a/b:v1", "ghcr.io/a/b:v1"),
        ("ghcr.io/a%2fb:v1", "ghcr.io/a/b:v1"),
        ("localhost:5000%2Fa@sha256:" + "0" * 64, "localhost:5000/a@sha256:" + "0" * 64),
        ("a", "docker.io/library/a:latest"),
        ("host", "docker.io/library/host:latest"),
    ],
)
def test_how_a_reference_is_written_in_a_path(
    service: Service, client: httpx.Client, images: HeldImages, path: str, reference: str
) -> None:
    service.call(images.gate.set)
    assert client.put(f"/images/{path}").json()["reference"] == reference
    assert client.delete(f"/images/{path}").status_code == 204


@pytest.mark.parametrize(
    "path", ["", "A", "%20", "a%00b", "a//b", "../a", "a:", "a@sha256:0", "%2e%2e", "a%0ab", "é",
             "a" * 600, "http://a/b", "a?b"],
    ids=lambda path: path[:20],
)  # fmt: skip
def test_what_is_no_reference(
    service: Service, client: httpx.Client, images: HeldImages, path: str
) -> None:
    for method in ("PUT", "DELETE"):
        answer = client.send(client.build_request(method, _raw(f"/images/{path}")))
        assert _told(answer) in {(422, "invalid_request"), (404, "unknown_endpoint")}, answer.text
    assert images.pulls == []


def _raw(path: str) -> httpx.URL:
    """Return a URL that nobody has tidied up."""
    return httpx.URL("http://localhost/").copy_with(raw_path=quote(path, safe="/%:@.").encode())


def test_an_engine_without_images(client: httpx.Client, engine: HostEngine) -> None:
    assert client.get("/images").json() == {"images": []}
    for method in ("PUT", "DELETE"):
        answer = client.request(method, PATH)
        assert (*_told(answer), answer.json()["key"]) == (422, "not_supported", "reference")


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_other_methods(
    service: Service, client: httpx.Client, images: HeldImages, method: str
) -> None:
    answer = client.request(method, PATH)
    assert (*_told(answer), answer.headers["allow"]) == (405, "method_not_allowed", "DELETE, PUT")
