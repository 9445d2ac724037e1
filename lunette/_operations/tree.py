"""What is where in a sandbox: look at it, list it, make, remove and move it."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import base64
import errno
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .._io import IO
from ..results import FileInfo
from . import parsed, published
from ._modes import octal
from ._paths import RemotePath, remote_path
from .server import is_published

if TYPE_CHECKING:
    import httpx

__all__ = ["exists", "list_directory", "mkdir", "move", "remove", "stat"]

_DEEPEST = 4096
# A larger answer takes longer to read than an event loop should be held up.
_LARGE = 64 * 1024
# Of a path that leads nowhere: a link in a circle and a name too long to be do not either.
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


async def list_directory(
    io: IO, sandbox_id: str, path: RemotePath, *, depth: int | None
) -> list[FileInfo]:
    """Look at what is in a directory, *depth* levels deep, or all the way."""
    from lunette_api.api.files import list_files

    if depth is not None and (isinstance(depth, bool) or not 1 <= depth <= _DEEPEST):
        raise ValueError(f"depth must be from 1 to {_DEEPEST}, or None for all, not {depth!r}")
    request = list_files._get_kwargs(sandbox_id, path=remote_path(path), depth=depth or 0)
    await _refuse_if_published(io, "files.list")
    answer = await io.send(request)
    if len(answer.content) < _LARGE:
        return parsed(answer, _listed)
    return await io.call(_parsed_listing, answer)


async def stat(io: IO, sandbox_id: str, path: RemotePath, *, follow_symlinks: bool) -> FileInfo:
    """Look at a file or a directory."""
    from lunette_api.api.files import stat_file

    request = stat_file._get_kwargs(
        sandbox_id, path=remote_path(path), follow_symlinks=bool(follow_symlinks)
    )
    await _refuse_if_published(io, "files.stat")
    return parsed(await io.send(request), _info)


async def exists(io: IO, sandbox_id: str, path: RemotePath) -> bool:
    """Whether a path leads to something."""
    try:
        await stat(io, sandbox_id, path, follow_symlinks=True)
    except OSError as error:
        if error.errno in _NOWHERE:
            return False
        raise
    return True


async def mkdir(
    io: IO, sandbox_id: str, path: RemotePath, *, mode: int, parents: bool, exist_ok: bool
) -> None:
    """Make a directory."""
    from lunette_api.api.files import make_directory

    request = make_directory._get_kwargs(
        sandbox_id,
        path=remote_path(path),
        mode=octal(mode),
        parents=bool(parents),
        exist_ok=bool(exist_ok),
        idempotency_key=uuid4().hex,
    )
    await _refuse_if_published(io, "files.mkdir")
    await io.send(request)


async def remove(io: IO, sandbox_id: str, path: RemotePath, *, recursive: bool) -> None:
    """Remove a file, a symbolic link or a directory."""
    from lunette_api.api.files import remove_file

    request = remove_file._get_kwargs(
        sandbox_id,
        path=remote_path(path),
        recursive=bool(recursive),
        idempotency_key=uuid4().hex,
    )
    await _refuse_if_published(io, "files.remove")
    # A large tree takes its time.
    await io.send(request, patient=True)


async def move(io: IO, sandbox_id: str, source: RemotePath, target: RemotePath) -> None:
    """Move or rename a file or a directory."""
    from lunette_api.api.files import move_file
    from lunette_api.models import MoveRequest

    body = MoveRequest(source=remote_path(source), target=remote_path(target))
    request = move_file._get_kwargs(sandbox_id, body=body, idempotency_key=uuid4().hex)
    await _refuse_if_published(io, "files.move")
    await io.send(request, patient=True)


async def _refuse_if_published(io: IO, verb: str) -> None:
    if await is_published(io):
        raise published.refuse(verb, "a command can")


def _parsed_listing(answer: httpx.Response) -> list[FileInfo]:
    return parsed(answer, _listed)


def _listed(answer: Any) -> list[FileInfo]:
    folder = str(answer["directory"]).rstrip("/") + "/"
    return [_info(entry, folder) for entry in answer["entries"]]


def _info(fields: Any, folder: str = "") -> FileInfo:
    return FileInfo(
        path=folder + _path(fields),
        type=fields["type"],
        size=fields["size"],
        mode=fields["mode"],
        mtime=fields["mtime"],
        uid=fields["uid"],
        gid=fields["gid"],
        target=fields.get("target"),
    )


def _path(fields: Any) -> str:
    if "path_base64" not in fields:
        return str(fields["path"])
    return base64.b64decode(fields["path_base64"]).decode("utf-8", "surrogateescape")
