"""Whole pulls, in processes of their own, as the server starts them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from lunette._scratch import remove_tree
from lunette.server.images import unpacking
from lunette.server.images._leash import Leash
from lunette.server.images.image import Image, Progress
from lunette.server.images.pulling import Pull
from lunette.server.images.reference import Reference
from lunette.server.images.store import Store

from ...images.oci_image import Image as ImageOf
from ...images.oci_image import layer
from ...images.tar_layers import directory, file
from .origin import Asked, Origin, Reply
from .pulls import QUICK, Puller, image_of, order, prepared, pulling, verify

GUARD = 60.0
MOTD = (directory("etc"), file("etc/motd", "hello"), file("etc/passwd", "app:x:5:5::/:\n"))
IMAGE = ImageOf(
    layers=(layer(MOTD), *image_of(300_000, 200_000).layers),
    config={"Env": ["A=b"], "User": "app", "WorkingDir": "/etc"},
)
MANY = ImageOf(layers=(layer([file(f"f{n}") for n in range(30_000)]),))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where a store can be; files of other users in it go too."""
    yield tmp_path / "images"
    remove_tree(tmp_path / "images")


def tree_of(root: Path, image: ImageOf = IMAGE, mode: str = "single") -> Path:
    return root / f"rootfs/{image.image_id[7:]}-{mode}"


def run(root: Path, reference: str, **changes: Any) -> dict[str, Any]:
    with pulling(root, reference, **changes) as puller:
        return puller.outcome()


def test_a_pull(origin: Origin, root: Path) -> None:
    with pulling(root, origin.push(IMAGE)) as puller:
        *progress, last = puller.lines()
        assert puller.process.wait(GUARD) == 0
    image = Image.from_json(last["image"])
    assert (image.image_id, image.digest) == (IMAGE.image_id, IMAGE.digest)
    assert (image.user, image.working_dir) == ("app", "/etc")
    assert image.environment == {"A": "b"}
    assert image.passwd == "app:x:5:5::/:\n"
    assert image.size == sum(len(layer.blob) for layer in IMAGE.layers)
    stages = [Progress.from_json(line["progress"]).stage for line in progress]
    assert set(stages) == {"pulling", "unpacking"} or stages == ["pulling"]
    assert (tree_of(root) / "rootfs/etc/motd").read_text() == "hello"
    stored = Store(root, mode="single").find(Reference.parse(origin.push(IMAGE)))
    assert stored is not None
    assert stored.image == image


def test_what_is_there_needs_no_network(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    first = run(root, reference)
    origin.asked.clear()
    assert run(root, reference) == first
    assert run(root, reference, policy="never") == first
    assert origin.asked == []
    assert run(root, reference, policy="always") == first
    assert origin.paths() == ["HEAD /v2/app/manifests/latest"]


def test_a_tag_that_moved_leaves_nothing_of_the_old_image(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    run(root, reference)
    other = image_of(1000)
    origin.push(other)
    assert run(root, reference)["image"]["image_id"] == IMAGE.image_id
    assert run(root, reference, policy="always")["image"]["image_id"] == other.image_id
    assert not tree_of(root).exists()
    assert verify(root) == {other.digest, *other.blobs()}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"reference": "http://x/y"}, "invalid_reference"),
        ({"policy": "never"}, "not_found"),
        ({"limits": {"bytes": 2**30, "files": 2, "free": 0}}, "invalid_image"),
        ({"limits": {"bytes": 2**30, "files": 99, "free": 2**60}}, "no_space"),
        ({"mirrors": {"docker.io": "127.0.0.1:1"}, "reference": "app"}, "registry"),
        ({"store": "/dev/null/images"}, "store"),
    ],
)
def test_errors_have_a_kind(origin: Origin, root: Path, changes: dict[str, Any], kind: str) -> None:
    reference = origin.push(IMAGE)
    error = run(root, **{"reference": reference, **changes})["error"]
    assert error["kind"] == kind
    assert error["message"]
    assert not tree_of(root).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has ids to give")
def test_a_root_server_gives_files_away(origin: Origin, root: Path) -> None:
    owned = ImageOf(layers=(layer([file("mine", owner=(5, 6)), file("root")]),))
    run(root, origin.push(owned), ids=[0x7000_0000, 65_536])
    rootfs = tree_of(root, owned, "range") / "rootfs"
    found = (rootfs / "mine").lstat()
    assert (found.st_uid, found.st_gid) == (0x7000_0005, 0x7000_0006)
    assert (rootfs / "root").lstat().st_uid == 0x7000_0000
    store = Store(root, mode="range")
    store.remove(Reference.parse(origin.push(owned)))
    assert not rootfs.exists()


# Together


