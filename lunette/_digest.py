"""The digest of a transfer, which sees each byte once however often it passes."""

from __future__ import annotations

import base64
import hashlib
from typing import Protocol

__all__ = ["Digest", "Sha256", "Xxh3", "sha256"]


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class Digest:
    """What was seen, from so many bytes on."""

    algorithm: str

    def __init__(self, hashing: _Hash, size: int) -> None:
        self._hash = hashing
        self.size = size

    def __str__(self) -> str:
        """Return it as a dictionary member of RFC 9530."""
        return f"{self.algorithm}=:{base64.b64encode(self._hash.digest()).decode()}:"

    def see(self, at: int, chunk: bytes) -> None:
        """See a *chunk* that begins *at* so many bytes; what was seen before is left out."""
        new = memoryview(chunk)[self.size - at :]
        self._hash.update(new)
        self.size += len(new)


class Xxh3(Digest):
    """The fastest: measured, it costs a tenth of the fastest of hashlib.

    It finds what goes wrong by accident; against who wants to change what is sent there is TLS.
    """

    algorithm = "xxh3-64"

    def __init__(self, size: int = 0) -> None:
        import xxhash  # not before something is sent

        super().__init__(xxhash.xxh3_64(), size)


class Sha256(Digest):
    """That of which RFC 9530 approves, for its header fields."""

    algorithm = "sha-256"

    def __init__(self) -> None:
        super().__init__(hashlib.sha256(), 0)


def sha256(content: bytes) -> str:
    """Return the digest of *content* as a dictionary member of RFC 9530."""
    digest = Sha256()
    digest.see(0, content)
    return str(digest)
