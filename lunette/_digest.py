"""The digest of a transfer, which sees each byte once however often it passes."""

from __future__ import annotations

import base64
import hashlib

__all__ = ["Digest"]


class Digest:
    """The sha-256 of what was seen: the fastest of the standard library that RFC 9530 has."""

    def __init__(self, size: int = 0) -> None:
        self._hash = hashlib.sha256()
        self.size = size

    def __str__(self) -> str:
        """Return it as a dictionary member of RFC 9530."""
        return f"sha-256=:{base64.b64encode(self._hash.digest()).decode()}:"

    def see(self, at: int, chunk: bytes) -> None:
        """See a *chunk* that begins *at* so many bytes; what was seen before is left out."""
        new = memoryview(chunk)[self.size - at :]
        self._hash.update(new)
        self.size += len(new)
