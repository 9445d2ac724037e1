"""The files of one sandbox."""

from __future__ import annotations

import builtins
import io
from collections.abc import AsyncGenerator, Generator
from typing import IO, TYPE_CHECKING, Any, overload

from ._async_file import AsyncFile, aopen_file
from ._file_modes import read_mode
from ._operations import _opening, files, tree
from ._remote_file import open_file

if TYPE_CHECKING:
    from ._connector import Link
    from ._file_modes import ReadBinary, ReadText, WriteBinary, WriteText
    from ._operations._paths import RemotePath
    from .results import FileInfo

__all__ = ["AsyncFile", "Files"]


class Files:
    """The files of one sandbox; a relative path starts where its commands do.

    What goes wrong with a file is the `OSError` that Python has for it. A name that is not UTF-8
    is seen in a list, but cannot be asked for: such a file moves in directories.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    def __repr__(self) -> str:
        return f"Files(sandbox_id={self._link.sandbox_id})"

    def list(self, path: RemotePath = ".", *, depth: int | None = 1) -> builtins.list[FileInfo]:
        """Look at what is in a directory, and below it to a *depth*; with None all the way.

        A directory comes before what is in it, else names are in order. Symbolic links are not
        followed. More than 200,000 entries are an error.
        """
        return self._link.run(tree.list_directory, self._link.sandbox_id, path, depth=depth)

    async def alist(
        self, path: RemotePath = ".", *, depth: int | None = 1
    ) -> builtins.list[FileInfo]:
        """Look at what is in a directory, and below it to a *depth*; with None all the way.

        A directory comes before what is in it, else names are in order. Symbolic links are not
        followed. More than 200,000 entries are an error.
        """
        return await self._link.arun(tree.list_directory, self._link.sandbox_id, path, depth=depth)

    def stat(self, path: RemotePath, *, follow_symlinks: bool = True) -> FileInfo:
        """Look at a file or a directory."""
        return self._link.run(
            tree.stat, self._link.sandbox_id, path, follow_symlinks=follow_symlinks
        )

    async def astat(self, path: RemotePath, *, follow_symlinks: bool = True) -> FileInfo:
        """Look at a file or a directory."""
        return await self._link.arun(
            tree.stat, self._link.sandbox_id, path, follow_symlinks=follow_symlinks
        )

    def exists(self, path: RemotePath) -> bool:
        """Whether there is something, which a symbolic link that leads nowhere is not."""
        return self._link.run(tree.exists, self._link.sandbox_id, path)

    async def aexists(self, path: RemotePath) -> bool:
        """Whether there is something, which a symbolic link that leads nowhere is not."""
        return await self._link.arun(tree.exists, self._link.sandbox_id, path)

    def mkdir(
        self,
        path: RemotePath,
        *,
        mode: int = 0o777,
        parents: bool = False,
        exist_ok: bool = False,
    ) -> None:
        """Make a directory, as Python's `Path.mkdir` does."""
        self._link.run(
            tree.mkdir, self._link.sandbox_id, path, mode=mode, parents=parents, exist_ok=exist_ok
        )

    async def amkdir(
        self,
        path: RemotePath,
        *,
        mode: int = 0o777,
        parents: bool = False,
        exist_ok: bool = False,
    ) -> None:
        """Make a directory, as Python's `Path.mkdir` does."""
        await self._link.arun(
            tree.mkdir, self._link.sandbox_id, path, mode=mode, parents=parents, exist_ok=exist_ok
        )

    def remove(self, path: RemotePath, *, recursive: bool = False) -> None:
        """Remove a file, a symbolic link itself, or a directory: one that is empty, or *recursive*
        with all that is in it.
        """
        self._link.run(tree.remove, self._link.sandbox_id, path, recursive=recursive)

    async def aremove(self, path: RemotePath, *, recursive: bool = False) -> None:
        """Remove a file, a symbolic link itself, or a directory: one that is empty, or *recursive*
        with all that is in it.
        """
        await self._link.arun(tree.remove, self._link.sandbox_id, path, recursive=recursive)

    def move(self, source: RemotePath, target: RemotePath) -> None:
        """Move a file or a directory to *target*, which is its new name, not where it goes in.

        A file that is there is replaced, and an empty directory by a directory.
        """
        self._link.run(tree.move, self._link.sandbox_id, source, target)

    async def amove(self, source: RemotePath, target: RemotePath) -> None:
        """Move a file or a directory to *target*, which is its new name, not where it goes in.

        A file that is there is replaced, and an empty directory by a directory.
        """
        await self._link.arun(tree.move, self._link.sandbox_id, source, target)

    @overload
    def open(
        self,
        path: RemotePath,
        mode: ReadText | WriteText = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.TextIOWrapper: ...
    @overload
    def open(
        self,
        path: RemotePath,
        mode: ReadBinary,
        *,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> io.BufferedReader: ...
    @overload
    def open(
        self,
        path: RemotePath,
        mode: WriteBinary,
        *,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> io.BufferedWriter: ...
    @overload
    def open(
        self,
        path: RemotePath,
        mode: str,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]: ...
    def open(
        self,
        path: RemotePath,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """Open a file to read, write, append to or make it, as Python's `open` does; not with `+`.

        What is read is one version of the file: where it changes meanwhile, that is an `OSError`.
        What is written is there when it is closed, whole, and not at all after an error in its
        `with`; what is appended is there as it is flushed. Missing directories are made. Text is
        UTF-8 by default.
        """
        return open_file(self._link, read_mode(path, mode, encoding, errors, newline))

    @overload
    async def aopen(
        self,
        path: RemotePath,
        mode: ReadText | WriteText = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> AsyncFile[str]: ...
    @overload
    async def aopen(
        self,
        path: RemotePath,
        mode: ReadBinary | WriteBinary,
        *,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> AsyncFile[bytes]: ...
    @overload
    async def aopen(
        self,
        path: RemotePath,
        mode: str,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> AsyncFile[Any]: ...
    async def aopen(
        self,
        path: RemotePath,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """Open a file to read, write, append to or make it, as Python's `open` does; not with `+`.

        What is read is one version of the file: where it changes meanwhile, that is an `OSError`.
        What is written is there when it is closed, whole, and not at all after an error in its
        `with`; what is appended is there as it is flushed. Missing directories are made. Text is
        UTF-8 by default.
        """
        return await aopen_file(self._link, read_mode(path, mode, encoding, errors, newline))

    def iter_bytes(self, path: RemotePath) -> Generator[bytes]:
        """Iterate over the bytes of a file as they come.

        After a connection was lost, it goes on by itself where it was.
        """
        return self._link.iterate(_opening.iter_bytes, self._link.sandbox_id, path)

    def aiter_bytes(self, path: RemotePath) -> AsyncGenerator[bytes]:
        """Iterate over the bytes of a file as they come.

        After a connection was lost, it goes on by itself where it was.
        """
        return self._link.aiterate(_opening.iter_bytes, self._link.sandbox_id, path)

    def read_bytes(self, path: RemotePath) -> bytes:
        """Read a file of the sandbox whole."""
        return self._link.run(files.read_bytes, self._link.sandbox_id, path)

    async def aread_bytes(self, path: RemotePath) -> bytes:
        """Read a file of the sandbox whole."""
        return await self._link.arun(files.read_bytes, self._link.sandbox_id, path)

    def read_text(
        self, path: RemotePath, *, encoding: str = "utf-8", errors: str = "strict"
    ) -> str:
        """Read a text file of the sandbox whole; newlines stay as they are."""
        return self._link.run(
            files.read_text, self._link.sandbox_id, path, encoding=encoding, error_mode=errors
        )

    async def aread_text(
        self, path: RemotePath, *, encoding: str = "utf-8", errors: str = "strict"
    ) -> str:
        """Read a text file of the sandbox whole; newlines stay as they are."""
        return await self._link.arun(
            files.read_text, self._link.sandbox_id, path, encoding=encoding, error_mode=errors
        )

    def write_bytes(self, path: RemotePath, data: bytes) -> None:
        """Write a file of the sandbox, whole or not at all; missing directories are made."""
        self._link.run(files.write_bytes, self._link.sandbox_id, path, data)

    async def awrite_bytes(self, path: RemotePath, data: bytes) -> None:
        """Write a file of the sandbox, whole or not at all; missing directories are made."""
        await self._link.arun(files.write_bytes, self._link.sandbox_id, path, data)

    def write_text(self, path: RemotePath, text: str, *, encoding: str = "utf-8") -> None:
        """Write a text file of the sandbox, whole or not at all; newlines stay as they are."""
        self._link.run(files.write_text, self._link.sandbox_id, path, text, encoding=encoding)

    async def awrite_text(self, path: RemotePath, text: str, *, encoding: str = "utf-8") -> None:
        """Write a text file of the sandbox, whole or not at all; newlines stay as they are."""
        await self._link.arun(
            files.write_text, self._link.sandbox_id, path, text, encoding=encoding
        )
