"""Images described in Python, as OCI or Docker 2.2 manifests, and how they get to a registry.

image = Image(layers=(layer([file("etc/motd", "hello")]),), config={"User": "1234"})
push(registry.url, "library/hello", "latest", image)
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import importlib.util
import json
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import httpx
from attrs import Factory, evolve, field, frozen

from .tar_layers import Entry, tar

Compression: TypeAlias = Literal["gzip", "zstd", "none"]
Form: TypeAlias = Literal["oci", "docker"]
Json: TypeAlias = dict[str, Any]

MEDIA_TYPES: dict[Form, dict[str, str]] = {
    "oci": {
        "index": "application/vnd.oci.image.index.v1+json",
        "manifest": "application/vnd.oci.image.manifest.v1+json",
        "config": "application/vnd.oci.image.config.v1+json",
        "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
        "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
        "none": "application/vnd.oci.image.layer.v1.tar",
    },
    "docker": {
        "index": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifest": "application/vnd.docker.distribution.manifest.v2+json",
        "config": "application/vnd.docker.container.image.v1+json",
        "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "none": "application/vnd.docker.image.rootfs.diff.tar",
    },
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le"}


@frozen
class Platform:
    """What an image runs on, in the words of Go."""

    architecture: str
    os: str = "linux"
    variant: str | None = None

    def to_json(self) -> Json:
        """Return it as an index has it."""
        words = {"architecture": self.architecture, "os": self.os, "variant": self.variant}
        return {key: value for key, value in words.items() if value is not None}


HERE = Platform(_ARCHITECTURES.get(platform.machine(), platform.machine()))
"""This machine's."""
ELSEWHERE = Platform("s390x")
"""No machine's that runs these tests."""


@frozen(kw_only=True)
class Layer:
    """A compressed archive; *media_type* is that of *compression* unless it is given."""

    blob: bytes
    diff_id: str
    compression: Compression = "gzip"
    media_type: str | None = None
    digest: str = field(init=False)
    """That of the blob, counted once: a blob may be large."""

    @digest.default
    def _digest(self) -> str:
        return digest(self.blob)

    def descriptor(self, form: Form) -> Json:
        """Describe it as a manifest does."""
        media_type = self.media_type or MEDIA_TYPES[form][self.compression]
        return {"mediaType": media_type, "digest": self.digest, "size": len(self.blob)}


@frozen(kw_only=True)
class Image:
    """An image for one *platform*; *config* has Docker's keys: Env, WorkingDir, User and so on."""

    layers: tuple[Layer, ...]
    config: Mapping[str, Any] = Factory(dict)
    platform: Platform = HERE
    form: Form = "oci"

    @property
    def media_type(self) -> str:
        """Return the type of the manifest."""
        return MEDIA_TYPES[self.form]["manifest"]

    @property
    def config_blob(self) -> bytes:
        """Return the configuration, whose digest is the id of the image."""
        return _json(
            {
                "created": "2026-01-01T00:00:00Z",
                **self.platform.to_json(),
                "config": dict(self.config),
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
            }
        )

    @property
    def manifest(self) -> bytes:
        """Return the manifest."""
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "config": _descriptor(MEDIA_TYPES[self.form]["config"], self.config_blob),
                "layers": [layer.descriptor(self.form) for layer in self.layers],
            }
        )

    @property
    def image_id(self) -> str:
        """Return the digest of the configuration."""
        return digest(self.config_blob)

    @property
    def digest(self) -> str:
        """Return the digest of the manifest."""
        return digest(self.manifest)

    def blobs(self) -> dict[str, bytes]:
        """Return what the manifest names, by digest."""
        return {
            **{layer.digest: layer.blob for layer in self.layers},
            self.image_id: self.config_blob,
        }


