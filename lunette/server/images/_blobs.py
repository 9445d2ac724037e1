"""The blobs of a store: each is under its digest once it was verified, and never before."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

from ._disk import publish
from ._locks import Lock, wait_for_lock
from ._manifests import Descriptor

__all__ = ["Blobs"]

_PART = ".part"
_LEFTOVER_SECONDS = 24 * 3600.0  # a download that nobody has taken up for so long is given up


class Blobs:
    """The directory `blobs/sha256`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, digest: str) -> Path:
        """Return where the blob *digest* is, or would be."""
        return self.directory / digest.removeprefix("sha256:")

    def has(self, blob: Descriptor) -> bool:
        """Say whether *blob* is there, in its full size."""
        with contextlib.suppress(FileNotFoundError):
            return self.path(blob.digest).stat().st_size == blob.size
        return False

    def unfinished_size(self, blob: Descriptor) -> int:
        """Return how many bytes of *blob* an unfinished download has."""
        with contextlib.suppress(FileNotFoundError):
            return min(blob.size, self._part(blob.digest).stat().st_size)
        return 0

    def read(self, digest: str) -> bytes | None:
        """Return a small blob, None if it is not there."""
        with contextlib.suppress(FileNotFoundError):
            return self.path(digest).read_bytes()
        return None

    def unfinished(self, digest: str, pause: Callable[[float], object]) -> Lock:
        """Lock the unfinished blob *digest*, open for reading and writing; wait for who has it."""
        return wait_for_lock(self._part(digest), pause=pause)

    def keep(self, content: bytes) -> str:
        """Keep *content* and return its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if self.read(digest) == content:
            return digest
        with wait_for_lock(self._part(digest)) as lock:
            os.ftruncate(lock.fd, 0)
            with os.fdopen(lock.fd, "wb", closefd=False) as file:
                file.write(content)
            self.finish(digest, lock)
        return digest

    def finish(self, digest: str, lock: Lock) -> None:
        """Give the verified content behind *lock* its name."""
        os.fsync(lock.fd)
        publish(lock.path, self.path(digest))

    def sweep(self, needed: Collection[str]) -> None:
        """Remove the blobs that are not *needed*; nobody may be pulling."""
        names = {digest.removeprefix("sha256:") for digest in needed}
        for path in self.directory.iterdir():
            if path.name in names or (path.suffix == _PART and _is_fresh(path)):
                continue
            path.unlink(missing_ok=True)

    def _part(self, digest: str) -> Path:
        path = self.path(digest)
        return path.with_name(path.name + _PART)


def _is_fresh(path: Path) -> bool:
    return path.stat().st_mtime > time.time() - _LEFTOVER_SECONDS