def test_two_processes_pull_one_image_at_once(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    both = threading.Barrier(2)

    def bend(asked: Asked, reply: Reply) -> Reply:
        if "/manifests/" in asked.path:
            both.wait(GUARD)
        return reply

    origin.bend = bend
    with pulling(root, reference) as one, pulling(root, reference) as two:
        assert one.outcome() == two.outcome()
    assert len(origin.paths("/blobs/")) == len(IMAGE.blobs())
    verify(root)


def test_a_second_process_takes_up_what_a_killed_one_left(origin: Origin, root: Path) -> None:
    image = image_of(500_000)
    reference, wanted = origin.push(image), image.layers[0].digest
    sent, killed = threading.Event(), threading.Event()

    def halves(blob: bytes) -> Iterator[bytes]:
        yield blob[:200_000]
        sent.set()
        assert killed.wait(GUARD)

    def bend(asked: Asked, reply: Reply) -> Reply:
        if not asked.path.endswith(wanted) or killed.is_set():
            return reply
        return Reply(body=halves(origin.blobs[wanted]))

    origin.bend = bend
    with pulling(root, reference) as one, pulling(root, reference) as two:
        assert sent.wait(GUARD)
        (part,) = root.glob("blobs/sha256/*.part")
        until(lambda: part.stat().st_size == 200_000)
        holders = {one, two}
        holder = next(p for p in holders if has_open(p, part, writing=origin))
        holder.process.kill()
        killed.set()
        (other,) = holders - {holder}
        assert other.outcome()["image"]["image_id"] == image.image_id
    assert 200_000 in [asked.start for asked in origin.asked]


def has_open(puller: Puller, path: Path, *, writing: Origin) -> bool:
    """Whether it is *puller* that downloads *path*: who waits opens it for moments only."""
    fds = Path(f"/proc/{puller.process.pid}/fd")
    for _ in range(3):
        if not any(same(fd, path) for fd in fds.iterdir()):
            return False
        time.sleep(0.01)
    return True


def same(fd: Path, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(fd.stat(), path.stat())
    return False


def until(condition: Any) -> None:
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Ends


def test_it_ends_with_its_server_while_it_downloads(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)
    asked_for, over = threading.Event(), threading.Event()

    def bend(asked: Asked, reply: Reply) -> Reply:
        if "/blobs/" in asked.path:
            asked_for.set()
            over.wait(GUARD)
        return reply

    origin.bend = bend
    with pulling(root, reference) as puller:
        assert asked_for.wait(GUARD)
        assert puller.process.stdin is not None
        puller.process.stdin.close()
        assert puller.process.wait(GUARD) == 1
    over.set()


def test_it_ends_with_its_server_while_it_waits_for_another(origin: Origin, root: Path) -> None:
    lock = prepared(root).trees.lock(IMAGE.image_id)
    assert lock is not None
    with lock, pulling(root, origin.push(IMAGE)) as puller:
        until(lambda: len(verify(root)) == 1 + len(IMAGE.blobs()))
        assert puller.process.stdin is not None
        puller.process.stdin.close()
        assert puller.process.wait(GUARD) == 1


def test_it_ends_with_its_server_while_it_unpacks(origin: Origin, root: Path) -> None:
    with pulling(root, origin.push(MANY)) as puller:
        assert puller.process.stdin is not None
        for line in puller.lines():
            if line["progress"]["stage"] == "unpacking":
                puller.process.stdin.close()
        assert puller.process.wait(GUARD) == 1
    assert {path.suffix for path in (root / "rootfs").iterdir()} == {".lock"}


@pytest.mark.parametrize("told", [b"", b"{}", b"{}\n", b"[\n", b"x" * 2_000_000 + b"\n"])
def test_what_is_no_order_is_an_end_and_no_traceback_of_secrets(told: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lunette.server.images.pulling"],
        input=told,
        capture_output=True,
        timeout=GUARD,
    )
    assert done.returncode == 1 or b'"error"' in done.stdout


def test_no_thread_lives_when_it_forks(
    origin: Origin, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[str] = []
    before = set(threading.enumerate())  # those of an engine in this process

    def unpack(*arguments: Any, **options: Any) -> unpacking.Unpacked:
        new = set(threading.enumerate()) - before
        alive.extend(t.name for t in new if t.name.startswith("lunette-"))
        return unpacking.Unpacked(1, 1, "", "")

    monkeypatch.setattr(unpacking, "unpack", unpack)
    read, write = os.pipe()
    pull = Pull(
        order(root, origin.push(IMAGE)),
        leash=Leash(read),
        tell=lambda _: None,
        patience=QUICK,
    )
    assert pull.run().image_id == IMAGE.image_id
    assert alive == []
    os.close(read)
    os.close(write)


# Disks


@contextlib.contextmanager
def small_disk(path: Path, mebibytes: int) -> Generator[list[str]]:
    """Yield the command that runs another where *path* is a disk of its own."""
    namespace = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    mount = f'mount -t tmpfs -o size={mebibytes}m,mode=700 none "{path}" && exec "$@"'
    path.mkdir()
    if subprocess.run([*namespace, "true"], check=False).returncode:
        pytest.skip("no mount namespaces here")
    yield [*namespace, "sh", "-c", mount, "sh"]


def test_a_disk_that_fills_up_midway(origin: Origin, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    image = image_of(1_500_000)
    reference, wanted = origin.push(image), image.layers[0].digest
    limits = {"bytes": 2**30, "files": 10_000, "free": 0}
    processes: list[Puller] = []

    def bend(asked: Asked, reply: Reply) -> Reply:
        if asked.path.endswith(wanted):  # somebody else needs the space
            inside = Path(f"/proc/{processes[0].process.pid}/root{disk}")
            (inside / "other").write_bytes(b"x" * 1_000_000)
        return reply

    origin.bend = bend
    with (
        small_disk(disk, 2) as command,
        pulling(disk / "images", reference, command=command, limits=limits) as puller,
    ):
        processes.append(puller)
        *_, last = puller.lines()
    assert last["error"]["kind"] == "no_space"
    assert "the disk is full" in last["error"]["message"]


def test_a_disk_without_room_for_more_files(origin: Origin, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    limits = {"bytes": 2**30, "files": 10_000, "free": 0}
    with small_disk(disk, 2) as command:
        command[-2] = command[-2].replace("size=2m", "nr_inodes=6")
        reference = origin.push(IMAGE)
        with pulling(disk / "images", reference, command=command, limits=limits) as puller:
            assert puller.outcome()["error"]["kind"] == "no_space"
