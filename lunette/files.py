"""The files of one sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._operations import files

if TYPE_CHECKING:
    from ._connector import Link

__all__ = ["Files"]


class Files:
    """The files of one sandbox; a relative path starts where its commands do."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __repr__(self) -> str:
        return f"Files(sandbox_id={self._link.sandbox_id})"

    def read_bytes(self, path: str) -> bytes:
        """Read a file of the sandbox whole."""
        return self._link.run(files.read_bytes, self._link.sandbox_id, path)

    async def aread_bytes(self, path: str) -> bytes:
        """Read a file of the sandbox whole."""
        return await self._link.arun(files.read_bytes, self._link.sandbox_id, path)

    def read_text(self, path: str, *, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Read a text file of the sandbox whole; newlines stay as they are."""
        return self._link.run(
            files.read_text, self._link.sandbox_id, path, encoding=encoding, error_mode=errors
        )

    async def aread_text(
        self, path: str, *, encoding: str = "utf-8", errors: str = "strict"
    ) -> str:
        """Read a text file of the sandbox whole; newlines stay as they are."""
        return await self._link.arun(
            files.read_text, self._link.sandbox_id, path, encoding=encoding, error_mode=errors
        )

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a file of the sandbox, whole or not at all; missing directories are made."""
        self._link.run(files.write_bytes, self._link.sandbox_id, path, data)

    async def awrite_bytes(self, path: str, data: bytes) -> None:
        """Write a file of the sandbox, whole or not at all; missing directories are made."""
        await self._link.arun(files.write_bytes, self._link.sandbox_id, path, data)

    def write_text(self, path: str, text: str, *, encoding: str = "utf-8") -> None:
        """Write a text file of the sandbox, whole or not at all; newlines stay as they are."""
        self._link.run(files.write_text, self._link.sandbox_id, path, text, encoding=encoding)

    async def awrite_text(self, path: str, text: str, *, encoding: str = "utf-8") -> None:
        """Write a text file of the sandbox, whole or not at all; newlines stay as they are."""
        await self._link.arun(
            files.write_text, self._link.sandbox_id, path, text, encoding=encoding
        )
