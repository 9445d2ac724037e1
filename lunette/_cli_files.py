"""`lunette cp`: files and directories, in and out of a sandbox."""

# No `from __future__ import annotations`: typer evaluates annotations.

import errno
import os
import posixpath
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from ._cli_images import shows_progress
from ._cli_processes import ask

if TYPE_CHECKING:
    import typer

    from .client import AsyncLunetteClient
    from .sandbox import Sandbox

__all__ = ["add_file_commands"]

_STANDARD = "-"
_SHORTEST_BEGINNING = 4


class _Place(NamedTuple):
    """A path; of this machine, or of a *sandbox*, which is what the user calls it by."""

    path: str
    sandbox: str | None


def add_file_commands(application: "typer.Typer") -> None:
    """Add the commands to *application*."""
    import typer

    @application.command(no_args_is_help=True)
    def cp(
        source: Annotated[
            str, typer.Argument(help="SANDBOX:PATH, or a path here, or - for stdin.")
        ],
        target: Annotated[str, typer.Argument(help="The same of the other side, or - for stdout.")],
        recursive: Annotated[
            bool, typer.Option("--recursive", "-r", help="Copy directories, and all in them.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
        ignore: Annotated[
            list[str] | None,
            typer.Option(metavar="PATTERN", help="Leave out, as a line of .gitignore; repeatable."),
        ] = None,
        ignore_file: Annotated[
            Path | None,
            typer.Option(
                exists=True, dir_okay=False, help="A file of such lines; they come first."
            ),
        ] = None,
    ) -> None:
        """Copy a file or a directory into a sandbox, or out of one.

        As with `cp`, what is copied to a directory that is there keeps its name in it. SANDBOX is
        an id, as `ps` lists it, or 4 or more letters of its beginning. A path here that has a colon
        is written with a slash before it, such as ./a:b.
        """
        source_place, target_place = _place(source), _place(target)
        if (source_place.sandbox is None) is (target_place.sandbox is None):
            raise typer.BadParameter("one of SOURCE and TARGET is in a sandbox, as SANDBOX:PATH")
        shows = shows_progress() and not quiet
        how = _Manner(recursive, shows, ignore or [], ignore_file)
        with _telling_what_is_left_out():
            raise typer.Exit(ask(lambda client: _copy(client, source_place, target_place, how)))

    _ = cp  # it is called through `application`


class _Manner(NamedTuple):
    """How something is copied."""

    recursive: bool
    progress: bool
    patterns: list[str]
    ignore_file: Path | None

    def ignored(self) -> list[str] | None:
        """Return the lines that say what is left out."""
        if self.ignore_file is None:
            return self.patterns or None
        return [self.ignore_file.read_text(encoding="utf-8"), *self.patterns]


@contextmanager
def _telling_what_is_left_out() -> Generator[None]:
    """Say on stderr what was not copied, once no bar is in the way."""
    import logging.handlers

    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("lunette: %(message)s"))
    kept = logging.handlers.MemoryHandler(100, logging.CRITICAL, shown)
    kept.setLevel(logging.WARNING)
    logger = logging.getLogger("lunette._operations.directories")
    logger.addHandler(kept)
    try:
        yield
    finally:
        logger.removeHandler(kept)
        kept.close()


def _place(given: str) -> _Place:
    sandbox, colon, path = given.partition(":")
    if not colon or not sandbox or "/" in sandbox or sandbox.startswith("."):
        return _Place(given, None)
    return _Place(path or ".", sandbox)


async def _copy(client: "AsyncLunetteClient", source: _Place, target: _Place, how: _Manner) -> None:
    if target.sandbox is not None:
        sandbox = await _find(client, target.sandbox)
        await _copy_in(sandbox, source.path, target.path, how)
    elif source.sandbox is not None:
        sandbox = await _find(client, source.sandbox)
        await _copy_out(sandbox, source.path, target.path, how)


async def _find(client: "AsyncLunetteClient", given: str) -> "Sandbox":
    """Find the sandbox that is *given* by its id, or by the beginning of it."""
    from .errors import SandboxNotFoundError

    try:
        return await client.aget_sandbox(given)
    except SandboxNotFoundError:
        if len(given) < _SHORTEST_BEGINNING:
            raise
        known = [info.sandbox_id for info in await client.alist_sandboxes()]
        begun = [sandbox_id for sandbox_id in known if sandbox_id.startswith(given)]
        if not begun:
            raise
    if len(begun) > 1:
        raise ValueError(f"{given!r} means more than one sandbox: {', '.join(begun)}")
    return await client.aget_sandbox(begun[0])


async def _copy_in(sandbox: "Sandbox", source: str, target: str, how: _Manner) -> None:
    if source == _STANDARD:
        await sandbox.aupload(sys.stdin.buffer, target, ignore=how.ignored())
        return
    if _is_directory_here(source):
        _want_recursive(source, how)
    if await _is_directory(sandbox, target):
        target = posixpath.join(target, _name(source))
    await sandbox.aupload(source, target, ignore=how.ignored(), progress=how.progress)


async def _copy_out(sandbox: "Sandbox", source: str, target: str, how: _Manner) -> None:
    if target == _STANDARD:
        await sandbox.adownload(source, sys.stdout.buffer, ignore=how.ignored())
        return
    if await _is_directory(sandbox, source):
        _want_recursive(source, how)
    if _is_directory_here(target):
        target = os.path.join(target, _name(source))  # noqa: PTH118 - pathlib drops a last "."
    await sandbox.adownload(source, target, ignore=how.ignored(), progress=how.progress)


def _name(source: str) -> str:
    """Return the name of what is copied; of `directory/.` that is a dot, as `cp` has it."""
    return posixpath.basename(source.rstrip("/"))


def _is_directory_here(path: str) -> bool:
    return Path(path).is_dir()


async def _is_directory(sandbox: "Sandbox", path: str) -> bool:
    from .errors import NotSupportedError

    try:
        found = await sandbox.files.astat(path)
    except (FileNotFoundError, NotADirectoryError, NotSupportedError):
        return False
    return found.is_dir()


def _want_recursive(path: str, how: _Manner) -> None:
    if not how.recursive:
        raise IsADirectoryError(errno.EISDIR, "Is a directory, which -r copies", path)
