"""Manifests and refusals, over real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from lunette.server.images._patience import PassingError
from lunette.server.images.errors import (
    ImageError,
    ImageNotFoundError,
    InvalidImageError,
    PlatformError,
    RegistryDeniedError,
    RegistryError,
)
from lunette.server.images.reference import Reference
from lunette.server.images.registry import Registry

from ...images.oci_image import ELSEWHERE, Image, Index, digest
from .origin import Asked, Origin, Reply, manifest_reply, serving
from .pulls import QUICK, fetch, image_of, order, prepared, verify

IMAGE = image_of(1000)


# What manifests may be


def test_an_index_leads_to_this_machine(origin: Origin, root: Path) -> None:
    index = Index(images=(evolve(IMAGE, platform=ELSEWHERE), IMAGE))
    fetched = fetch(order(root, origin.push(index)))
    assert (fetched.digest, fetched.own) == (index.digest, IMAGE.digest)


def test_an_index_for_others_is_a_platform_error(origin: Origin, root: Path) -> None:
    reference = origin.push(Index(images=(evolve(IMAGE, platform=ELSEWHERE),)))
    with pytest.raises(PlatformError, match="linux/s390x"):
        fetch(order(root, reference))


def test_an_image_for_others_is_a_platform_error_before_its_layers(
    origin: Origin, root: Path
) -> None:
    elsewhere = evolve(IMAGE, platform=ELSEWHERE)
    with pytest.raises(PlatformError, match="linux/s390x"):
        fetch(order(root, origin.push(elsewhere)))
    assert origin.paths(elsewhere.layers[0].digest) == []


def test_by_digest(origin: Origin, root: Path) -> None:
    origin.push(IMAGE)
    fetched = fetch(order(root, f"{origin.host}/app@{IMAGE.digest}"))
    assert fetched.digest == IMAGE.digest


@pytest.mark.parametrize("form", ["tag", "digest", "index"])
def test_a_manifest_with_another_digest_is_refused(origin: Origin, root: Path, form: str) -> None:
    other = image_of(1001)
    pushed = Index(images=(IMAGE,)) if form == "index" else IMAGE
    reference = origin.push(pushed)

    def bend(asked: Asked, reply: Reply) -> Reply:
        if asked.path.endswith(("latest", IMAGE.digest)) and not (
            form == "index" and asked.path.endswith("latest")
        ):
            lie = reply.headers if form == "tag" else {}
            return Reply(body=other.manifest, headers=lie)
        return reply

    origin.bend = bend
    named = f"{origin.host}/app@{IMAGE.digest}" if form == "digest" else reference
    with pytest.raises(RegistryError, match=f"wrong digest.*{IMAGE.digest}"):
        fetch(order(root, named))
    assert verify(root) == set()


def test_an_index_that_lies_about_a_size_is_refused(origin: Origin, root: Path) -> None:
    index = json.loads(Index(images=(IMAGE,)).manifest)
    index["manifests"][0]["size"] += 1
    reference = origin.push(IMAGE)
    origin.manifests["latest"] = (index["mediaType"], json.dumps(index).encode())
    with pytest.raises(RegistryError, match=r"came with \d+ bytes, not"):
        fetch(order(root, reference))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"<html>hello</html>", b"[]", b"\xff", b'"x"', b"[" * 10**6]
)
def test_garbage_is_a_registry_error(origin: Origin, root: Path, body: bytes) -> None:
    reference = origin.push(IMAGE)
    origin.bend = lambda asked, reply: Reply(body=body)
    with pytest.raises(RegistryError, match="is this a registry") as raised:
        fetch(order(root, reference))
    assert "hello" not in str(raised.value)


def test_an_endless_manifest_is_refused(origin: Origin, root: Path) -> None:
    def zeros() -> Iterator[bytes]:
        while True:
            yield b"0" * 65536

    reference = origin.push(IMAGE)
    origin.bend = lambda asked, reply: Reply(body=zeros())
    with pytest.raises(InvalidImageError, match="over 4194304 bytes"):
        fetch(order(root, reference))


def test_layers_beyond_the_limit_are_not_fetched(origin: Origin, root: Path) -> None:
    with pytest.raises(InvalidImageError, match="over the limit of 100"):
        fetch(order(root, origin.push(IMAGE), most_bytes=100))
    assert origin.paths("/blobs/") == []


# Refusals


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RegistryError),
        (401, RegistryDeniedError),
        (403, RegistryDeniedError),
        (404, ImageNotFoundError),
        (418, RegistryError),
        (429, RegistryError),
        (500, RegistryError),
        (204, RegistryError),
    ],
)
def test_refusals(origin: Origin, root: Path, status: int, error: type[ImageError]) -> None:
    reference = origin.push(IMAGE)
    reason = json.dumps({"errors": [{"code": "NO", "message": "because\x1b[31m " + "x" * 500}]})
    body = b"" if status == 204 else reason.encode()
    origin.bend = lambda asked, reply: Reply(status=status, body=body)
    with pytest.raises(error) as raised:
        fetch(order(root, reference))
    text = str(raised.value)
    assert text.isprintable()
    assert len(text) < 600
    assert status in {204, 401} or "NO: because" in text


@pytest.mark.parametrize(
    "body",
    [b"", b"<h1>private</h1>", b'{"errors": []}', b'{"errors": [1]}', b'{"errors": {"a": 1}}'],
)
def test_no_other_words_of_a_registry_are_shown(origin: Origin, root: Path, body: bytes) -> None:
    reference = origin.push(IMAGE)
    origin.bend = lambda asked, reply: Reply(status=403, body=body)
    with pytest.raises(RegistryDeniedError) as raised:
        fetch(order(root, reference))
    assert "private" not in str(raised.value)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(origin: Origin, root: Path, status: int) -> None:
    reference = origin.push(IMAGE)
    times: list[float] = []

    def bend(asked: Asked, reply: Reply) -> Reply:
        times.append(time.monotonic())
        return Reply(status=status, headers={"Retry-After": "1"}) if len(times) == 1 else reply

    origin.bend = bend
    fetch(order(root, reference))
    assert times[1] - times[0] >= 1


def test_a_long_retry_after_is_told_instead(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    origin.bend = lambda asked, reply: Reply(status=429, headers={"Retry-After": "3600"})
    with pytest.raises(RegistryError, match=r"no more requests.*another 3600 s"):
        fetch(order(root, reference))
    assert len(origin.asked) == 1


def test_nobody_there(root: Path) -> None:
    with serving() as origin:
        reference = f"{origin.host}/app"
    with pytest.raises(RegistryError, match=r"cannot reach 127\.0\.0\.1.*refused"):
        fetch(order(root, reference))


def test_a_head_that_is_cut_is_tried_again(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    cuts = iter([0, 10, 50])
    origin.bend = lambda asked, reply: evolve(reply, cut=next(cuts, None))
    fetch(order(root, reference))
    verify(root)


# Asking again


def test_current_digest(origin: Origin) -> None:
    registry = Registry(Reference.parse(origin.push(IMAGE)))
    assert registry.current_digest() == IMAGE.digest
    origin.bend = lambda asked, reply: evolve(reply, headers={})
    assert registry.current_digest() is None
    origin.bend = lambda asked, reply: Reply(status=500)
    assert registry.current_digest() is None
    registry.close()


def test_always_asks_for_one_header(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    first = fetch(order(root, reference))
    known(root, reference)
    origin.asked.clear()
    assert fetch(order(root, reference, policy="always")) == first
    assert origin.paths() == ["HEAD /v2/app/manifests/latest"]


def test_always_takes_what_is_new(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    fetch(order(root, reference))
    known(root, reference)
    other = image_of(2000)
    origin.push(other)
    assert fetch(order(root, reference, policy="always")).digest == other.digest


def test_missing_does_not_ask_for_what_is_known(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    first = fetch(order(root, reference))
    known(root, reference)
    origin.asked.clear()
    for policy in ("missing", "never"):
        assert fetch(order(root, reference, policy=policy)) == first
    pinned = f"{origin.host}/app@{IMAGE.digest}"
    for policy in ("missing", "always", "never"):
        assert fetch(order(root, pinned, policy=policy)) == first
    assert origin.asked == []


def test_never_is_never(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    with pytest.raises(ImageNotFoundError, match="policy is never"):
        fetch(order(root, reference, policy="never"))
    fetch(order(root, reference))
    known(root, reference)
    prepared(root).blobs.path(IMAGE.layers[0].digest).unlink()
    origin.asked.clear()
    with pytest.raises(ImageNotFoundError, match="policy is never"):
        fetch(order(root, reference, policy="never"))
    assert origin.asked == []


def known(root: Path, reference: str) -> None:
    """Note what a pull would have."""
    prepared(root).record(
        Reference.parse(reference),
        image_id=IMAGE.image_id,
        digest=IMAGE.digest,
        manifest=IMAGE.digest,
    )


def test_an_error_that_may_pass_is_one(origin: Origin) -> None:
    registry = Registry(Reference.parse(origin.push(IMAGE)))
    origin.bend = lambda asked, reply: Reply(status=503, headers={"Retry-After": "7"})
    with pytest.raises(PassingError) as raised:
        registry.manifest()
    registry.close()
    assert raised.value.retry_after == 7
    assert isinstance(raised.value.final, RegistryError)


def test_a_manifest_whose_header_says_nothing_of_its_type(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    origin.bend = lambda asked, reply: (
        manifest_reply("text/plain", IMAGE.manifest) if "manifests" in asked.path else reply
    )
    assert fetch(order(root, reference)).digest == digest(IMAGE.manifest)


def test_a_manifest_by_a_registry_that_is_patient(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    replies: list[Any] = []

    def bend(asked: Asked, reply: Reply) -> Reply:
        replies.append(asked)
        return Reply(status=500) if len(replies) < QUICK.attempts else reply

    origin.bend = bend
    fetch(order(root, reference))


def test_a_nested_index_is_refused(origin: Origin, root: Path) -> None:
    index = json.loads(Index(images=(IMAGE,)).manifest)
    inner = Index(images=(IMAGE,))
    index["manifests"][0] |= {"digest": inner.digest, "size": len(inner.manifest)}
    reference = origin.push(inner)
    origin.manifests["latest"] = (index["mediaType"], json.dumps(index).encode())
    with pytest.raises(InvalidImageError, match="index within an index"):
        fetch(order(root, reference))


def test_an_image_without_layers(origin: Origin, root: Path) -> None:
    empty = Image(layers=())
    fetch(order(root, origin.push(empty)))
    assert verify(root) == {empty.digest, empty.image_id}
