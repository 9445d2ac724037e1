"""The tag `files` of the contract: directories on their way out."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from lunette._ignore import compile_rules
from lunette.server import _contract
from lunette.server._archive import Archive
from lunette.server._bodies import read_json
from lunette.server._problems import Problem
from lunette.server._resource import Resource
from lunette.server._streaming import Streaming, sliced
from lunette.server._transfers import fingerprint
from lunette.server.engines.files import IgnoreRule
from lunette.server.registry import Registry

__all__ = ["Archives"]


class Archives:
    """Let directories out."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resources(self) -> dict[str, Resource]:
        """Return the path of this part."""
        path = "/sandboxes/{sandbox_id}/archives/{archive_id}"
        return {path: Resource(PUT=self._begin, GET=self._read, DELETE=self._end)}

    async def _begin(self, request: Request) -> Response:
        _contract.check_query("begin_archive", request)
        body = await read_json(request, "begin_archive")
        path, ignore = body["path"], body.get("ignore", [])
        rules = await asyncio.to_thread(_rules, ignore)
        asked = await asyncio.to_thread(fingerprint, (path, ignore))
        engine, sandbox, handle = await self._registry.running(request.path_params["sandbox_id"])

        def make() -> Archive:
            errors = functools.partial(self._registry.files_of, sandbox)
            return Archive(asked, errors, lambda: engine.pack(handle, path, rules))

        name = request.path_params["archive_id"]
        sandbox.archives.begin(name, asked, make, sandbox.directories)
        with sandbox.archives.using(name) as archive:
            await archive.ready()
        return Response(status_code=204)

    async def _read(self, request: Request) -> Response:
        given = _contract.check_query("read_archive", request)
        _, sandbox, _ = await self._registry.running(request.path_params["sandbox_id"])
        with sandbox.archives.using(request.path_params["archive_id"]) as archive:
            piece = await archive.read(int(given["offset"]))
        response = Streaming(lambda: sliced([piece.data]), len(piece.data))
        if piece.digest is not None:
            response.headers.update({"Archive-Complete": "?1", "Repr-Digest": piece.digest})
        return response

    async def _end(self, request: Request) -> Response:
        _contract.check_query("end_archive", request)
        try:
            sandbox = self._registry.get(request.path_params["sandbox_id"])
            await sandbox.archives.give_up(request.path_params["archive_id"])
        except Problem as problem:
            if problem.status != 410:  # with the sandbox, the archive is gone
                raise
        return Response(status_code=204)


def _rules(lines: Sequence[str]) -> Sequence[IgnoreRule]:
    try:
        return compile_rules(lines)
    except ValueError as error:
        raise Problem(422, "invalid_request", str(error), key="ignore") from None
