"""The images that a registry of these tests has, below `library/` as on Docker Hub.

python:3.11-slim   a real one: an index with this platform, another, and an attestation
tricky             everything that an unpacker can do wrong (Docker's media types)
named-user         USER app, by name, and a WORKDIR that the image does not have
zstd               the layers of python:3.11-slim, one of them not compressed
no-shell           a static program and nothing else
big                20 MB in three layers that cannot be compressed
other-platform     an index without this machine's platform
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Generator, Iterator, Mapping

from attrs import field, frozen

from . import tricky
from .oci_image import (
    ELSEWHERE,
    HERE,
    Image,
    Index,
    Layer,
    Platform,
    can_zstd,
    layer,
    layer_of,
    push,
)
from .static_binary import static_binary
from .tar_layers import directory, file

__all__ = ["BIG_BYTES", "PYTHON", "Images", "Published", "images", "publish"]

PYTHON = "python:3.11-slim"
BIG_BYTES = (12_000_000, 5_000_000, 3_000_000)
"""What the files of `big` have, layer by layer."""

_PATH = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_ATTESTATION = Platform("unknown", "unknown")


@frozen(kw_only=True)
class Published:
    """An image in a registry: *name* is short for `docker.io/library/` and that."""

    name: str
    host: str
    what: Image | Index = field(repr=False)

    @property
    def reference(self) -> str:
        """Return what it is called without a mirror."""
        return f"{self.host}/library/{self.name}"

    @property
    def image(self) -> Image:
        """Return this machine's image; LookupError where there is none."""
        if isinstance(self.what, Image):
            return self.what
        for image in self.what.images:
            if image.platform == HERE:
                return image
        raise LookupError(f"{self.name} is not for this machine")

    @property
    def image_id(self) -> str:
        """Return the digest of the configuration."""
        return self.image.image_id

    @property
    def digest(self) -> str:
        """Return the digest of the manifest or the index that the tag names."""
        return self.what.digest

    @property
    def size(self) -> int:
        """Return the compressed bytes of the layers."""
        return sum(len(layer.blob) for layer in self.image.layers)


@frozen
class Images(Mapping[str, Published]):
    """The images of a registry by name."""

    mirror: str
    """The setting by which a server finds them as images of Docker Hub."""
    _published: dict[str, Published] = field(repr=False)

    def __getitem__(self, name: str) -> Published:
        return self._published[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._published)

    def __len__(self) -> int:
        return len(self._published)


def publish(url: str, found: Mapping[str, Image | Index]) -> Images:
    """Push images, by their names, to the registry at a URL."""
    host = url.removeprefix("http://")
    published: dict[str, Published] = {}
    for name, what in found.items():
        repository, _, tag = name.partition(":")
        push(url, f"library/{repository}", tag or "latest", what, near="library/python")
        published[name] = Published(name=name, host=host, what=what)
    return Images(f"docker.io={host}", published)


def images(python: Layer) -> dict[str, Image | Index]:
    """Return the images by name, those that this machine can make; *python* is the real layer."""
    return {
        PYTHON: _python(python),
        "tricky": _tricky(python),
        "named-user": _named_user(python),
        "big": _big(),
        "other-platform": Index(images=(_elsewhere(ELSEWHERE), _elsewhere(Platform("riscv64")))),
        **dict(_optional(python)),
    }


def _python(python: Layer) -> Index:
    config = {
        "Env": [_PATH, "LANG=C.UTF-8", "PYTHON_VERSION=3.11"],
        "Cmd": ["python3"],
    }
    here = Image(layers=(python,), config=config)
    return Index(images=(_elsewhere(ELSEWHERE), here, _elsewhere(_ATTESTATION)))


def _tricky(python: Layer) -> Image:
    layers = (python, *map(layer, tricky.LAYERS))
    return Image(layers=layers, config=tricky.CONFIG, form="docker")


def _named_user(python: Layer) -> Image:
    extra = layer([file("home/app/greeting", "hello", mode=0o600, owner=tricky.OWNER)])
    config = {"Env": [_PATH], "User": "app", "WorkingDir": "/home/app/not-there-yet"}
    return Image(layers=(python, extra), config=config)


def _zstd(python: Layer) -> Image:
    packed = layer_of(gzip.decompress(python.blob), compression="zstd")
    plain = layer([directory("plain"), file("plain/layer", "not compressed")], compression="none")
    layers = (packed, plain)
    return Image(layers=layers, config={"Env": [_PATH], "WorkingDir": "/plain"})


def _no_shell(program: bytes) -> Image:
    only = layer([directory("bin"), file("bin/hello", program, mode=0o755)])
    return Image(layers=(only,), config={"Env": ["PATH=/bin"], "Entrypoint": ["/bin/hello"]})


def _big() -> Image:
    noise = random.Random(20)
    layers = [
        layer([directory("big"), file(f"big/{number}", noise.randbytes(size))], level=0)
        for number, size in enumerate(BIG_BYTES)
    ]
    return Image(layers=tuple(layers))


def _elsewhere(platform: Platform) -> Image:
    only = layer([file("wrong-platform", f"{platform.architecture}\n")])
    return Image(layers=(only,), platform=platform)


def _optional(python: Layer) -> Generator[tuple[str, Image | Index]]:
    if can_zstd():
        yield "zstd", _zstd(python)
    if (program := static_binary(HERE.architecture)) is not None:
        yield "no-shell", _no_shell(program)
