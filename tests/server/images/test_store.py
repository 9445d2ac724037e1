"""The store: what is found, held, removed and swept, and what survives a death at any point."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from lunette.server.images._blobs import Blobs
from lunette.server.images._locks import Lock
from lunette.server.images.errors import (
    ImageInUseError,
    ImageNotFoundError,
    ImageStoreError,
    NoSpaceError,
)
from lunette.server.images.image import Image
from lunette.server.images.reference import Reference
from lunette.server.images.store import Store

from ...images.oci_image import Image as ImageOf
from .pulls import image_of, prepared

APP, OTHER = Reference.parse("app"), Reference.parse("other")
FIRST, SECOND = image_of(100, 200), image_of(300)
SHARING = ImageOf(layers=(*FIRST.layers[:1], *SECOND.layers))


def never(seconds: float) -> None:
    raise AssertionError("nobody has the lock")


def add(store: Store, reference: Reference, source: ImageOf = FIRST) -> Image:
    """Do what a pull does at its end."""
    image = Image(image_id=source.image_id, digest=source.digest, size=1, unpacked=2)

    def fill(target: Path) -> Image:
        (target / "etc").mkdir()
        (target / "etc/motd").write_text("hello")
        return image

    for blob in (source.manifest, source.config_blob, *(x.blob for x in source.layers)):
        store.blobs.keep(blob)
    made = store.trees.make(image.image_id, fill, pause=never)
    store.record(reference, image_id=image.image_id, digest=image.digest, manifest=image.digest)
    return made


def blobs_of(*sources: ImageOf) -> set[str]:
    digests = {d for s in sources for d in (s.digest, *s.blobs())}
    return {digest.removeprefix("sha256:") for digest in digests}


def names(root: Path, below: str) -> set[str]:
    return {path.name for path in (root / below).iterdir()}


@pytest.fixture
def store(root: Path) -> Store:
    return prepared(root)


# What is there


def test_there_is_nothing_before_the_first_pull(root: Path) -> None:
    store = Store(root, mode="single")
    assert store.find(APP) is None
    assert store.list() == []
    with pytest.raises(ImageNotFoundError):
        store.hold(APP)
    with pytest.raises(ImageNotFoundError):
        store.remove(APP)
    assert not root.exists()


def test_what_was_pulled_is_found_and_listed(store: Store, root: Path) -> None:
    image = add(store, OTHER, SECOND)
    add(store, APP)
    found = Store(root, mode="single").find(OTHER)
    assert found is not None
    assert (found.image, found.reference) == (image, "docker.io/library/other:latest")
    assert found.pulled_at.endswith("Z")
    assert [stored.reference for stored in store.list()] == [str(APP), str(OTHER)]


def test_an_image_has_the_digest_of_its_reference(store: Store) -> None:
    add(store, APP)
    store.record(OTHER, image_id=FIRST.image_id, digest="sha256:x", manifest=FIRST.digest)
    found = store.find(OTHER)
    assert found is not None
    assert found.image.digest == "sha256:x"


def test_a_digest_is_found_by_another_name_of_its_repository(store: Store) -> None:
    add(store, APP)
    for text in (f"app@{FIRST.digest}", f"app:tag@{FIRST.digest}"):
        assert store.find(Reference.parse(text)) is not None
    for text in (f"other@{FIRST.digest}", f"app@{SECOND.digest}", "app:tag"):
        assert store.find(Reference.parse(text)) is None


def test_the_other_mode_has_its_own_trees(store: Store, root: Path) -> None:
    add(store, APP)
    assert Store(root, mode="range").find(APP) is None
    assert Store(root, mode="range").known(APP) is not None


def test_recording_the_same_again_keeps_its_time(store: Store, root: Path) -> None:
    add(store, APP)
    path = root / "references.json"
    found = json.loads(path.read_text())
    found[str(APP)]["pulled_at"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(found))
    add(store, APP)
    stored = store.find(APP)
    assert stored is not None
    assert stored.pulled_at == "2020-01-01T00:00:00Z"


def test_everything_is_this_users_alone(store: Store, root: Path) -> None:
    add(store, APP)
    tree = next(root.glob("rootfs/*-single"))
    for path in (root, *root.rglob("*")):
        if tree / "rootfs" not in (path, *path.parents):
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_store_that_others_may_write_to_is_refused(store: Store, root: Path, mode: int) -> None:
    root.chmod(mode)
    attempts: list[Callable[[], object]] = [store.list, store.prepare]
    attempts += [lambda: store.find(APP), lambda: store.hold(APP), lambda: store.remove(APP)]
    for attempt in attempts:
        with pytest.raises(ImageStoreError, match="others may write"):
            attempt()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_store_of_somebody_else_is_refused(store: Store, root: Path) -> None:
    os.chown(root, 1000, 1000)
    with pytest.raises(ImageStoreError, match="belongs to another user"):
        store.find(APP)


def test_a_store_may_be_a_link_to_a_larger_disk(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir(mode=0o700)
    (tmp_path / "images").symlink_to(tmp_path / "large")
    store = prepared(tmp_path / "images")
    add(store, APP)
    assert store.find(APP) is not None


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageStoreError, match="LUNETTE_HOME"):
        prepared(tmp_path / "file" / "images")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"app": 1}', '{"app": {}}', '{"A B": {}}'])
def test_broken_references_are_named(store: Store, root: Path, content: str) -> None:
    (root / "references.json").write_text(content)
    with pytest.raises(ImageStoreError, match=r"references\.json is broken"):
        store.list()


@pytest.mark.parametrize("content", ["", "{}", '{"image_id": 1}'])
def test_a_broken_tree_is_named(store: Store, root: Path, content: str) -> None:
    add(store, APP)
    next(root.glob("rootfs/*/image.json")).write_text(content)
    with pytest.raises(ImageStoreError, match=r"image\.json is broken: remove"):
        store.find(APP)


# Holding and removing


def test_a_held_image_stays(store: Store, root: Path) -> None:
    image = add(store, APP)
    with store.hold(APP) as held, store.hold(APP) as again:
        assert held.image == image
        assert held.rootfs == again.rootfs
        assert (held.rootfs / "etc/motd").read_text() == "hello"
        with pytest.raises(ImageInUseError, match="destroy its sandboxes"):
            store.remove(APP)
        assert store.find(APP) is not None
    store.remove(APP)
    assert store.find(APP) is None
    assert names(root, "rootfs") == names(root, "blobs/sha256") == set()


def test_a_held_image_may_lose_one_of_its_names(store: Store) -> None:
    add(store, APP)
    add(store, OTHER)
    with store.hold(APP) as held:
        store.remove(APP)
        assert held.rootfs.is_dir()
    assert store.find(APP) is None
    assert store.find(OTHER) is not None
    with pytest.raises(ImageNotFoundError, match="lunette images ls"):
        store.remove(APP)


def test_what_others_need_stays(store: Store, root: Path) -> None:
    add(store, APP)
    add(store, OTHER, SHARING)
    store.remove(APP)
    assert names(root, "blobs/sha256") == blobs_of(SHARING)
    assert store.find(OTHER) is not None


def test_a_lock_is_not_inherited_by_programs(store: Store) -> None:
    add(store, APP)
    with store.hold(APP) as held:
        assert not os.get_inheritable(held.fd)


def test_holding_blocks_no_loop(store: Store) -> None:
    """Whatever has the lock alone, no tree is there or it will be in a moment."""
    add(store, APP)
    image_id = FIRST.image_id
    other = store.trees.lock(image_id)
    assert other is not None

    async def hold() -> Path:
        asyncio.get_running_loop().call_soon(other.close)
        with pytest.raises(ImageNotFoundError):
            store.hold(APP)
        await asyncio.sleep(0)
        with store.hold(APP) as held:
            return held.rootfs

    assert asyncio.run(hold()).is_dir()


def test_many_hold_and_remove_at_once(store: Store, root: Path) -> None:
    """Whoever holds has a whole tree."""
    errors: list[BaseException] = []
    add(store, APP)
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            try:
                with store.hold(APP) as held:
                    assert (held.rootfs / "etc/motd").read_text() == "hello"
            except ImageNotFoundError:
                pass
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    removed = 0
    while removed < 10 and not errors:
        try:
            store.remove(APP)
        except ImageInUseError:
            continue
        removed += 1
        add(store, APP)
    over.set()
    for thread in threads:
        thread.join()
    assert errors == []


# What is left over


def test_blobs_stay_while_somebody_pulls(store: Store, root: Path) -> None:
    add(store, APP)
    with store.pulling(never):
        store.remove(APP)
        assert names(root, "blobs/sha256") == blobs_of(FIRST)
        assert not list(root.glob("rootfs/*-single"))
    store.sweep()
    assert names(root, "blobs/sha256") == set()


def test_nobody_pulls_while_blobs_are_removed(store: Store, root: Path) -> None:
    with Lock.take(root / "blobs.lock") or pytest.fail("it is free"):
        waited: list[float] = []

        def pause(seconds: float) -> None:
            waited.append(seconds)
            raise TimeoutError

        with pytest.raises(TimeoutError):
            store.pulling(pause)
    assert waited


def test_a_name_that_moved_leaves_nothing(store: Store, root: Path) -> None:
    add(store, APP)
    add(store, APP, SECOND)
    add(store, OTHER)
    store.sweep()
    assert names(root, "blobs/sha256") == blobs_of(FIRST, SECOND)
    store.remove(OTHER)
    assert names(root, "blobs/sha256") == blobs_of(SECOND)


def test_a_tree_without_a_name_goes_when_it_is_let_go(store: Store, root: Path) -> None:
    image = add(store, APP)
    with store.trees.hold(image) as held:
        add(store, APP, SECOND)
        store.sweep()
        assert (held.rootfs / "etc/motd").exists()
    store.sweep()
    assert not held.rootfs.exists()


def test_unfinished_downloads_are_kept_for_a_day(store: Store, root: Path) -> None:
    new, old = root / "blobs/sha256/1.part", root / "blobs/sha256/2.part"
    new.touch()
    old.touch()
    os.utime(old, (1, 1))
    store.sweep()
    assert names(root, "blobs/sha256") == {"1.part"}


def test_half_made_trees_go(store: Store, root: Path) -> None:
    for suffix in (".part", ".gone-1234"):
        (root / f"rootfs/{'a' * 64}-single{suffix}/rootfs/etc").mkdir(parents=True)
    (root / f"rootfs/{'b' * 64}-range").mkdir()
    store.sweep()
    assert names(root, "rootfs") == {f"{'b' * 64}-range"}


def test_a_half_made_tree_is_made_anew(store: Store, root: Path) -> None:
    part = root / f"rootfs/{FIRST.image_id[7:]}-single.part/rootfs/left"
    part.mkdir(parents=True)
    add(store, APP)
    with store.hold(APP) as held:
        assert {path.name for path in held.rootfs.iterdir()} == {"etc"}


def test_a_tree_that_fails_leaves_nothing(store: Store, root: Path) -> None:
    def fill(target: Path) -> Image:
        (target / "half").mkdir()
        raise NoSpaceError("full")

    with pytest.raises(NoSpaceError):
        store.trees.make(FIRST.image_id, fill, pause=never)
    assert {path.suffix for path in (root / "rootfs").iterdir()} <= {".lock"}


def test_only_one_makes_a_tree(store: Store) -> None:
    begun, go = threading.Event(), threading.Event()
    made: list[int] = []
    image = Image(image_id=FIRST.image_id, digest="d", size=1, unpacked=1)

    def fill(target: Path) -> Image:
        made.append(1)
        begun.set()
        assert go.wait(10)
        return image

    def make() -> None:
        store.trees.make(FIRST.image_id, fill, pause=lambda _: go.set())

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert begun.wait(10)
    for thread in threads:
        thread.join()
    assert made == [1]


def test_a_reader_finds_the_old_references_or_the_new(store: Store) -> None:
    over = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not over.is_set():
            seen.add(len(store.list()))

    add(store, APP)
    thread = threading.Thread(target=read)
    thread.start()
    for n in range(20):
        add(store, evolve(OTHER, tag=f"t{n}"))
    over.set()
    thread.join()
    assert min(seen) >= 1


def test_a_blob_is_kept_under_its_digest(store: Store) -> None:
    digest = store.blobs.keep(b"content")
    assert digest == f"sha256:{hashlib.sha256(b'content').hexdigest()}"
    assert store.blobs.read(digest) == b"content"
    store.blobs.path(digest).write_bytes(b"broken")
    store.blobs.keep(b"content")
    assert store.blobs.read(digest) == b"content"
    assert Blobs(store.blobs.directory).read("sha256:0") is None
