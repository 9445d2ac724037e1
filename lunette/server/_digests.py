"""Digests as RFC 9530 writes them, computed off the loop."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import xxhash

from lunette.server._problems import Problem

__all__ = ["Digest", "mismatch", "sent_digest"]

_FIELD = "Repr-Digest"
# What is shorter is hashed in less time than a thread takes to begin.
_SMALL = 64 * 1024
_SIZE = 32
# Hashing waits for nothing, and must not behind what does.
_pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="lunette-digests")
_MEMBER = re.compile(r"sha-256=(.*)")
_BYTES = re.compile(r":([A-Za-z0-9+/]*={0,2}):(?: *;.*)?")


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


_NEW: dict[str, Callable[[], _Hash]] = {"sha-256": hashlib.sha256, "xxh3-64": xxhash.xxh3_64}


class Digest:
    """The digest of what comes, one block after another, by a `DigestAlgorithm` of openapi.yaml."""

    def __init__(self, algorithm: str = "sha-256") -> None:
        self.algorithm = algorithm
        self._hash: _Hash = _NEW[algorithm]()
        self._last: asyncio.Future[None] | None = None

    async def update(self, data: bytes) -> None:
        """Take *data*; a large block is hashed in a thread, while the caller goes on."""
        await self.settle()
        if len(data) <= _SMALL:
            self.see(data)
        else:
            loop = asyncio.get_running_loop()
            self._last = loop.run_in_executor(_pool, self.see, data)

    async def value(self) -> str:
        """Return the digest of all that came, as a member of `Repr-Digest`."""
        await self.settle()
        return f"{self.algorithm}=:{base64.b64encode(self._hash.digest()).decode()}:"

    def see(self, data: bytes | memoryview) -> None:
        """Take *data* here and now, with nothing else under way."""
        self._hash.update(data)

    async def settle(self) -> None:
        """Wait until all that was given is seen."""
        if self._last is not None and not self._last.done():
            await asyncio.wait([self._last])  # cancelled, it must not cancel the thread's


def sent_digest(fields: Iterable[str]) -> str | None:
    """Return the digest that the header *fields* name, as `Digest.value` writes it."""
    found = [
        value[1]
        for member in ",".join(fields).split(",")
        if (value := _MEMBER.fullmatch(member.strip()))
    ]
    if not found:
        return None
    encoded = _BYTES.fullmatch(found[-1])
    if encoded is None or not _is_digest(encoded[1]):
        detail = f"'{_FIELD}' has no sha-256 in base64 between colons"
        raise Problem(422, "invalid_request", detail, key=_FIELD)
    return f"sha-256=:{encoded[1]}:"


def mismatch(what: str) -> Problem:
    """Return the problem of bytes that are not those that were announced."""
    return Problem(400, "digest_mismatch", what)


def _is_digest(encoded: str) -> bool:
    try:
        return len(base64.b64decode(encoded, validate=True)) == _SIZE
    except binascii.Error:
        return False
