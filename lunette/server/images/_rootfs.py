"""The unpacked images of a store: the tree of each is there whole, or not at all."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import field, frozen

from lunette._scratch import remove_tree

from ._disk import publish, sync_all, write_whole
from ._locks import Lock, wait_for_lock
from .errors import ImageNotFoundError, ImageStoreError
from .image import Image, Mode

__all__ = ["Held", "Trees"]

_PART, _LOCK, _GONE = ".part", ".lock", ".gone-"
_TREE = re.compile(r"([a-f0-9]{64}-(?:range|single))(?:\.part)?")
_TRIES, _TRY_SECONDS = 100, 0.002


@frozen
class Held:
    """An image whose *rootfs* nobody removes until `close`."""

    image: Image
    rootfs: Path
    _lock: Lock = field(repr=False)

    @property
    def fd(self) -> int:
        """The lock; a forked process shares it, a program that is started does not."""
        return self._lock.fd

    def close(self) -> None:
        """Let the tree be removed."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Trees:
    """The directory `rootfs`; those of another *mode* in it are left alone."""

    def __init__(self, directory: Path, mode: Mode) -> None:
        self._directory = directory
        self._mode = mode

    def find(self, image_id: str) -> Image | None:
        """Return the image whose tree is there."""
        path = self._path(image_id) / "image.json"
        try:
            return Image.from_json(json.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (TypeError, ValueError) as error:
            raise ImageStoreError(
                f"{path} is broken: remove {path.parent}, and pull the image again"
            ) from error

    def hold(self, image: Image) -> Held:
        """Keep the tree of *image* from removal; raise ImageNotFoundError if it is not there."""
        path = self._path(image.image_id)
        for _ in range(_TRIES):
            if not path.is_dir():
                break
            lock = Lock.take(_beside(path, _LOCK), shared=True)
            if lock is None:  # who has it is about to rename the tree, or finds it made already
                time.sleep(_TRY_SECONDS)
                continue
            if path.is_dir():
                return Held(image, path / "rootfs", lock)
            lock.close()
        raise ImageNotFoundError(f"the image {image.image_id} was removed: pull it again")

    def make(
        self, image_id: str, fill: Callable[[Path], Image], *, pause: Callable[[float], object]
    ) -> Image:
        """Have *fill* unpack an image into the directory that it is given.

        If another process is about it, wait for that one; *pause* may raise to give up.
        """
        path = self._path(image_id)
        with wait_for_lock(_beside(path, _LOCK), pause=pause):
            if (found := self.find(image_id)) is not None:
                return found
            part = _beside(path, _PART)
            # Not in its place: who was killed may have left a child with its last breath in it.
            self._take_away(part)
            self.clear()
            try:
                image = _fill(part, fill)
                publish(part, path)
            except BaseException:
                self._take_away(part)
                self.clear()
                raise
        return image

    def lock(self, image_id: str) -> Lock | None:
        """Lock the tree of an image for its removal; None if it is held."""
        return Lock.take(_beside(self._path(image_id), _LOCK))

    def retire(self, lock: Lock) -> None:
        """Take away the tree that *lock* is of, and what was not finished; `clear` removes it."""
        tree = lock.path.with_suffix("")
        self._take_away(tree)
        self._take_away(_beside(tree, _PART))
        lock.path.unlink()  # those who wait for it look whether it is still there

    def sweep(self, needed: Collection[str]) -> None:
        """Take away the trees that are not *needed*, unless they are held."""
        wanted = {self._path(image_id).name for image_id in needed}
        found = {match[1] for path in self._paths() if (match := _TREE.fullmatch(path.name))}
        for name in found - wanted:
            lock = Lock.take(self._directory / f"{name}{_LOCK}")
            if lock is None:
                continue
            with lock:
                self.retire(lock)

    def clear(self) -> None:
        """Remove what was taken away; what cannot be is left to the next time."""
        for path in self._directory.glob(f"*-{self._mode}{_GONE}*"):
            with contextlib.suppress(OSError):
                remove_tree(path)

    def _take_away(self, path: Path) -> None:
        gone = f"{path.name.removesuffix(_PART)}{_GONE}{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_name(gone))

    def _paths(self) -> list[Path]:
        return list(self._directory.glob(f"*-{self._mode}*"))

    def _path(self, image_id: str) -> Path:
        return self._directory / f"{image_id.removeprefix('sha256:')}-{self._mode}"


def _fill(part: Path, fill: Callable[[Path], Image]) -> Image:
    rootfs = part / "rootfs"
    part.mkdir(mode=0o700)
    rootfs.mkdir(mode=0o755)
    image = fill(rootfs)
    write_whole(part / "image.json", json.dumps(image.to_json()).encode())
    sync_all(part)
    return image


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
