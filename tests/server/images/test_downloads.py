"""Blobs over real sockets that are cut, lie, stall and never end."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from lunette.server.images._patience import Patience
from lunette.server.images.errors import NoSpaceError, RegistryError
from lunette.server.images.image import Progress

from ...images.oci_image import Image
from .origin import Asked, Origin, Reply, serving
from .pulls import QUICK, fetch, image_of, order, prepared, verify

SMALL = image_of(200_000, 100_000)
_FOREVER = Patience(attempts=10_000, total=60, first_pause=0.001, longest_pause=0.005, progress=1)


def largest(image: Image) -> str:
    return max(image.layers, key=lambda layer: len(layer.blob)).digest


def is_blob(asked: Asked, digest: str) -> bool:
    return asked.path.endswith(f"/blobs/{digest}")


def test_all_blobs_come_verified(origin: Origin, root: Path) -> None:
    reference = origin.push(SMALL)
    fetched = fetch(order(root, reference))
    assert fetched.digest == fetched.own == SMALL.digest
    assert verify(root) == {SMALL.digest, SMALL.image_id, *(x.digest for x in SMALL.layers)}
    assert not list(root.glob("blobs/sha256/*.part"))


def test_what_is_there_is_not_asked_for_again(origin: Origin, root: Path) -> None:
    fetch(order(root, origin.push(SMALL)))
    other = Image(layers=(*SMALL.layers, *image_of(1000, seed=1).layers))
    reference = origin.push(other, "other:latest")
    origin.asked.clear()
    fetch(order(root, reference))
    # Its manifest, its config and its own layer.
    assert len(origin.paths()) == 3


def test_a_layer_that_comes_twice_is_fetched_once(origin: Origin, root: Path) -> None:
    twice = Image(layers=SMALL.layers[:1] * 2)
    fetch(order(root, origin.push(twice)))
    assert len(origin.paths("/blobs/")) == 2


def test_files_are_this_users_alone(origin: Origin, root: Path) -> None:
    fetch(order(root, origin.push(SMALL)))
    for path in (root, *root.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("seed", range(6))
def test_cuts_anywhere_leave_the_whole_file(origin: Origin, root: Path, seed: int) -> None:
    image = image_of(1_500_000, 700_000, 300_000, seed=seed)
    reference = origin.push(image)
    chance = random.Random(seed)
    lock = threading.Lock()

    def bend(asked: Asked, reply: Reply) -> Reply:
        if "/blobs/" not in asked.path or not isinstance(reply.body, bytes):
            return reply
        with lock:
            cut = chance.randrange(200_000)
        return reply if cut >= len(reply.body) else evolve(reply, cut=cut)

    origin.bend = bend
    fetch(order(root, reference), patience=_FOREVER)
    verify(root)
    cuts = len(origin.paths("/blobs/")) - len(image.blobs())
    assert cuts > 10
    # What was on its way at a cut may be lost: at most what one read takes.
    total = sum(len(blob) for blob in image.blobs().values()) + len(image.manifest)
    assert origin.sent <= total + cuts * 2**16


def test_a_registry_that_dies_midway_and_comes_back(root: Path) -> None:
    image = image_of(2_000_000)
    cut = threading.Event()
    with serving() as origin:
        reference, port = origin.push(image), origin.port

        def bend(asked: Asked, reply: Reply) -> Reply:
            if not is_blob(asked, largest(image)):
                return reply
            if asked.start:
                cut.set()
            return evolve(reply, cut=0 if asked.start else 1_000_000)

        origin.bend = bend
        thread = threading.Thread(target=lambda: fetch(order(root, reference), patience=_FOREVER))
        thread.start()
        assert cut.wait(30)
    with serving(port=port) as origin:
        origin.push(image)
        thread.join(30)
        assert not thread.is_alive()
        assert [asked.start for asked in origin.asked] == [1_000_000]
    verify(root)


def test_a_registry_that_never_comes_back(root: Path) -> None:
    image = image_of(2_000_000)
    with serving() as origin:
        reference = origin.push(image)

        def bend(asked: Asked, reply: Reply) -> Reply:
            if is_blob(asked, largest(image)):
                origin.socket.close()
                return evolve(reply, cut=1_000_000)
            return reply

        origin.bend = bend
        with pytest.raises(RegistryError, match=r"cannot reach 127\.0\.0\.1"):
            fetch(order(root, reference))
    # What came is kept for the next time.
    assert [p.stat().st_size for p in root.glob("blobs/sha256/*.part")] == [1_000_000]


def test_a_server_without_ranges_starts_over(origin: Origin, root: Path) -> None:
    reference, wanted = origin.push(SMALL), largest(SMALL)
    cuts = itertools.count()

    def bend(asked: Asked, reply: Reply) -> Reply:
        if not is_blob(asked, wanted):
            return reply
        whole = Reply(body=origin.blobs[wanted])
        return evolve(whole, cut=90_000) if next(cuts) < 3 else whole

    origin.bend = bend
    fetch(order(root, reference))
    verify(root)


def test_a_server_without_ranges_that_always_cuts_is_given_up(origin: Origin, root: Path) -> None:
    reference, wanted = origin.push(SMALL), largest(SMALL)
    origin.bend = lambda asked, reply: (
        Reply(body=origin.blobs[wanted], cut=90_000) if is_blob(asked, wanted) else reply
    )
    with pytest.raises(RegistryError, match=r"connection to 127\.0\.0\.1 broke"):
        fetch(order(root, reference))
    assert len(origin.paths(wanted)) <= 2 * QUICK.attempts


@pytest.mark.parametrize("kept", [1, 50_000, 10**7])
def test_a_stale_part_is_thrown_away_once(origin: Origin, root: Path, kept: int) -> None:
    reference, wanted = origin.push(SMALL), largest(SMALL)
    store = prepared(root)
    part = store.blobs.path(wanted).with_suffix(".part")
    part.write_bytes(b"x" * kept)
    fetch(order(root, reference))
    verify(root)
    assert not part.exists()


def test_a_good_part_is_taken_up(origin: Origin, root: Path) -> None:
    reference, wanted = origin.push(SMALL), largest(SMALL)
    part = prepared(root).blobs.path(wanted).with_suffix(".part")
    part.write_bytes(origin.blobs[wanted][:150_000])
    fetch(order(root, reference))
    (asked,) = [asked for asked in origin.asked if is_blob(asked, wanted)]
    assert asked.start == 150_000


def test_a_whole_part_needs_no_request(origin: Origin, root: Path) -> None:
    reference, wanted = origin.push(SMALL), largest(SMALL)
    part = prepared(root).blobs.path(wanted).with_suffix(".part")
    part.write_bytes(origin.blobs[wanted])
    fetch(order(root, reference))
    assert origin.paths(wanted) == []


def endless() -> Iterator[bytes]:
    while True:
        yield b"z" * 65536


def wrong_byte(reply: Reply) -> Reply:
    assert isinstance(reply.body, bytes)
    return evolve(reply, body=bytes([reply.body[0] ^ 1]) + reply.body[1:])


def truncated(reply: Reply) -> Reply:
    assert isinstance(reply.body, bytes)
    return evolve(reply, body=reply.body[:-1])


def too_long(reply: Reply) -> Reply:
    assert isinstance(reply.body, bytes)
    return evolve(reply, body=reply.body + b"x", length=-1)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(wrong_byte, "it is sha256:", id="wrong byte"),
        pytest.param(truncated, "the registry has", id="truncated"),
        pytest.param(too_long, "sends over", id="too long"),
        pytest.param(lambda r: Reply(body=endless()), "sends over", id="endless"),
        pytest.param(lambda r: Reply(body=b"<html>"), "the registry has 6 bytes", id="page"),
    ],
)
def test_what_is_not_the_digest_is_refused_after_one_fresh_try(
    origin: Origin, root: Path, spoil: object, why: str
) -> None:
    assert callable(spoil)
    reference, wanted = origin.push(SMALL), largest(SMALL)
    origin.bend = lambda asked, reply: spoil(reply) if is_blob(asked, wanted) else reply
    with pytest.raises(RegistryError, match=why) as raised:
        fetch(order(root, reference))
    assert wanted in str(raised.value)
    assert len(origin.paths(wanted)) == 2
    assert wanted not in verify(root)
    part = prepared(root).blobs.path(wanted).with_suffix(".part")
    assert part.stat().st_size == 0


@pytest.mark.parametrize(
    "span", ["bytes 0-9/10", "bytes 7-199999/200000", "", "bytes 5-9/*", "items 1-2/3"]
)
def test_another_part_than_was_asked_for_is_no_blob(origin: Origin, root: Path, span: str) -> None:
    reference, wanted = origin.push(SMALL), largest(SMALL)
    part = prepared(root).blobs.path(wanted).with_suffix(".part")
    part.write_bytes(origin.blobs[wanted][:150_000])

    def bend(asked: Asked, reply: Reply) -> Reply:
        return evolve(reply, headers={"Content-Range": span}) if asked.start else reply

    origin.bend = bend
    fetch(order(root, reference))  # by a fresh try
    verify(root)


@pytest.mark.parametrize("status", [500, 502, 503, 408, 429])
def test_what_passes_is_tried_again(origin: Origin, root: Path, status: int) -> None:
    reference = origin.push(SMALL)
    seen: dict[str, int] = {}

    def bend(asked: Asked, reply: Reply) -> Reply:
        seen[asked.path] = seen.get(asked.path, 0) + 1
        return Reply(status=status) if seen[asked.path] < 3 else reply

    origin.bend = bend
    fetch(order(root, reference))
    assert set(seen.values()) == {3}


def test_one_layer_that_fails_ends_the_others(origin: Origin, root: Path) -> None:
    image = image_of(*[50_000] * 12)
    reference, wanted = origin.push(image), image.layers[0].digest
    gone = threading.Event()

    def bend(asked: Asked, reply: Reply) -> Reply:
        if is_blob(asked, wanted):
            gone.set()
            return Reply(status=404)
        if any(is_blob(asked, layer.digest) for layer in image.layers):
            gone.wait(10)
            return Reply(status=503, headers={"Retry-After": "30"})
        return reply

    origin.bend = bend
    with pytest.raises(RegistryError, match=wanted):
        fetch(order(root, reference))
    assert not [t for t in threading.enumerate() if t.name.startswith("lunette-blob")]


def test_what_cannot_fit_is_not_begun(origin: Origin, root: Path) -> None:
    reference = origin.push(SMALL)
    with pytest.raises(NoSpaceError, match="MiB are free"):
        fetch(order(root, reference, free=2**60))
    assert origin.paths("/blobs/") == []


def test_progress_adds_up(origin: Origin, root: Path) -> None:
    told: list[Progress] = []
    fetch(order(root, origin.push(SMALL)), tell=told.append)
    total = sum(len(blob) for blob in SMALL.blobs().values())
    assert told[0] == Progress("pulling", 0, total)
    assert all(0 <= progress.done <= progress.total == total for progress in told)
