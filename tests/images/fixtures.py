"""The registries of a run, and what is in them; each begins with the first test that asks for it.

Where a registry or Debian's Python is missing the tests that need it are skipped.
"""

from __future__ import annotations

import gzip
from collections.abc import Generator

import pytest

from . import catalogue, registry
from .catalogue import Images
from .oci_image import Image, Layer, digest, layer, push
from .proxy import RegistryProxy
from .registry import PASSWORD, USER, Registry
from .rootfs import NoRootfsError, real_python_rootfs
from .tar_layers import file
from .tokens import TokenGate

SECRET = "library/secret"
"""The repository in `locked_registry`."""


@pytest.fixture(scope="session")
def python_layer() -> Layer:
    """Return the layer of a real root file system with Python."""
    try:
        blob = real_python_rootfs().read_bytes()
    except NoRootfsError as lacking:
        pytest.skip(str(lacking))
    return Layer(blob=blob, diff_id=digest(gzip.decompress(blob)))


@pytest.fixture(scope="session")
def local_registry() -> Generator[Registry]:
    """Run a registry that anybody may read and write."""
    _require()
    with registry.serving() as running:
        yield running


@pytest.fixture(scope="session")
def images(local_registry: Registry, python_layer: Layer) -> Images:
    """Return the images of the catalogue, which are in `local_registry`."""
    return catalogue.publish(local_registry.url, catalogue.images(python_layer))


@pytest.fixture(scope="session")
def locked_registry() -> Generator[Registry]:
    """Run a registry that lets only USER in, by basic authentication; it has SECRET:latest."""
    _require()
    with registry.serving(password=True) as running:
        image = Image(layers=(layer([file("secret", "for readers")]),))
        push(running.url, SECRET, "latest", image, auth=(USER, PASSWORD))
        yield running


@pytest.fixture
def token_registry(images: Images, local_registry: Registry) -> Generator[RegistryProxy]:
    """Run the `local_registry` behind tokens: anybody gets one, but for `big` only USER does."""
    gate = TokenGate(users={USER: PASSWORD}, private="^library/big$")
    with RegistryProxy(local_registry.url, gate=gate) as proxy:
        yield proxy


def _require() -> None:
    if lacking := registry.missing():
        pytest.skip(lacking)
