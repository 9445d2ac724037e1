"""The files of sandboxes, as an engine is asked for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lunette.server.engines.bubblewrap._file_system import FileSystem
from lunette.server.engines.bubblewrap._sandbox import BubblewrapSandbox
from lunette.server.engines.files import (
    Bytes,
    FileReader,
    FileStat,
    FileWriter,
    IfExists,
    IgnoreRule,
)
from lunette.server.engines.protocol import Handle

__all__ = ["EngineFiles"]


class EngineFiles(ABC):
    """The part of `Engine` in the protocol that is about files."""

    @abstractmethod
    def _find(self, handle: Handle) -> BubblewrapSandbox: ...

    def _files(self, handle: Handle) -> FileSystem:
        sandbox = self._find(handle)
        sandbox.check_not_paused()
        return sandbox.files

    async def get(self, handle: Handle, path: str) -> FileReader:
        return await self._files(handle).open(path)

    async def begin_put(
        self,
        handle: Handle,
        path: str,
        *,
        mode: int | None = None,
        if_exists: IfExists = "replace",
    ) -> FileWriter:
        files = self._files(handle)
        return await files.begin_put(path, mode=mode, if_exists=if_exists)

    async def begin_unpack(self, handle: Handle, path: str) -> FileWriter:
        return await self._files(handle).begin_unpack(path)

    async def pack(self, handle: Handle, path: str, rules: Sequence[IgnoreRule]) -> Bytes:
        return await self._files(handle).pack(path, rules)

    async def list_directory(self, handle: Handle, path: str, depth: int) -> Bytes:
        return await self._files(handle).list_directory(path, depth)

    async def stat(self, handle: Handle, path: str, *, follow_symlinks: bool) -> FileStat:
        return await self._files(handle).stat(path, follow_symlinks=follow_symlinks)

    async def mkdir(
        self, handle: Handle, path: str, *, mode: int, parents: bool, exist_ok: bool
    ) -> None:
        files = self._files(handle)
        await files.mkdir(path, mode=mode, parents=parents, exist_ok=exist_ok)

    async def remove(self, handle: Handle, path: str, *, recursive: bool) -> None:
        await self._files(handle).remove(path, recursive=recursive)

    async def move(self, handle: Handle, source: str, target: str) -> None:
        await self._files(handle).move(source, target)
