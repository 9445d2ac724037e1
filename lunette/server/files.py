"""The tag `files` of the contract."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Generator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lunette.server import _contract
from lunette.server._bodies import decode_text, raw, read_json, require_media_type
from lunette.server._json import answer
from lunette.server._problems import Problem, file_errors
from lunette.server._resource import Resource
from lunette.server._waiting import disconnected
from lunette.server.engines.protocol import FileReader
from lunette.server.registry import Registry, Sandbox

__all__ = ["READ_LIMIT", "Files"]

READ_LIMIT = 64 * 1024 * 1024


class Files:
    """Move files in and out of sandboxes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this tag."""
        return {
            "/sandboxes/{sandbox_id}/files": Resource(GET=self._download, PUT=self._upload),
            "/sandboxes/{sandbox_id}/read": Resource(GET=self._read),
            "/sandboxes/{sandbox_id}/write": Resource(POST=self._write),
        }

    async def _download(self, request: Request) -> Response:
        path = _path(request, "download_file")
        sandbox, reader = await self._open(request, path)
        return _Download(self._registry, sandbox, reader)

    async def _upload(self, request: Request) -> Response:
        path = _path(request, "upload_file")
        require_media_type(request, "application/octet-stream", "")
        await self._put(request, path, raw(request))
        return Response(status_code=204)

    async def _read(self, request: Request) -> Response:
        path = _path(request, "read_file")
        sandbox, reader = await self._open(request, path)
        with self._errors(sandbox):
            content = await _content(reader, path)
        return answer(_as_text(content))

    async def _write(self, request: Request) -> Response:
        body = await read_json(request, "write_file")
        path = body["path"]
        content = decode_text(body["content"], body.get("encoding", "utf-8"), "content")
        await self._put(request, path, _once(content))
        return answer({"path": path})

    async def _open(self, request: Request, path: str) -> tuple[Sandbox, FileReader]:
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])
        with self._errors(sandbox):
            return sandbox, await engine.get(handle, path)

    async def _put(self, request: Request, path: str, data: AsyncIterator[bytes]) -> None:
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])
        with self._errors(sandbox):
            await engine.put(handle, path, data)

    @contextlib.contextmanager
    def _errors(self, sandbox: Sandbox) -> Generator[None]:
        with self._registry.work_in(sandbox), file_errors():
            yield


class _Download(Response):
    """A file as the engine yields it; closed on every way out, and left when nobody listens."""

    def __init__(self, registry: Registry, sandbox: Sandbox, reader: FileReader) -> None:
        super().__init__(media_type="application/octet-stream")
        self.headers["content-length"] = str(reader.size)
        self._registry = registry
        self._sandbox = sandbox
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listener = asyncio.create_task(disconnected(receive))
        try:
            with self._registry.work_in(self._sandbox):
                await self._send(send, listener)
        finally:
            listener.cancel()
            await self._reader.aclose()

    async def _send(self, send: Send, listener: asyncio.Task[None]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for chunk in self._reader.chunks():
            if listener.done():
                return
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _path(request: Request, operation: str) -> str:
    query = request.query_params
    _contract.check_parameters(operation, {**request.path_params, **query})
    return query["path"]


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


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
