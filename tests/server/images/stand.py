"""Where layers are unpacked in tests: by whom, into what, and beside what nobody may touch.

A test module that imports the fixtures runs as an ordinary user, and as root for a range of ids.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from lunette._scratch import remove_tree
from lunette.server.images.errors import error_of_kind
from lunette.server.images.unpacking import Limits, Unpacked

from ...isolation import stage

__all__ = ["BASE", "COUNT", "PLENTY", "TYPE", "Stand", "Unpacker", "stand", "unpacker", "unpacking"]

BASE, COUNT = 0x7FF0_0000, 65_536
PLENTY = Limits(bytes=1 << 30, files=100_000, free=0)
TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


@frozen
class Unpacker:
    """A process that unpacks; what it makes belongs to *user*, who may be the first of a range."""

    process: subprocess.Popen[str]
    user: int
    group: int
    mode: str

    @property
    def is_range(self) -> bool:
        return self.mode == "range"

    def ask(self, layers: Sequence[tuple[Path, str]], target: Path, limits: Limits) -> None:
        assert self.process.stdin is not None
        asked = {
            "layers": [(str(path), media_type) for path, media_type in layers],
            "target": str(target),
            "ids": [BASE, COUNT] if self.is_range else None,
            "limits": [limits.bytes, limits.files, limits.free],
        }
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        return heard

    def child(self) -> int:
        """Return the process that it has forked."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


@contextmanager
def unpacker(mode: str) -> Generator[Unpacker]:
    """Run an unpacker as an ordinary "user", or as root for a "range" of ids."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("unpacker.py"))]
    is_ordinary = mode == "user" and stage.is_root()
    with subprocess.Popen(
        stage.as_user(command) if is_ordinary else command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        user, group = (os.geteuid(), os.getegid())
        if mode == "range" or is_ordinary:
            user = group = stage.ORDINARY if is_ordinary else BASE
        yield Unpacker(process, user, group, mode)
        process.stdin.close()  # type: ignore[union-attr]


class Stand:
    """A place of one test: `target`, and `outside`, in which nothing may change."""

    def __init__(self, unpacker: Unpacker, place: Path) -> None:
        self.unpacker = unpacker
        self.place = place
        self.target = place / "target"
        self.outside = place / "outside"
        self.done: list[int] = []
        for path in (self.target, self.outside, self.outside / "directory"):
            path.mkdir(parents=True)
        (self.outside / "secret").write_text("secret")
        if not unpacker.is_range:
            for path in (place, *place.rglob("*")):
                os.chown(path, unpacker.user, unpacker.group)

    def ask(self, limits: Limits, *, layers: int = 1, media_type: str = TYPE) -> None:
        """Have the layers unpacked that are in their places, and do not wait."""
        paths = [self.place / f"layer-{number}" for number in range(layers)]
        self.unpacker.ask([(path, media_type) for path in paths], self.target, limits)

    def end(self) -> Unpacked:
        """Wait for the end; an ImageError is raised here as it was there."""
        while "done" in (heard := self.unpacker.hear()):
            self.done.append(heard["done"])
        if "error" in heard:
            raise error_of_kind(heard["error"]["kind"], heard["error"]["message"])
        return Unpacked(**heard["unpacked"])

    def unpack(self, *layers: bytes, limits: Limits = PLENTY, media_type: str = TYPE) -> Unpacked:
        for number, data in enumerate(layers):
            (self.place / f"layer-{number}").write_bytes(data)
        self.ask(limits, layers=len(layers), media_type=media_type)
        return self.end()

    def names(self, directory: str = ".") -> set[str]:
        """Return what is in *directory*, without what every image gets."""
        found = {entry.name for entry in os.scandir(self.target / directory)}
        return found - {"dev", "etc", "proc", "sys", "tmp", "workspace"}

    def read(self, path: str) -> bytes:
        return (self.target / path).read_bytes()


def shape_of(place: Path) -> dict[str, tuple[object, ...]]:
    """Return everything about *place* that somebody could have changed."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (place, *sorted(place.rglob("*"))):
        about = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        owner = about.st_uid, about.st_gid
        found[str(path)] = (about.st_mode, owner, about.st_mtime_ns, about.st_nlink, data)
    return found


@pytest.fixture(scope="session", params=["user", "range"])
def unpacking(request: pytest.FixtureRequest) -> Iterator[Unpacker]:
    if request.param == "range" and not stage.is_root():
        pytest.skip("only root can give an image a range of ids")
    with unpacker(request.param) as running:
        yield running


@pytest.fixture
def stand(unpacking: Unpacker) -> Iterator[Stand]:
    """Return a place for one test, which fails if anything beside the target has changed."""
    place = Path(tempfile.mkdtemp(prefix="lunette-unpacking-"))
    made = Stand(unpacking, place)
    before = shape_of(made.outside)
    yield made
    assert shape_of(made.outside) == before
    names = {path.name for path in place.iterdir()}
    assert {"target", "outside"} <= names
    assert all(name.startswith(("target", "outside", "layer-", "own")) for name in names)
    remove_tree(place)
