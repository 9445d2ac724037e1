"""What an image consists of: OCI and Docker indexes and manifests, and nothing that is both."""

from __future__ import annotations

import re
from typing import Any, cast

from attrs import frozen

from ._documents import Document, Fault, read_object
from .errors import InvalidImageError, RegistryError

__all__ = [
    "ACCEPTED",
    "LARGEST_CONFIG",
    "LARGEST_MANIFEST",
    "Choice",
    "Descriptor",
    "Index",
    "Manifest",
    "read_manifest",
]

LARGEST_MANIFEST = 4 * 2**20
LARGEST_CONFIG = 8 * 2**20
_MOST_LAYERS = 127  # Docker's own limit
_MOST_CHOICES = 1000
_LARGEST_LAYER = 2**50

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_LAYERS = frozenset(
    [
        *(_OCI_LAYER, f"{_OCI_LAYER}+gzip", f"{_OCI_LAYER}+zstd"),
        *(_DOCKER_LAYER, f"{_DOCKER_LAYER}.gzip", f"{_DOCKER_LAYER}.zstd"),
    ]
)
ACCEPTED = ", ".join([*_INDEXES, *_MANIFESTS])
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")


@frozen
class Descriptor:
    """A blob: *digest* and *size* in bytes must be what comes."""

    media_type: str
    digest: str
    size: int


@frozen
class Choice:
    """One manifest of an index, and for which machines it is; None if it does not say."""

    manifest: Descriptor
    platform: Document | None
    is_image: bool


@frozen
class Index:
    """One image for several machines."""

    choices: tuple[Choice, ...]


@frozen
class Manifest:
    """An image for one machine; *layers* from the lowest."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def size(self) -> int:
        """The bytes of all layers, compressed."""
        return sum(layer.size for layer in self.layers)


def read_manifest(content: bytes, media_type: str | None, *, name: str) -> Index | Manifest:
    """Read what the registry has under *name*; *media_type* is its header, if there is one.

    Raise RegistryError where it is no JSON, InvalidImageError where it is no image of today.
    """

    def garbage(why: str) -> Exception:
        return RegistryError(f"what the registry has as {name} {why}: is this a registry?")

    def invalid(why: str) -> Exception:
        return InvalidImageError(f"{name} {why}")

    found = read_object(content, garbage)
    kind = _kind(found, media_type, invalid)
    if kind in _INDEXES:
        return _read_index(found, invalid)
    if kind in _MANIFESTS:
        return _read_image(found, invalid)
    raise invalid(f"has a manifest of the unknown type {_shown(kind)}")


def _kind(found: Document, media_type: str | None, invalid: Fault) -> str:
    """Say what *found* is; its own word counts before the header, which some registries guess."""
    if found.get("schemaVersion") == 1 or "fsLayers" in found:
        raise invalid(
            "has a manifest of Docker's schema 1, which nobody can verify:"
            " push it again with a Docker of this decade"
        )
    if found.get("schemaVersion") != 2:
        raise invalid("has a manifest without schemaVersion 2")
    # Two readers of one that is both would see two images.
    if "manifests" in found and ("layers" in found or "config" in found):
        raise invalid("has a manifest that is an index too")
    header = (media_type or "").partition(";")[0].strip()
    kind = found.get("mediaType") or (header if header in _INDEXES + _MANIFESTS else None)
    kind = kind or (_INDEXES[0] if "manifests" in found else _MANIFESTS[0])
    if not isinstance(kind, str):
        raise invalid("has a manifest whose mediaType is no string")
    return kind


def _read_index(found: Document, invalid: Fault) -> Index:
    entries = _objects(found, "manifests", invalid)
    if len(entries) > _MOST_CHOICES:
        raise invalid(f"has an index of over {_MOST_CHOICES} manifests")
    return Index(tuple(_choice(entry, invalid) for entry in entries))


def _choice(entry: Document, invalid: Fault) -> Choice:
    platform = entry.get("platform")
    if platform is not None and not isinstance(platform, dict):
        raise invalid("has an index with a platform that is no object")
    descriptor = _descriptor(entry, invalid)
    return Choice(
        descriptor,
        cast("Document | None", platform),
        is_image=descriptor.media_type in _MANIFESTS and not _is_attestation(entry),
    )


def _is_attestation(entry: Document) -> bool:
    notes: object = entry.get("annotations")
    return isinstance(notes, dict) and "vnd.docker.reference.type" in notes


def _read_image(found: Document, invalid: Fault) -> Manifest:
    config = found.get("config")
    if not isinstance(config, dict):
        raise invalid("has a manifest without a config")
    layers = _objects(found, "layers", invalid)
    if len(layers) > _MOST_LAYERS:
        raise invalid(f"has {len(layers)} layers; the limit is Docker's, {_MOST_LAYERS}")
    return Manifest(
        _config(_descriptor(cast("Document", config), invalid), invalid),
        tuple(_layer(_descriptor(layer, invalid), invalid) for layer in layers),
    )


def _config(config: Descriptor, invalid: Fault) -> Descriptor:
    if config.media_type not in _CONFIGS:
        raise invalid(f"is no image of a container but {_shown(config.media_type)}")
    if config.size > LARGEST_CONFIG:
        raise invalid(f"has a config of over {LARGEST_CONFIG} bytes")
    return config


def _layer(layer: Descriptor, invalid: Fault) -> Descriptor:
    kind = layer.media_type
    if kind in _LAYERS:
        return layer
    if ".nondistributable." in kind or ".foreign." in kind:
        raise invalid(
            f"has a layer that its registry does not hand out ({_shown(kind)}):"
            " images with such layers, as those of Windows, are not supported"
        )
    raise invalid(f"has a layer of the unknown type {_shown(kind)}")


def _objects(found: Document, key: str, invalid: Fault) -> list[Document]:
    entries: Any = found.get(key)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) for entry in cast("list[object]", entries)
    ):
        raise invalid(f"has a manifest whose {key} are no list of objects")
    return cast("list[Document]", entries)


def _descriptor(found: Document, invalid: Fault) -> Descriptor:
    media_type, digest, size = found.get("mediaType"), found.get("digest"), found.get("size")
    if not isinstance(media_type, str):
        raise invalid("names a blob without a mediaType")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise invalid(f"names a blob by {_shown(str(digest))}, which is no sha256 digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST_LAYER:
        raise invalid(f"gives no possible size for {digest}")
    return Descriptor(media_type, digest, size)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}...")
