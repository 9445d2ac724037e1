"""The images on this machine's disk, shared by all processes of one user; no network.

    blobs/sha256/HEX         a verified blob: a layer, a config, a manifest
    blobs/sha256/HEX.part    an unfinished one, locked by who downloads it
    blobs.lock               shared by pulls; whoever removes blobs has it alone
    rootfs/HEX-MODE/         the unpacked image HEX: rootfs/, and image.json
    rootfs/HEX-MODE.part     an unfinished one
    rootfs/HEX-MODE.lock     alone to unpack or remove it; shared by who uses it
    rootfs/HEX-MODE.gone-*   one that is being removed
    references.json          which reference means which image; under references.lock

Whatever ends a process at whatever point, nothing half done is ever taken for whole: everything
gets its name by a rename, after it is on the disk. What is left over is taken up or removed by the
next who has the lock. Layers are kept when they are unpacked: each image has a tree of its own, so
that another image on the same layers is spared at least their download.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from attrs import evolve, frozen

from ._blobs import Blobs
from ._disk import disk_errors
from ._locks import Lock, wait_for_lock
from ._manifests import Manifest, read_manifest
from ._references import Entry, References
from ._rootfs import Held, Trees
from .errors import ImageError, ImageInUseError, ImageNotFoundError, ImageStoreError
from .image import Image, Mode
from .reference import Reference

__all__ = ["Held", "Store", "Stored"]


@frozen(kw_only=True)
class Stored:
    """An image by one of its references; *pulled_at* is a time in UTC as RFC 3339 writes it."""

    reference: str
    image: Image
    pulled_at: str


class Store:
    """The images below *root*, with trees in *mode*; see `Mode`."""

    def __init__(self, root: Path, *, mode: Mode) -> None:
        self.root = root
        self.blobs = Blobs(root / "blobs" / "sha256")
        self.trees = Trees(root / "rootfs", mode)
        self._references = References(root / "references.json")

    def prepare(self) -> None:
        """Make the directories; raise ImageStoreError if others could write into them."""
        with disk_errors(self.root):
            for path in (self.root, self.root / "blobs", self.root / "blobs/sha256"):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.root / "rootfs").mkdir(mode=0o700, exist_ok=True)
        self._check()

    def find(self, reference: Reference) -> Stored | None:
        """Return what *reference* means here, if it is unpacked."""
        if not self._check():
            return None
        with disk_errors(self.root):
            entry = self._references.find(reference)
            return None if entry is None else self._stored(str(reference), entry)

    def list(self) -> list[Stored]:
        """Return all images that are unpacked, by the text of their references."""
        if not self._check():
            return []
        with disk_errors(self.root):
            entries = sorted(self._references.read().items())
            stored = (self._stored(text, entry) for text, entry in entries)
            return [found for found in stored if found is not None]

    def hold(self, reference: Reference) -> Held:
        """Keep an image from removal; raise ImageNotFoundError if it is not there.

        This may wait for milliseconds, and never for a pull or a removal.
        """
        stored = self.find(reference)
        if stored is None:
            raise _not_here(reference)
        with disk_errors(self.root):
            return self.trees.hold(stored.image)

    def remove(self, reference: Reference) -> None:
        """Forget *reference*, and remove the tree and the blobs that only it needed.

        Raise ImageNotFoundError if it is not there, ImageInUseError while somebody holds its tree.
        Blobs are left to the next removal while anybody pulls.
        """
        if not self._check():
            raise _not_here(reference)
        with disk_errors(self.root):
            with self._references.change() as entries:
                self._forget(reference, entries)
            self._sweep()

    def known(self, reference: Reference) -> tuple[Entry, Manifest] | None:
        """Return what *reference* meant at its last pull, if its manifest is still there."""
        entry = self._references.find(reference)
        manifest = None if entry is None else self._manifest(entry)
        return None if entry is None or manifest is None else (entry, manifest)

    def pulling(self, pause: Callable[[float], object]) -> Lock:
        """Take part in the pulls, during which no blob is removed."""
        return wait_for_lock(self.root / "blobs.lock", shared=True, pause=pause)

    def record(self, reference: Reference, *, image_id: str, digest: str, manifest: str) -> None:
        """Note what *reference* means from now on."""
        with self._references.change() as entries:
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            entry = Entry(image_id=image_id, digest=digest, manifest=manifest, pulled_at=now)
            before = entries.get(str(reference))
            if before is None or evolve(before, pulled_at=now) != entry:
                entries[str(reference)] = entry

    def sweep(self) -> None:
        """Remove what no reference needs, unless somebody pulls."""
        with disk_errors(self.root):
            self._sweep()

    def _check(self) -> bool:
        """Say whether the store is there; raise ImageStoreError if it is not safely ours."""
        try:
            with disk_errors(self.root):
                found = self.root.stat()
        except ImageStoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ImageStoreError(
                f"the image store {self.root} belongs to another user, or others may write to it:"
                f" chown or chmod it, or choose another directory by LUNETTE_HOME"
            )
        return True

    def _stored(self, text: str, entry: Entry) -> Stored | None:
        image = self.trees.find(entry.image_id)
        if image is None:
            return None
        # One tree may have come by several manifests, differently compressed.
        image = evolve(image, digest=entry.digest)
        return Stored(reference=text, image=image, pulled_at=entry.pulled_at)

    def _manifest(self, entry: Entry) -> Manifest | None:
        content = self.blobs.read(entry.manifest)
        if content is None:
            return None
        found = read_manifest(content, None, name=entry.manifest)
        return found if isinstance(found, Manifest) else None

    def _forget(self, reference: Reference, entries: dict[str, Entry]) -> None:
        text = str(reference)
        if text not in entries:
            raise _not_here(reference)
        image_id = entries[text].image_id
        if any(e.image_id == image_id for other, e in entries.items() if other != text):
            del entries[text]
            return
        lock = self.trees.lock(image_id)
        if lock is None:
            raise ImageInUseError(
                f"the image {reference.familiar!r} is in use: destroy its sandboxes first"
            )
        with lock:
            del entries[text]
            self.trees.retire(lock)

    def _sweep(self) -> None:
        lock = Lock.take(self.root / "blobs.lock")
        if lock is not None:
            with lock:
                entries = self._references.read()
                self.trees.sweep({entry.image_id for entry in entries.values()})
                self.blobs.sweep(self._needed_blobs(entries))
        self.trees.clear()

    def _needed_blobs(self, entries: Mapping[str, Entry]) -> set[str]:
        needed: set[str] = set()
        for entry in entries.values():
            needed |= {entry.manifest, entry.image_id}
            with contextlib.suppress(ImageError):  # of a manifest that an older version accepted
                manifest = self._manifest(entry)
                needed |= {layer.digest for layer in manifest.layers} if manifest else set()
        return needed


def _not_here(reference: Reference) -> ImageNotFoundError:
    return ImageNotFoundError(
        f"the image {reference.familiar!r} is not here: lunette images ls shows those that are"
    )
