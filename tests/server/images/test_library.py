"""Images as the engine has them: each pulled once, by a real process, for all who wait for it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from lunette._scratch import remove_tree
from lunette.server.engines.protocol import PulledImage, PullPolicy
from lunette.server.images.errors import (
    ImageError,
    ImageInUseError,
    ImageNotFoundError,
    InvalidReferenceError,
    NoSpaceError,
)
from lunette.server.images.image import Progress
from lunette.server.images.library import ImageLibrary
from lunette.server.settings import Settings

from .origin import Asked, Origin, Reply
from .pulls import image_of

GUARD = 60.0
IMAGE = image_of(400_000, 200_000)
HALF = 200_000


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "images"
    remove_tree(tmp_path / "images")


class Gate:
    """Lets a registry send no more than half of each layer until it is opened."""

    def __init__(self, origin: Origin) -> None:
        self._open = threading.Event()
        self.reached = threading.Event()
        origin.bend = self._bend

    def _bend(self, asked: Asked, reply: Reply) -> Reply:
        if "/blobs/" not in asked.path or not isinstance(reply.body, bytes):
            return reply
        if len(reply.body) <= HALF:
            return reply
        return evolve(reply, body=self._halves(reply.body), length=len(reply.body))

    def _halves(self, content: bytes) -> Iterator[bytes]:
        yield content[:HALF]
        self.reached.set()
        assert self._open.wait(GUARD)
        yield content[HALF:]

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(origin: Origin) -> Iterator[Gate]:
    found = Gate(origin)
    yield found
    found.open()


def library_of(root: Path, *, free: int = 1 << 20, **settings: Any) -> ImageLibrary:
    return ImageLibrary(Settings(images=root, **settings), ids=None, free=free)


def run(root: Path, body: Callable[[ImageLibrary], Coroutine[Any, Any, None]]) -> None:
    """Run *body* with a library that is closed afterwards, and leaves no process behind."""

    async def main() -> None:
        library = library_of(root)
        async with asyncio.timeout(GUARD):
            try:
                await body(library)
            finally:
                await library.aclose()
        assert pullers() == []

    asyncio.run(main())


async def pull(
    library: ImageLibrary, reference: str, policy: PullPolicy = "missing"
) -> tuple[PulledImage, list[Progress]]:
    reports: list[Progress] = []
    return await library.pull(reference, policy, reports.append), reports


def pullers() -> list[int]:
    """Return the processes that pull for this one."""
    found: list[int] = []
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            with suppress(OSError):
                if b"images.pulling" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
    return found


async def reached(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.reached.wait, GUARD)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nothing announces."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def manifests(origin: Origin) -> int:
    return len([path for path in origin.paths("/manifests/") if path.startswith("GET")])


async def ended(task: Awaitable[object]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_pull_and_what_is_known_afterwards(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)

    async def body(library: ImageLibrary) -> None:
        assert await library.all() == []
        with pytest.raises(ImageNotFoundError, match="pull policy is never"):
            await pull(library, reference, "never")
        image, reports = await pull(library, reference)
        assert (image.reference, image.image_id) == (reference, IMAGE.image_id)
        assert (image.digest, image.size) == (IMAGE.digest, sum(len(x.blob) for x in IMAGE.layers))
        assert image.unpacked >= 600_000
        stages = list(dict.fromkeys(report.stage for report in reports))
        assert stages == ["pulling", "unpacking"]
        # What is pulled is the layers and a small document.
        assert all(r.total in range(image.size, image.size + 4096) for r in reports if r.total)
        assert all(0 <= report.done <= report.total for report in reports)
        assert await library.all() == [image]
        asked = len(origin.asked)
        for policy in ("missing", "never"):
            assert await pull(library, reference, policy) == (image, [])
        assert len(origin.asked) == asked
        again, _ = await pull(library, reference, "always")
        assert evolve(again, pulled_at=image.pulled_at) == image
        assert len(origin.asked) > asked

    run(root, body)


def test_ten_at_once_are_one_pull(origin: Origin, root: Path, gate: Gate) -> None:
    reference = origin.push(IMAGE)

    async def body(library: ImageLibrary) -> None:
        first = asyncio.create_task(pull(library, reference))
        await reached(gate)
        others = [asyncio.create_task(pull(library, reference)) for _ in range(9)]
        await until(lambda: len(_waiting(library)) == 10)
        assert len(pullers()) == 1
        gate.open()
        answers = await asyncio.gather(first, *others)
        assert len({image.image_id for image, _ in answers}) == 1
        assert all(reports for _, reports in answers)
        for _, reports in answers[1:]:  # they were told at once how far it was
            assert reports[0].stage == "pulling"

    run(root, body)
    assert manifests(origin) == 1


def _waiting(library: ImageLibrary) -> list[object]:
    return [report for found in library._pulls.values() for report in found.reports]


def test_who_leaves_ends_nothing_for_others(origin: Origin, root: Path, gate: Gate) -> None:
    reference = origin.push(IMAGE)

    async def body(library: ImageLibrary) -> None:
        first = asyncio.create_task(pull(library, reference))
        await reached(gate)
        second = asyncio.create_task(pull(library, reference))
        await until(lambda: len(_waiting(library)) == 2)
        first.cancel()
        await ended(first)
        assert len(pullers()) == 1
        gate.open()
        image, _ = await second
        assert image.image_id == IMAGE.image_id

    run(root, body)
    assert manifests(origin) == 1


def test_the_last_who_leaves_ends_it(origin: Origin, root: Path, gate: Gate) -> None:
    reference = origin.push(IMAGE)

    async def body(library: ImageLibrary) -> None:
        waiting = [asyncio.create_task(pull(library, reference)) for _ in range(2)]
        await reached(gate)
        await until(lambda: len(_waiting(library)) == 2)
        for task in waiting:
            task.cancel()
            await ended(task)
        await until(lambda: pullers() == [])
        assert library._pulls == {}
        assert await library.all() == []
        gate.open()
        image, _ = await pull(library, reference)
        assert image.image_id == IMAGE.image_id

    run(root, body)
    assert manifests(origin) == 2


def test_who_comes_while_one_ends_begins_another(origin: Origin, root: Path, gate: Gate) -> None:
    """And who comes after that joins it: the end of the first is not that of the second."""
    reference = origin.push(IMAGE)

    async def body(library: ImageLibrary) -> None:
        first = asyncio.create_task(pull(library, reference))
        await reached(gate)
        (dying,) = library._pulls.values()
        first.cancel()
        await ended(first)
        second = asyncio.create_task(pull(library, reference))
        await until(lambda: dying.task.done() and len(_waiting(library)) == 1)
        third = asyncio.create_task(pull(library, reference))
        await until(lambda: len(_waiting(library)) == 2)
        assert len(library._pulls) == 1
        gate.open()
        assert (await second)[0] == (await third)[0]

    run(root, body)
    assert manifests(origin) == 2


def test_a_pull_that_is_killed_is_an_error(origin: Origin, root: Path, gate: Gate) -> None:
    reference = origin.push(IMAGE)

    async def body(library: ImageLibrary) -> None:
        waiting = asyncio.create_task(pull(library, reference))
        await reached(gate)
        (pid,) = pullers()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ImageError, match="was killed") as caught:
            await waiting
        assert caught.value.kind == "killed"
        gate.open()
        assert (await pull(library, reference))[0].image_id == IMAGE.image_id

    run(root, body)


def test_closing_ends_every_pull(origin: Origin, root: Path, gate: Gate) -> None:
    reference = origin.push(IMAGE)

    async def body(library: ImageLibrary) -> None:
        waiting = asyncio.create_task(pull(library, reference))
        await reached(gate)
        await library.aclose()
        await ended(waiting)
        assert pullers() == []

    run(root, body)


def test_errors_come_as_what_they_are(origin: Origin, root: Path) -> None:
    async def body(library: ImageLibrary) -> None:
        for wrong in ("", "A", "a b"):
            with pytest.raises(InvalidReferenceError):
                await pull(library, wrong)
        for policy in ("missing", "always"):
            with pytest.raises(ImageNotFoundError, match="nothing"):
                await pull(library, f"{origin.host}/nothing", policy)
        with pytest.raises(ImageNotFoundError):
            await library.remove("nothing")
        with pytest.raises(ImageNotFoundError):
            await library.hold("nothing")

    run(root, body)


def test_a_disk_that_would_be_too_full(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)

    async def main() -> None:
        library = library_of(root, free=1 << 60)
        with pytest.raises(NoSpaceError):
            await pull(library, reference)
        await library.aclose()

    asyncio.run(main())


def test_a_mirror_is_asked_instead(origin: Origin, root: Path) -> None:
    origin.push(IMAGE, "library/app:1")

    async def main() -> None:
        library = library_of(root, mirrors={"docker.io": origin.host})
        image, _ = await pull(library, "app:1")
        assert image.reference == "docker.io/library/app:1"
        await library.aclose()

    asyncio.run(main())
    assert any("library/app/manifests/1" in path for path in origin.paths())


def test_what_is_held_is_not_removed(origin: Origin, root: Path) -> None:
    reference = origin.push(IMAGE)

    async def body(library: ImageLibrary) -> None:
        await pull(library, reference)
        held = await library.hold(reference)
        assert held.image.image_id == IMAGE.image_id
        assert (held.rootfs / "0").stat().st_size == 400_000
        with pytest.raises(ImageInUseError):
            await library.remove(reference)
        held.close()
        await library.remove(reference)
        assert await library.all() == []
        with pytest.raises(ImageNotFoundError):
            await pull(library, reference, "never")

    run(root, body)
