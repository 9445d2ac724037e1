"""The tag `files` of the contract: what there is, and directories."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import Generator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lunette.server import _contract
from lunette.server._bodies import read_json
from lunette.server._changes import change
from lunette.server._digests import Digest
from lunette.server._json import answer
from lunette.server._load import scan_gate
from lunette.server._problems import Problem
from lunette.server._resource import Resource
from lunette.server._streaming import Streaming, sliced
from lunette.server._waiting import while_listened
from lunette.server.engines.files import Bytes, FileReader, FileStat
from lunette.server.engines.protocol import Engine, Handle, NotARegularFileError
from lunette.server.registry import Registry, Sandbox

__all__ = ["LISTING", "Trees"]

# All as in openapi.yaml.
LISTING = 200_000
_LISTING_BYTES = 64 << 20
_DIRECTORY_MODE = "0777"


class Trees:
    """Look at what there is, make directories, and move."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._scans = scan_gate()

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

        async def digested() -> dict[str, Any]:
            digest = Digest(given["digest"])
            return await self._digested(sandbox, await engine.get(handle, path), path, digest)

        with self._registry.files_of(sandbox):
            found = await engine.stat(handle, path, follow_symlinks=follow)
            info = _info(found)
            if "digest" in given:
                if found.type == "symlink":
                    raise NotARegularFileError(path)
                with self._scan(sandbox):
                    info |= await while_listened(request.receive, digested())
        return answer(info)

    async def _list(self, request: Request) -> Response:
        given = _contract.check_query("list_files", request)
        path, depth = given["path"], int(given.get("depth", 1))
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])

        async def listed() -> list[bytes]:
            listing = await engine.list_directory(handle, path, depth)
            async with contextlib.aclosing(listing):
                return await _joined(listing, path)

        with contextlib.ExitStack() as places:
            places.enter_context(self._scan(sandbox))
            with self._registry.files_of(sandbox):
                blocks = await while_listened(request.receive, listed())
            return _Listing(blocks, places.pop_all())

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

    @contextlib.contextmanager
    def _scan(self, sandbox: Sandbox) -> Generator[None]:
        with sandbox.scans.entered(), self._scans.entered():
            yield

    async def _digested(
        self, sandbox: Sandbox, reader: FileReader, path: str, digest: Digest
    ) -> dict[str, Any]:
        """Read a whole file, and return what that adds to its `FileInfo`."""
        size = 0
        async with contextlib.aclosing(reader):
            async for chunk in reader.chunks():
                if sandbox.is_going:  # the file, which is open, does not go with it
                    await self._registry.running(sandbox.id)
                await digest.update(chunk)
                size += len(chunk)
            if size != reader.size or not await reader.is_as_opened():
                detail = f"'{path}' changed while it was read"
                raise Problem(409, "file_changed", detail, path=path)
            return {"size": size, "etag": reader.etag, "digest": await digest.value()}


class _Listing(Streaming):
    """It keeps its *places* until it is sent, since all of it is in memory."""

    def __init__(self, blocks: Sequence[bytes], places: contextlib.ExitStack) -> None:
        size = sum(map(len, blocks))
        super().__init__(lambda: sliced(blocks), size, media_type="application/json")
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._places:
            await super().__call__(scope, receive, send)


async def _joined(listing: Bytes, path: str) -> list[bytes]:
    """Return the `FileList` of lines, in blocks.

    The lines are never parsed, and a line break is nowhere else in JSON of one line.
    """
    blocks, lines, size, head = [b""], 0, 0, b""
    async for block in listing.chunks():
        lines += block.count(b"\n")
        size += len(block)
        if lines > LISTING + 1:
            raise _too_large(path, f"'{path}' has more than {LISTING} entries")
        if size > _LISTING_BYTES:
            what = f"the answer for '{path}' is over {_LISTING_BYTES} bytes, its names are so long"
            raise _too_large(path, what)
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


def _too_large(path: str, what: str) -> Problem:
    detail = f"{what}; list fewer levels, or directories"
    return Problem(413, "listing_too_large", detail, path=path)


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
