"""Requests that are not those of schemathesis, from an address that tells them apart."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter

__all__ = ["ADDRESS", "session"]

# Loopback too; the server's access log says who asked.
ADDRESS = "127.0.0.2"


class _FromThere(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(ADDRESS, 0), **kwargs)


def session() -> requests.Session:
    """Return one through no proxy: everything stays on this machine."""
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", _FromThere())
    return made
