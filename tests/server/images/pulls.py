"""Pulls of these tests: within this process up to the unpacking, and whole ones as a server's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import random
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from lunette.server.images._fetching import Fetched, Fetching
from lunette.server.images._leash import Leash
from lunette.server.images._order import Order
from lunette.server.images._patience import Patience
from lunette.server.images._progress import Meter
from lunette.server.images.image import Progress
from lunette.server.images.pulling import Pull
from lunette.server.images.reference import Reference
from lunette.server.images.store import Store
from lunette.server.images.unpacking import unpack as unpack  # before a fork, for `forked`

from ...images.oci_image import Image, layer
from ...images.tar_layers import file

__all__ = [
    "QUICK",
    "Puller",
    "fetch",
    "forked",
    "image_of",
    "order",
    "prepared",
    "pulling",
    "verify",
]

QUICK = Patience(first_pause=0.001, longest_pause=0.01)
_GUARD = 60.0


def image_of(*sizes: int, seed: int = 0, **config: Any) -> Image:
    """Return an image with a layer of about each size in bytes, none of them compressible."""
    chance = random.Random(seed)
    layers = (layer([file(f"{n}", chance.randbytes(size))]) for n, size in enumerate(sizes))
    return Image(layers=tuple(layers), config=config)


def order(store: Path, reference: str, **changes: Any) -> Order:
    """Return what a server would have pulled."""
    limits = {"most_bytes": 2**30, "most_files": 10_000, "free": 2**20}
    return Order(store=store, reference=Reference.parse(reference), **{**limits, **changes})


def prepared(root: Path) -> Store:
    """Return a store that is ready for use."""
    store = Store(root, mode="single")
    store.prepare()
    return store


def fetch(
    wanted: Order, *, patience: Patience = QUICK, tell: Callable[[Progress], None] = lambda _: None
) -> Fetched:
    """Do the part of a pull that needs the registry."""
    store = prepared(wanted.store)
    return Fetching(wanted, store, meter=Meter(tell), patience=patience).run()


def verify(root: Path) -> set[str]:
    """Check every blob of a store against its name, and return their digests."""
    found = [path for path in (root / "blobs/sha256").iterdir() if not path.suffix]
    for path in found:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    return {f"sha256:{path.name}" for path in found}


@frozen
class Puller:
    """A process that pulls."""

    process: subprocess.Popen[bytes] = field(repr=False)

    def lines(self) -> Generator[dict[str, Any]]:
        """Yield what it says."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def outcome(self) -> dict[str, Any]:
        """Return its last word, once it has ended well."""
        *_, last = self.lines()
        assert self.process.wait(_GUARD) == 0
        return last


@contextlib.contextmanager
def pulling(
    root: Path, reference: str, *, command: Sequence[str] = (), **changes: Any
) -> Generator[Puller]:
    """Run the process that pulls, by *command*; it is killed at the end if it still runs."""
    limits = {"bytes": 2**30, "files": 10_000, "free": 2**20}
    wanted = {"store": str(root), "reference": reference, "limits": limits, "ids": None, **changes}
    with subprocess.Popen(
        [*command, sys.executable, "-P", "-m", "lunette.server.images.pulling"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(wanted).encode() + b"\n")
        process.stdin.flush()
        try:
            yield Puller(process)
        finally:
            process.kill()


@contextlib.contextmanager
def forked(root: Path, reference: str) -> Generator[BaseProcess]:
    """Pull in a process whose Python need not start first, which is most of the time elsewhere."""
    context = multiprocessing.get_context("forkserver")
    # By this module, whose name is not taken for that of a server.
    context.set_forkserver_preload([__name__])
    theirs, ours = context.Pipe(duplex=False)
    process = context.Process(target=_pull, args=(theirs, root, reference))
    with _found_by_others():
        process.start()
    theirs.close()
    try:
        yield process
    finally:
        process.kill()
        process.join(_GUARD)
        ours.close()


def _pull(leash: Connection, root: Path, reference: str) -> None:
    Pull(order(root, reference), leash=Leash(leash.fileno()), tell=lambda _: None).run()


@contextlib.contextmanager
def _found_by_others() -> Generator[None]:
    """Let processes that are started find these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        yield
