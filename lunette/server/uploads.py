"""The tag `files` of the contract: what comes in many requests."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lunette.server import _contract
from lunette.server._bodies import read_json, require_media_type
from lunette.server._digests import Digest
from lunette.server._intake import Body
from lunette.server._json import answer
from lunette.server._problems import Problem
from lunette.server._resource import Resource
from lunette.server._transfers import fingerprint
from lunette.server._upload import Upload
from lunette.server.engines.files import FileWriter
from lunette.server.engines.protocol import Engine, Handle
from lunette.server.registry import Registry

__all__ = ["Uploads"]


class Uploads:
    """Take files and directories in."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this part."""
        path = "/sandboxes/{sandbox_id}/uploads/{upload_id}"
        return {
            path: Resource(PUT=self._begin, GET=self._get, PATCH=self._send, DELETE=self._abort),
            f"{path}/commit": Resource(PUT=self._commit),
        }

    async def _begin(self, request: Request) -> Response:
        _contract.check_query("begin_upload", request)
        asked = _asked(await read_json(request, "begin_upload"))
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])

        def make() -> Upload:
            errors = functools.partial(self._registry.files_of, sandbox)
            digest = Digest(asked["digest"]) if asked["digest"] else None
            return Upload(request_key, errors, _opening(engine, handle, asked), digest=digest)

        request_key = fingerprint(sorted(asked.items()))
        gates = [sandbox.directories] if asked["format"] == "tar" else []
        name = request.path_params["upload_id"]
        sandbox.uploads.begin(name, request_key, make, *gates)
        with sandbox.uploads.using(name) as upload:
            await upload.ready()
            return _answer(request, upload, upload.size)

    async def _get(self, request: Request) -> Response:
        _contract.check_query("get_upload", request)
        async with self._using(request) as upload:
            return _answer(request, upload, await upload.offset())

    async def _send(self, request: Request) -> Response:
        given = _contract.check_query("send_upload", request)
        require_media_type(request, "application/octet-stream", "")
        async with self._using(request) as upload:
            with Body(request) as body:
                offset, is_whole = await upload.send(int(given["offset"]), body)
            response = _answer(request, upload, offset)
        if not is_whole:  # nobody reads the rest of it
            response.headers["Connection"] = "close"
        return response

    async def _commit(self, request: Request) -> Response:
        _contract.check_query("commit_upload", request)
        body = await read_json(request, "commit_upload")
        async with self._using(request) as upload:
            await upload.commit(int(body["length"]), body.get("digest"))
        return Response(status_code=204)

    async def _abort(self, request: Request) -> Response:
        _contract.check_query("abort_upload", request)
        try:
            sandbox = self._registry.get(request.path_params["sandbox_id"])
            await sandbox.uploads.give_up(request.path_params["upload_id"])
        except Problem as problem:
            if problem.status != 410:  # with the sandbox, the upload is gone
                raise
        return Response(status_code=204)

    @contextlib.asynccontextmanager
    async def _using(self, request: Request) -> AsyncGenerator[Upload]:
        _, sandbox, _ = await self._registry.running(request.path_params["sandbox_id"])
        with sandbox.uploads.using(request.path_params["upload_id"]) as upload:
            yield upload


def _asked(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what *body* asks for, in one form; raise the 422 of what cannot be."""
    asked = {"format": "file", "mode": None, "if_exists": "replace", "digest": None, **body}
    if asked["format"] == "tar":
        for key, only in (("mode", None), ("if_exists", "replace")):
            if asked[key] != only:
                detail = f"'{key}' is of a file, and cannot be given for a directory"
                raise Problem(422, "invalid_request", detail, key=key)
    if asked["mode"] is not None:
        asked["mode"] = int(asked["mode"], 8)
    return asked


def _opening(
    engine: Engine, handle: Handle, asked: Mapping[str, Any]
) -> Callable[[], Awaitable[FileWriter]]:
    path, if_exists = asked["path"], asked["if_exists"]
    if asked["format"] == "tar":
        return lambda: engine.begin_unpack(handle, path)
    return lambda: engine.begin_put(handle, path, mode=asked["mode"], if_exists=if_exists)


def _answer(request: Request, upload: Upload, offset: int) -> Response:
    name = request.path_params["upload_id"]
    return answer({"upload_id": name, "offset": offset, "committed": upload.is_done})
