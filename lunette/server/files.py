"""The tag `files` of the contract: a file as one body, and its end."""

from __future__ import annotations

import base64
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lunette.server import _contract
from lunette.server._blocks import Blocks
from lunette.server._bodies import decode_text, raw, read_json, require_media_type
from lunette.server._changes import change
from lunette.server._digests import Digest, mismatch, sent_digest
from lunette.server._intake import Body, Intake
from lunette.server._json import answer
from lunette.server._problems import Problem
from lunette.server._ranges import asked_range, check_match
from lunette.server._resource import Resource
from lunette.server._streaming import Streaming
from lunette.server.engines.files import FileReader, FileWriter
from lunette.server.engines.protocol import Engine, Handle
from lunette.server.registry import Registry, Sandbox

__all__ = ["READ_LIMIT", "Files"]

READ_LIMIT = 64 * 1024 * 1024


class Files:
    """Move files in and out of sandboxes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this part."""
        return {
            "/sandboxes/{sandbox_id}/files": Resource(
                GET=self._download, PUT=self._upload, DELETE=self._remove
            ),
            "/sandboxes/{sandbox_id}/read": Resource(GET=self._read),
            "/sandboxes/{sandbox_id}/write": Resource(POST=self._write),
        }

    async def _download(self, request: Request) -> Response:
        path: str = _contract.check_query("download_file", request)["path"]
        sandbox, reader = await self._open(request, path)
        try:
            return _Download(self._registry, sandbox, reader, request.headers, path)
        except Problem:
            await reader.aclose()
            raise

    async def _upload(self, request: Request) -> Response:
        given = _contract.check_query("upload_file", request)
        require_media_type(request, "application/octet-stream", "")
        digest = sent_digest(request.headers.getlist("repr-digest"))
        mode = int(given["mode"], 8) if "mode" in given else None
        with Body(request) as body:
            fill = functools.partial(_fill, body=body, expected=digest)
            await self._put(request, given["path"], fill, mode=mode)
        return Response(status_code=204)

    async def _remove(self, request: Request) -> Response:
        given = _contract.check_query("remove_file", request)
        path, recursive = given["path"], given.get("recursive", False)

        async def do(engine: Engine, handle: Handle) -> None:
            await engine.remove(handle, path, recursive=recursive)

        return await change(self._registry, request, ("remove", path, recursive), do)

    async def _read(self, request: Request) -> Response:
        path: str = _contract.check_query("read_file", request)["path"]
        sandbox, reader = await self._open(request, path)
        with self._registry.files_of(sandbox):
            content = await _content(reader, path)
        return answer(_as_text(content))

    async def _write(self, request: Request) -> Response:
        body = await read_json(request, "write_file")
        path = body["path"]
        content = decode_text(body["content"], body.get("encoding", "utf-8"), "content")
        await self._put(request, path, lambda writer: writer.write(content))
        return answer({"path": path})

    async def _open(self, request: Request, path: str) -> tuple[Sandbox, FileReader]:
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])
        with self._registry.files_of(sandbox):
            return sandbox, await engine.get(handle, path)

    async def _put(
        self,
        request: Request,
        path: str,
        fill: Callable[[FileWriter], Awaitable[None]],
        *,
        mode: int | None = None,
    ) -> None:
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])
        with self._registry.files_of(sandbox), sandbox.puts.begun(path) as put:
            writer = await engine.begin_put(handle, path, mode=mode)
            try:
                await fill(writer)
                await put.commit(writer)
            except BaseException:
                await writer.abort()
                raise


class _Download(Streaming):
    """A file or a part of it as the engine yields it, closed on every way out."""

    def __init__(
        self,
        registry: Registry,
        sandbox: Sandbox,
        reader: FileReader,
        headers: Mapping[str, str],
        path: str,
    ) -> None:
        check_match(headers, reader.etag, path)
        found = asked_range(headers, reader.etag, reader.size)
        start, stop = found or (0, reader.size)
        super().__init__(
            lambda: reader.chunks(start, stop), stop - start, status=206 if found else 200
        )
        self.headers.update({"ETag": reader.etag, "Accept-Ranges": "bytes"})
        if found is not None:
            self.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{reader.size}"
        self._registry = registry
        self._sandbox = sandbox
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._registry.work_in(self._sandbox):
                await super().__call__(scope, receive, send)
        finally:
            await self._reader.aclose()


async def _fill(writer: FileWriter, body: Body, expected: str | None) -> None:
    """Write all of a *body*; raise the problem of one whose digest is not as *expected*."""
    digest = None if expected is None else Digest()
    blocks = Blocks(writer, digest)
    try:
        async for chunk in raw(body.receive):
            await blocks.add(chunk)
            del chunk  # the next may be long in coming
        await blocks.flush()
    finally:
        await blocks.settle()
    await _take(writer, body.intake, digest)
    if digest is not None and (found := await digest.value()) != expected:
        raise mismatch(f"the digest of what came is {found}, and not {expected}")


async def _take(writer: FileWriter, intake: Intake | None, digest: Digest | None) -> None:
    while intake is not None and intake.left:
        await intake.ready()
        if intake.is_cut:
            raise ClientDisconnect
        await writer.write_from(intake.take(digest))


async def _content(reader: FileReader, path: str) -> bytes:
    try:
        if reader.size > READ_LIMIT:
            detail = f"'{path}' has {reader.size} bytes, over {READ_LIMIT}; use GET .../files"
            raise Problem(413, "file_too_large", detail, path=path)
        return b"".join([chunk async for chunk in reader.chunks()])
    finally:
        await reader.aclose()


def _as_text(content: bytes) -> dict[str, Any]:
    try:
        return {"content": content.decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"content": base64.b64encode(content).decode(), "encoding": "base64"}
