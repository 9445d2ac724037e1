"""The tag `sandboxes` of the contract."""

from __future__ import annotations

import asyncio
import re
import uuid
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lunette.server import _contract
from lunette.server._bodies import read_json as read_checked_json
from lunette.server._bodies import read_unchecked_json
from lunette.server._form import fields_of, read_form, service_of
from lunette.server._json import answer
from lunette.server._lifetimes import Lifetimes
from lunette.server._problems import Problem
from lunette.server._resource import Resource
from lunette.server._waiting import preferred_wait, queried_wait
from lunette.server.engines.protocol import State
from lunette.server.registry import Registry, Sandbox
from lunette.server.spec import check_keys, read_service

__all__ = ["Sandboxes"]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DESTROYED_AT_ONCE = 64
_KEYS = uuid.UUID("6f1f4f2e-3f0c-4d0b-9b35-0d1b8f6c2a17")  # ours alone


class Sandboxes:
    """Make, see and end sandboxes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this tag."""
        return {
            "/sandboxes": Resource(GET=self._list, POST=self._create_from_form),
            "/sandboxes/stop": Resource(POST=self._stop),
            "/sandboxes/{sandbox_id}": Resource(
                PUT=self._create, GET=self._get, DELETE=self._delete
            ),
            "/sandboxes/{sandbox_id}/lifetime": Resource(PUT=self._extend),
        }

    async def _list(self, request: Request) -> Response:
        engine = await self._registry.engine()
        found = [_info(sandbox, engine.name) for sandbox in self._registry.all()]
        return answer({"sandboxes": found})

    async def _create(self, request: Request) -> Response:
        sandbox_id = request.path_params["sandbox_id"]
        if not _UUID.fullmatch(sandbox_id):
            detail = "'sandbox_id' is no UUID in small letters"
            raise Problem(422, "invalid_request", detail, key="sandbox_id")
        body: Any = await read_unchecked_json(request)
        engine = await self._registry.engine()
        check_keys(fields_of(body).get("service"), engine.capabilities)
        _contract.check_body("create_sandbox", body)
        spec = read_service(sandbox_id, body["service"], engine.capabilities)
        lifetimes = Lifetimes(body.get("ttl"), body.get("idle_timeout"))
        wait = preferred_wait(request)
        sandbox, is_new = await self._registry.create(spec, lifetimes, wait=wait)
        if sandbox.status.state is State.PENDING:
            return _pending(sandbox, engine.name)
        return answer(_info(sandbox, engine.name), 201 if is_new else 200)

    async def _create_from_form(self, request: Request) -> Response:
        service = service_of(await read_form(request))
        engine = await self._registry.engine()
        spec = read_service(_id_of_form(request), service, engine.capabilities)
        sandbox, _ = await self._registry.create(spec, wait=preferred_wait(request))
        if sandbox.status.state is State.PENDING:
            return _pending(sandbox, engine.name)
        return answer({"sandbox_id": sandbox.id})

    async def _get(self, request: Request) -> Response:
        _contract.check_query("get_sandbox", request)
        sandbox_id = request.path_params["sandbox_id"]
        sandbox = await self._registry.settled(sandbox_id, queried_wait(request))
        engine = await self._registry.engine()
        return answer(_info(sandbox, engine.name))

    async def _delete(self, request: Request) -> Response:
        _contract.check_parameters("delete_sandbox", request.path_params)
        await self._registry.destroy(request.path_params["sandbox_id"])
        return Response(status_code=204)

    async def _extend(self, request: Request) -> Response:
        body = await read_checked_json(request, "extend_sandbox")
        sandbox = self._registry.extend(request.path_params["sandbox_id"], body["seconds"])
        engine = await self._registry.engine()
        return answer(_info(sandbox, engine.name))

    async def _stop(self, request: Request) -> Response:
        body = await read_checked_json(request, "stop_sandboxes")
        if body.get("save_state"):
            detail = "'save_state' is not supported: there are no snapshots yet"
            raise Problem(422, "not_supported", detail, key="save_state")
        ids: list[str] = list(dict.fromkeys(body["sandbox_ids"]))
        errors = await self._destroy_all(ids)
        return answer(
            {
                "stopped": [i for i in ids if i not in errors],
                "failed": [{"sandbox_id": i, "error": errors[i]} for i in ids if i in errors],
            }
        )

    async def _destroy_all(self, ids: list[str]) -> dict[str, str]:
        """Destroy the sandboxes and return why some could not be."""
        errors: dict[str, str] = {}
        gate = asyncio.Semaphore(_DESTROYED_AT_ONCE)

        async def destroy(sandbox_id: str) -> None:
            if not self._registry.knows(sandbox_id):
                errors[sandbox_id] = f"no sandbox '{sandbox_id}'"
                return
            try:
                async with gate:
                    await self._registry.destroy(sandbox_id)
            except Exception as error:
                errors[sandbox_id] = str(error) or type(error).__name__

        await asyncio.gather(*map(destroy, ids))
        return errors


def _id_of_form(request: Request) -> str:
    """Return the id of a sandbox whose client chose none: of the same key, the same; a key that is
    a UUID is the id.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return str(uuid.uuid4())
    _contract.check_parameters("create_sandbox_from_form", {"Idempotency-Key": key})
    return key if _UUID.fullmatch(key) else str(uuid.uuid5(_KEYS, key))


def _pending(sandbox: Sandbox, engine: str) -> Response:
    response = answer(_info(sandbox, engine), 202)
    response.headers["Preference-Applied"] = "respond-async"
    return response


def _info(sandbox: Sandbox, engine: str) -> dict[str, Any]:
    info: dict[str, Any] = {
        "sandbox_id": sandbox.id,
        "state": sandbox.status.state,
        "engine": engine,
        "service": sandbox.spec.shown,
        "labels": sandbox.spec.labels,
        "created_at": _written(sandbox.created_at),
    }
    if (expires_at := sandbox.lifetime.expires_at()) is not None:
        info["expires_at"] = _written(expires_at)
    if sandbox.status.reason is not None:
        info["reason"] = sandbox.status.reason
    if sandbox.progress is not None:
        info["progress"] = sandbox.progress.to_json()
    if sandbox.status.exit_code is not None:
        info["exit_code"] = sandbox.status.exit_code
    return info


def _written(date: datetime) -> str:
    return date.isoformat().replace("+00:00", "Z")
