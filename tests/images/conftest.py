"""The registries and images, for every test of this directory."""

from __future__ import annotations

from .fixtures import images as images
from .fixtures import local_registry as local_registry
from .fixtures import locked_registry as locked_registry
from .fixtures import python_layer as python_layer
from .fixtures import token_registry as token_registry
