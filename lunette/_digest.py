"""The digest of a transfer, which sees each byte once however often it passes."""

from __future__ import annotations

import base64
import hashlib
from abc import ABC, abstractmethod

__all__ = ["Digest", "Sha256", "Xxh3", "sha256"]


class Digest(ABC):
    """What was seen, from so many bytes on."""

    algorithm: str

    def __init__(self, size: int = 0) -> None:
        self.size = size

    def __str__(self) -> str:
        """Return it as a dictionary member of RFC 9530."""
        return f"{self.algorithm}=:{base64.b64encode(self._value()).decode()}:"

    def see(self, at: int, chunk: bytes) -> None:
        """See a *chunk* that begins *at* so many bytes; what was seen before is left out."""
        new = memoryview(chunk)[self.size - at :]
        self._update(new)
        self.size += len(new)

    @abstractmethod
    def _update(self, data: memoryview) -> None: ...

    @abstractmethod
    def _value(self) -> bytes: ...


class Xxh3(Digest):
    """The fastest: measured, it costs a tenth of the fastest of hashlib.

    It finds what goes wrong by accident; against who wants to change what is sent there is TLS.
    """

    algorithm = "xxh3-64"

    def __init__(self, size: int = 0) -> None:
        import xxhash  # not before something is sent

        super().__init__(size)
        self._hash = xxhash.xxh3_64()

    def _update(self, data: memoryview) -> None:
        self._hash.update(data)

    def _value(self) -> bytes:
        return self._hash.digest()


class Sha256(Digest):
    """That of which RFC 9530 approves, for its header fields."""

    algorithm = "sha-256"

    def __init__(self, size: int = 0) -> None:
        super().__init__(size)
        self._hash = hashlib.sha256()

    def _update(self, data: memoryview) -> None:
        self._hash.update(data)

    def _value(self) -> bytes:
        return self._hash.digest()


def sha256(content: bytes) -> str:
    """Return the digest of *content* as a dictionary member of RFC 9530."""
    digest = Sha256()
    digest.see(0, content)
    return str(digest)
