"""The tag `files` of the contract: what there is, and directories."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lunette.server import _contract
from lunette.server._bodies import read_json
from lunette.server._changes import change
from lunette.server._digests import Digest
from lunette.server._json import answer
from lunette.server._problems import Problem
from lunette.server._resource import Resource
from lunette.server._streaming import Streaming, sliced
from lunette.server.engines.files import Bytes, FileReader, FileStat
from lunette.server.engines.protocol import Engine, Handle, NotARegularFileError
from lunette.server.registry import Registry

__all__ = ["LISTING", "Trees"]

LISTING = 200_000
_DIRECTORY_MODE = "0777"


class Trees:
    """Look at what there is, make directories, and move."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this part."""
        path = "/sandboxes/{sandbox_id}/files"
        return {
            f"{path}/stat": Resource(GET=self._stat),
            f"{path}/list": Resource(GET=self._list),
            f"{path}/directory": Resource(PUT=self._make),
            f"{path}/move": Resource(POST=self._move),
        }

    async def _stat(self, request: Request) -> Response:
        given = _contract.check_query("stat_file", request)
        path, follow = given["path"], given.get("follow_symlinks", True)
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])
        with self._registry.files_of(sandbox):
            found = await engine.stat(handle, path, follow_symlinks=follow)
            info = _info(found)
            if "digest" in given:
                if found.type == "symlink":
                    raise NotARegularFileError(path)
                info |= await _digested(await engine.get(handle, path), path)
        return answer(info)

    async def _list(self, request: Request) -> Response:
        given = _contract.check_query("list_files", request)
        path, depth = given["path"], int(given.get("depth", 1))
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])
        with self._registry.files_of(sandbox):
            listing = await engine.list_directory(handle, path, depth)
            async with contextlib.aclosing(listing):
                blocks = await _joined(listing, path)
        size = sum(map(len, blocks))
        return Streaming(lambda: sliced(blocks), size, media_type="application/json")

    async def _make(self, request: Request) -> Response:
        given = _contract.check_query("make_directory", request)
        path, mode = given["path"], int(given.get("mode", _DIRECTORY_MODE), 8)
        parents, exist_ok = given.get("parents", False), given.get("exist_ok", False)

        async def do(engine: Engine, handle: Handle) -> None:
            await engine.mkdir(handle, path, mode=mode, parents=parents, exist_ok=exist_ok)

        return await change(self._registry, request, ("make", path, mode, parents, exist_ok), do)

    async def _move(self, request: Request) -> Response:
        _contract.check_query("move_file", request)
        body = await read_json(request, "move_file")
        source, target = body["source"], body["target"]

        async def do(engine: Engine, handle: Handle) -> None:
            await engine.move(handle, source, target)

        return await change(self._registry, request, ("move", source, target), do)


async def _digested(reader: FileReader, path: str) -> dict[str, Any]:
    """Read a whole file, and return what that adds to its `FileInfo`."""
    digest, size = Digest(), 0
    async with contextlib.aclosing(reader):
        async for chunk in reader.chunks():
            await digest.update(chunk)
            size += len(chunk)
        if size != reader.size or not await reader.is_as_opened():
            detail = f"'{path}' changed while it was read"
            raise Problem(409, "file_changed", detail, path=path)
        return {"size": size, "etag": reader.etag, "digest": await digest.value()}


async def _joined(listing: Bytes, path: str) -> list[bytes]:
    """Return the `FileList` of lines, in blocks.

    The lines are never parsed, and a line break is nowhere else in JSON of one line.
    """
    blocks, lines, head = [b""], 0, b""
    async for block in listing.chunks():
        lines += block.count(b"\n")
        if lines > LISTING + 1:
            detail = f"'{path}' has more than {LISTING} entries; list fewer levels, or directories"
            raise Problem(413, "listing_too_large", detail, path=path)
        if blocks[0]:
            blocks.append(block.replace(b"\n", b","))
            continue
        head, found, rest = (head + block).partition(b"\n")
        if found:
            blocks = [b'{"directory":%b,"entries":[' % head, rest.replace(b"\n", b",")]
        await asyncio.sleep(0)
    blocks = [block for block in blocks if block]
    if len(blocks) > 1:
        blocks[-1] = blocks[-1].removesuffix(b",")
    return [*blocks, b"]}"]


def _info(found: FileStat) -> dict[str, Any]:
    """Return the `FileInfo` of the contract."""
    name = os.fsencode(found.path)
    info: dict[str, Any] = {
        "path": name.decode(errors="replace"),
        "type": found.type,
        "size": found.size,
        "mode": found.mode,
        "mtime": found.mtime,
        "uid": found.uid,
        "gid": found.gid,
    }
    if info["path"].encode() != name:
        info["path_base64"] = base64.b64encode(name).decode()
    if found.target is not None:
        info["target"] = os.fsencode(found.target).decode(errors="replace")
    return info
