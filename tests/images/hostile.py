"""Images that somebody made who means harm."""

from __future__ import annotations

from typing import Any

from .oci_image import Image, Layer, layer, push
from .registry import Registry
from .tar_layers import Entry

__all__ = ["Hostile"]

_CONFIG = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]}


class Hostile:
    """Images in a registry of this run."""

    def __init__(self, registry: Registry, base: Layer) -> None:
        self._registry = registry
        self._base = base
        self._pushed = 0

    def reference(self, *entries: Entry, **config: Any) -> str:
        """Return what an image with *entries* over a real root file system is called."""
        self._pushed += 1
        image = Image(layers=(self._base, layer(entries)), config={**_CONFIG, **config})
        push(self._registry.url, f"isolation/{self._pushed}", "latest", image)
        return f"{self._registry.host}/isolation/{self._pushed}"
