"""The process that pulls one image: `python -P -m lunette.server.images.pulling`.

It reads what to pull from a line of standard input, and ends when that ends, since then nobody
wants the image any more; it may also be killed, at any point. Lines on standard output say how far
it is, and at last what has come of it; the exit code is 0 in both cases. Its log is on standard
error.

First threads download; only when they have all ended does the process fork for the unpacking: a
fork copies the locks of threads, but not the threads that would open them.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from ._configuration import read_configuration
from ._disk import disk_errors
from ._leash import Leash, LetGoError
from ._order import Order
from ._patience import Patience
from ._progress import Meter
from .errors import ImageError, ImageNotFoundError
from .image import Image, Progress
from .store import Store

if TYPE_CHECKING:
    from ._fetching import Fetched

__all__ = ["Pull", "main"]

_UNWANTED = 1


def main() -> None:
    """Pull the image that a line of standard input names."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    answers = _claim_output()
    try:
        leash = Leash(sys.stdin.fileno())
        _tell(answers, _outcome(leash, lambda found: _tell(answers, {"progress": found.to_json()})))
    except (BrokenPipeError, LetGoError):
        sys.exit(_UNWANTED)


def _claim_output() -> int:
    """Keep standard output for answers: what anything else prints there goes to the log."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _tell(answers: int, message: Mapping[str, Any]) -> None:
    line = memoryview(json.dumps(message).encode() + b"\n")
    while line:
        line = line[os.write(answers, line) :]


def _outcome(leash: Leash, tell: Callable[[Progress], None]) -> dict[str, Any]:
    try:
        order = Order.from_json(json.loads(leash.line()))
        image = Pull(order, leash=leash, tell=tell).run()
    except ImageError as error:
        return {"error": {"kind": error.kind, "message": str(error)}}
    return {"image": image.to_json()}


class Pull:
    """One pull, from the reference to the unpacked tree."""

    def __init__(
        self,
        order: Order,
        *,
        leash: Leash,
        tell: Callable[[Progress], None],
        patience: Patience | None = None,
    ) -> None:
        self._order = order
        self._leash = leash
        self._meter = Meter(tell)
        self._patience = patience or Patience()
        self._store = Store(order.store, mode=order.mode)

    def run(self) -> Image:
        """Return the image when it is unpacked; raise an ImageError, or LetGoError."""
        before = self._store.find(self._order.reference)
        if before is not None and not self._order.must_ask:
            return before.image
        self._store.prepare()
        with disk_errors(self._order.store):
            image = self._pull()
        if before is not None and before.image.image_id != image.image_id:
            self._store.sweep()  # nobody can name the old one any more
        return image

    def _pull(self) -> Image:
        with self._store.pulling(self._leash.pause):
            with self._leash:
                fetched = self._fetch()
            image_id = fetched.manifest.config.digest
            image = self._store.trees.make(
                image_id, lambda target: self._unpack(fetched, target), pause=self._leash.pause
            )
            self._store.record(
                self._order.reference,
                image_id=image_id,
                digest=fetched.digest,
                manifest=fetched.own,
            )
        return evolve(image, digest=fetched.digest)

    def _fetch(self) -> Fetched:
        from ._fetching import Fetching  # and httpx with it: an image that is here needs neither

        return Fetching(self._order, self._store, meter=self._meter, patience=self._patience).run()

    def _unpack(self, fetched: Fetched, target: Path) -> Image:
        from .unpacking import IdMap, Layer, Limits, unpack

        order, manifest = self._order, fetched.manifest
        name = order.reference.familiar
        content = self._store.blobs.read(manifest.config.digest)
        if content is None:  # its tree was there, so that nothing was downloaded
            raise ImageNotFoundError(f"{name} was removed while it was pulled: pull it again")
        found = read_configuration(content, layers=len(manifest.layers), name=name)
        self._meter.begin("unpacking", manifest.size)
        unpacked = unpack(
            [
                Layer(self._store.blobs.path(x.digest), x.media_type, x.size)
                for x in manifest.layers
            ],
            target,
            ids=None if order.ids is None else IdMap(*order.ids),
            limits=Limits(order.most_bytes, order.most_files, order.free),
            report=self._report,
        )
        return Image(
            image_id=manifest.config.digest,
            digest=fetched.digest,
            size=manifest.size,
            unpacked=unpacked.size,
            created=found.created,
            environment=found.environment,
            working_dir=found.working_dir,
            user=found.user,
            passwd=unpacked.passwd,
            group=unpacked.group,
        )

    def _report(self, done: int) -> None:
        self._leash.check()
        self._meter.report("layers", done)


if __name__ == "__main__":
    main()
