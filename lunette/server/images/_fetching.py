"""The part of a pull that needs the network, and threads: from a reference to verified blobs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from attrs import frozen

from ._configuration import read_configuration
from ._disk import check_space
from ._downloads import Downloads, Stop
from ._manifests import Descriptor, Index, Manifest, read_manifest
from ._order import Order
from ._patience import Patience, persistently
from ._platforms import choose
from ._progress import Meter
from .errors import ImageNotFoundError, InvalidImageError
from .registry import Found, Registry
from .store import Store

__all__ = ["Fetched", "Fetching"]

T = TypeVar("T")


@frozen(kw_only=True)
class Fetched:
    """What a reference means: the registry has it as *digest*, and this machine's is *own*."""

    digest: str
    own: str
    manifest: Manifest


class Fetching:
    """Gets what is missing of an image; a store that has all of it needs no registry."""

    def __init__(self, order: Order, store: Store, *, meter: Meter, patience: Patience) -> None:
        self._order = order
        self._store = store
        self._meter = meter
        self._patience = patience
        self._stop = Stop()
        self._name = order.reference.familiar

    def run(self) -> Fetched:
        """Have all blobs in the store, unless the image is unpacked already."""
        order = self._order
        registry = Registry(order.reference, insecure=order.insecure, mirrors=order.mirrors)
        with contextlib.closing(registry):
            fetched = self._known(registry) or self._resolve(registry)
            if self._store.trees.find(fetched.manifest.config.digest) is None:
                self._download(fetched.manifest, registry)
        return fetched

    def _known(self, registry: Registry) -> Fetched | None:
        """Return what the reference meant, if that is still so or need not be asked."""
        known = self._store.known(self._order.reference)
        if known is None:
            return None
        entry, manifest = known
        if self._order.must_ask and self._persist(registry.current_digest) != entry.digest:
            return None
        return Fetched(digest=entry.digest, own=entry.manifest, manifest=manifest)

    def _resolve(self, registry: Registry) -> Fetched:
        if self._order.policy == "never":
            raise self._not_here()
        found = self._persist(registry.manifest)
        manifest = self._read(found)
        own = found
        if isinstance(manifest, Index):
            chosen = choose(manifest, name=self._name)
            own = self._persist(lambda: registry.manifest(chosen))
            manifest = self._read(own)
        if isinstance(manifest, Index):
            raise InvalidImageError(f"{self._name} has an index within an index")
        self._store.blobs.keep(own.content)
        return Fetched(digest=found.digest, own=own.digest, manifest=manifest)

    def _download(self, manifest: Manifest, registry: Registry) -> None:
        wanted = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
        missing = [blob for blob in wanted.values() if not self._store.blobs.has(blob)]
        if missing and self._order.policy == "never":
            raise self._not_here()
        self._check_size(manifest, missing)
        self._meter.begin("pulling", sum(blob.size for blob in wanted.values()))
        downloads = Downloads(
            registry=registry,
            blobs=self._store.blobs,
            patience=self._patience,
            stop=self._stop,
            report=self._meter.report,
        )
        # It says whether the layers are of any use here.
        downloads.get_all([manifest.config])
        config = self._store.blobs.read(manifest.config.digest) or b""
        read_configuration(config, layers=len(manifest.layers), name=self._name)
        downloads.get_all(manifest.layers)

    def _check_size(self, manifest: Manifest, missing: list[Descriptor]) -> None:
        if manifest.size > self._order.most_bytes:
            raise InvalidImageError(
                f"{self._name} has {manifest.size} bytes even in its compressed layers, over the"
                f" limit of {self._order.most_bytes}"
            )
        needed = sum(blob.size - self._store.blobs.unfinished_size(blob) for blob in missing)
        if missing:
            check_space(self._store.root, needed, spare=self._order.free)

    def _read(self, found: Found) -> Index | Manifest:
        return read_manifest(found.content, found.media_type, name=self._name)

    def _persist(self, work: Callable[[], T]) -> T:
        return persistently(work, self._patience, self._stop.pause)

    def _not_here(self) -> ImageNotFoundError:
        return ImageNotFoundError(
            f"the image {self._name!r} is not here, and the pull policy is never: pull it before"
        )
