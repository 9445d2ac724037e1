"""Downloads from Debian's docker-registry: its ranges, its logins, its manifests."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from lunette.server.images.errors import ImageNotFoundError, RegistryDeniedError

from ...images.faults import BLOBS, Cut
from ...images.fixtures import SECRET
from ...images.fixtures import local_registry as local_registry
from ...images.fixtures import locked_registry as locked_registry
from ...images.oci_image import ELSEWHERE, HERE, Image, Index, push
from ...images.proxy import RegistryProxy
from ...images.registry import PASSWORD, USER, Registry
from ...images.tokens import TokenGate
from .pulls import fetch, image_of, order, verify

IMAGE = image_of(400_000, 100_000, seed=7)
NAME = "library/pulled"


@pytest.fixture
def pushed(local_registry: Registry) -> str:
    """Have IMAGE in an index, and return its name without the host."""
    other = Image(layers=IMAGE.layers, platform=ELSEWHERE)
    index = Index(images=(other, Image(layers=IMAGE.layers, platform=HERE)))
    push(local_registry.url, NAME, "latest", index)
    return NAME


def log_in(directory: Path, host: str) -> None:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def test_an_index(local_registry: Registry, pushed: str, root: Path) -> None:
    fetched = fetch(order(root, f"{local_registry.host}/{pushed}"))
    assert fetched.own in verify(root)
    assert {layer.digest for layer in IMAGE.layers} <= verify(root)
    again = fetch(order(root, f"{local_registry.host}/{pushed}@{fetched.digest}"))
    assert again == fetched


def test_a_mirror(local_registry: Registry, pushed: str, root: Path) -> None:
    fetch(order(root, "pulled", mirrors={"docker.io": local_registry.host}))
    with pytest.raises(ImageNotFoundError, match="MANIFEST_UNKNOWN"):
        fetch(order(root, "pulled:other", mirrors={"docker.io": local_registry.host}))


def test_cuts(local_registry: Registry, pushed: str, root: Path) -> None:
    with RegistryProxy(local_registry.url, Cut(path=BLOBS, rate=0.5, times=8)) as proxy:
        fetch(order(root, f"{proxy.host}/{pushed}"))
    verify(root)


def test_tokens(local_registry: Registry, pushed: str, root: Path, docker_config: Path) -> None:
    gate = TokenGate(users={USER: PASSWORD}, private=f"^{NAME}$")
    with RegistryProxy(local_registry.url, gate=gate) as proxy:
        with pytest.raises(RegistryDeniedError):
            fetch(order(root, f"{proxy.host}/{pushed}"))
        log_in(docker_config, proxy.host)
        fetch(order(root, f"{proxy.host}/{pushed}"))


def test_a_password(locked_registry: Registry, root: Path, docker_config: Path) -> None:
    with pytest.raises(RegistryDeniedError, match="docker login"):
        fetch(order(root, f"{locked_registry.host}/{SECRET}"))
    log_in(docker_config, locked_registry.host)
    fetch(order(root, f"{locked_registry.host}/{SECRET}"))
    verify(root)
