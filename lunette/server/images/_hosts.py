"""Registries that need no certificate: those on this machine, and those that are named."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection

import httpx

__all__ = ["InsecureHosts", "is_loopback"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


class InsecureHosts:
    """Hosts that may speak plain HTTP: *named* ones, as HOST or HOST:PORT, and loopback ones."""

    def __init__(self, named: Collection[str] = ()) -> None:
        self._named = {host.strip().lower().rstrip("/") for host in named}

    def __contains__(self, url: object) -> bool:
        if not isinstance(url, httpx.URL):
            return False
        host = f"[{url.host}]" if ":" in url.host else url.host
        port = url.port or _DEFAULT_PORTS.get(url.scheme)
        return is_loopback(url) or not self._named.isdisjoint({host, url.host, f"{host}:{port}"})


def is_loopback(url: httpx.URL) -> bool:
    """Say whether *url* is on this machine, whatever a resolver might say."""
    if url.host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(url.host).is_loopback
    return False
