"""Pulls that are killed at any point leave a store that is right."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from lunette.server.images.reference import Reference
from lunette.server.images.store import Store

from ...images.oci_image import Image, layer
from ...images.tar_layers import directory, file
from .origin import Asked, Bend, Origin, Reply
from .pulls import forked, image_of, pulling, verify

GUARD = 60.0
KILLS, KILL_SECONDS = 50, 40.0
MOTD = layer((directory("etc"), file("etc/motd", "hello")))
IMAGE = Image(layers=(MOTD, *image_of(*[400_000] * 3).layers))


def test_kills_at_any_point_leave_a_store_that_is_right(
    origin: Origin, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed := random.randrange(2**32))
    reference = origin.push(IMAGE)
    begun = threading.Event()
    origin.bend = slowly(begun)
    longest = time_a_pull(root, reference, begun)
    Store(root, mode="single").remove(Reference.parse(reference))
    kills = whole = 0
    until_when = time.monotonic() + KILL_SECONDS
    while kills < KILLS and time.monotonic() < until_when:
        begun.clear()
        with forked(root, reference) as one, forked(root, reference) as two:
            assert begun.wait(GUARD)
            for process in (one, two):
                time.sleep(chance.uniform(0, longest / 2))
                process.kill()
        kills += 2
        verify(root)
        whole += take_away_what_is_whole(root, reference)
    with capsys.disabled():
        print(f"\nseed {seed}: {kills} kills, {whole} whole images", end=" ")
    with pulling(root, reference) as last:
        assert last.outcome()["image"]["image_id"] == IMAGE.image_id
    check_tree(tree_of(root))
    Store(root, mode="single").remove(Reference.parse(reference))
    assert verify(root) == set()
    assert not [path for path in (root / "rootfs").iterdir() if path.suffix != ".lock"]


def slowly(begun: threading.Event) -> Bend:
    """Let a pull last long enough to be killed in it."""

    def pieces(body: bytes) -> Iterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]
            time.sleep(0.005)

    def bend(asked: Asked, reply: Reply) -> Reply:
        begun.set()
        if not isinstance(reply.body, bytes) or reply.status == 416:
            return reply
        return evolve(reply, body=pieces(reply.body))

    return bend


def time_a_pull(root: Path, reference: str, begun: threading.Event) -> float:
    with forked(root, reference) as process:
        assert begun.wait(GUARD)
        start = time.monotonic()
        process.join(GUARD)
        return time.monotonic() - start


def take_away_what_is_whole(root: Path, reference: str) -> bool:
    """Check what is there after a kill; a whole image is removed, so that there is work again."""
    store = Store(root, mode="single")
    if tree_of(root).exists():
        check_tree(tree_of(root))
    if store.find(Reference.parse(reference)) is None:
        return False
    store.remove(Reference.parse(reference))
    return True


def tree_of(root: Path) -> Path:
    return root / f"rootfs/{IMAGE.image_id[7:]}-single/rootfs"


def check_tree(rootfs: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in rootfs.iterdir() if path.is_file()}
    assert sizes == {"0": 400_000, "1": 400_000, "2": 400_000}
    assert (rootfs / "etc/motd").read_text() == "hello"