@frozen(kw_only=True)
class Index:
    """Images of one name for several platforms."""

    images: tuple[Image, ...]
    form: Form = "oci"

    @property
    def media_type(self) -> str:
        """Return the type of the index."""
        return MEDIA_TYPES[self.form]["index"]

    @property
    def manifest(self) -> bytes:
        """Return the index."""
        entries = [
            {**_descriptor(i.media_type, i.manifest), "platform": i.platform.to_json()}
            for i in self.images
        ]
        content = {"schemaVersion": 2, "mediaType": self.media_type, "manifests": entries}
        return _json(content)

    @property
    def digest(self) -> str:
        """Return the digest of the index."""
        return digest(self.manifest)


def layer(entries: Iterable[Entry], *, compression: Compression = "gzip", level: int = 1) -> Layer:
    """Pack *entries* into a layer, at a *level* of the compression: 0 of gzip is none.

    Raises RuntimeError for zstd where neither the package `zstandard` nor the program is there.
    """
    return layer_of(tar(entries), compression=compression, level=level)


def layer_of(archive: bytes, *, compression: Compression = "gzip", level: int = 1) -> Layer:
    """Make a layer of a tar *archive*, or of what a test wants to be taken for one."""
    blob = _compressed(archive, compression, level)
    return Layer(blob=blob, diff_id=digest(archive), compression=compression)


def relabelled(made: Layer, media_type: str) -> Layer:
    """Return a layer under another media type, right or wrong."""
    return evolve(made, media_type=media_type)


def can_zstd() -> bool:
    """Whether a layer can be compressed by zstd here."""
    return importlib.util.find_spec("zstandard") is not None or shutil.which("zstd") is not None


def digest(data: bytes) -> str:
    """Return what names *data* in a registry."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def push(
    registry: str,
    repository: str,
    tag: str,
    what: Image | Index,
    *,
    auth: tuple[str, str] | None = None,
    near: str | None = None,
) -> str:
    """Upload an image or an index with its images to the *registry* at a URL; return its digest.

    What the repository *near* has already is not sent again. Raises httpx.HTTPStatusError where the
    registry refuses.
    """
    base_url = f"{registry}/v2/{repository}"
    # Without TLS its certificates need not be loaded either.
    with httpx.Client(base_url=base_url, auth=auth, trust_env=False, verify=False) as client:
        for image in what.images if isinstance(what, Index) else (what,):
            for name, blob in image.blobs().items():
                _push_blob(client, name, blob, near)
            _push_manifest(client, image.digest, image)
        _push_manifest(client, tag, what)
    return what.digest


def _push_blob(client: httpx.Client, name: str, blob: bytes, near: str | None) -> None:
    if client.head(f"/blobs/{name}").status_code == httpx.codes.OK:
        return
    mount = {} if near is None else {"mount": name, "from": near}
    begun = client.post("/blobs/uploads/", params=mount).raise_for_status()
    if begun.status_code == httpx.codes.CREATED:
        return
    place = begun.url.join(begun.headers["Location"]).copy_merge_params({"digest": name})
    client.put(place, content=blob, timeout=60).raise_for_status()


def _push_manifest(client: httpx.Client, name: str, what: Image | Index) -> None:
    headers = {"Content-Type": what.media_type}
    client.put(f"/manifests/{name}", content=what.manifest, headers=headers).raise_for_status()


def _compressed(data: bytes, compression: Compression, level: int) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, level, mtime=0)
    return _zstd(data, level) if compression == "zstd" else data


def _zstd(data: bytes, level: int) -> bytes:
    if importlib.util.find_spec("zstandard") is not None:
        packed: bytes = importlib.import_module("zstandard").ZstdCompressor(level).compress(data)
        return packed
    if shutil.which("zstd") is None:
        raise RuntimeError("neither the package zstandard nor the program zstd is there")
    return subprocess.run(
        ["zstd", "-q", "-c", f"-{level}"], input=data, stdout=-1, check=True
    ).stdout


def _descriptor(media_type: str, blob: bytes) -> Json:
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}


def _json(value: Json) -> bytes:
    return json.dumps(value, indent=3).encode()
