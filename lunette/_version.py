"""Which lunette this is."""

from __future__ import annotations

import functools

__all__ = ["API_VERSION", "version"]

# `info.version` of openapi.yaml; a test compares them.
API_VERSION = "1"


@functools.cache
def version() -> str:
    """Return the version of the installed distribution."""
    from importlib import metadata

    try:
        return metadata.version("lunette-sandbox")
    except metadata.PackageNotFoundError:  # a checkout that nobody installed
        return "0+unknown"
