"""Make, see and end sandboxes."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .. import errors
from .._io import IO
from . import abandon, may_have_acted, parsed

if TYPE_CHECKING:
    from lunette_api.models import SandboxInfo as WireInfo

    from ..results import SandboxInfo, StopResult

__all__ = ["create", "destroy", "get", "list_all", "stop"]

logger = logging.getLogger(__name__)


async def create(io: IO, service: Mapping[str, Any]) -> str:
    """Make a sandbox and return its id."""
    from lunette_api.api.sandboxes import create_sandbox, delete_sandbox
    from lunette_api.models import CreateSandbox, SandboxInfo, Service

    # The id is the client's, so that a sandbox whose answer never came can be destroyed by it.
    sandbox_id = str(uuid4())
    body = CreateSandbox(service=Service.from_dict(service))
    try:
        response = await io.send(create_sandbox._get_kwargs(sandbox_id, body=body))
        parsed(response, SandboxInfo.from_dict)
    except BaseException as error:
        if may_have_acted(error):
            await abandon(io, delete_sandbox._get_kwargs(sandbox_id))
        raise
    return sandbox_id


async def get(io: IO, sandbox_id: str) -> SandboxInfo:
    """Look at one sandbox."""
    from lunette_api.api.sandboxes import get_sandbox
    from lunette_api.models import SandboxInfo

    response = await io.send(get_sandbox._get_kwargs(sandbox_id))
    return _info(parsed(response, SandboxInfo.from_dict))


async def list_all(io: IO) -> list[SandboxInfo]:
    """Look at every sandbox that the key can see."""
    from lunette_api.api.sandboxes import list_sandboxes
    from lunette_api.models import SandboxList

    answer = parsed(await io.send(list_sandboxes._get_kwargs()), SandboxList.from_dict)
    return [_info(info) for info in answer.sandboxes]


async def stop(io: IO, sandbox_ids: Iterable[str]) -> StopResult:
    """Destroy many sandboxes."""
    from lunette_api.api.sandboxes import stop_sandboxes
    from lunette_api.models import StopRequest
    from lunette_api.models import StopResult as WireResult

    from ..results import StopFailure, StopResult

    request = stop_sandboxes._get_kwargs(body=StopRequest(sandbox_ids=_ids(sandbox_ids)))
    answer = parsed(await io.send(request), WireResult.from_dict)
    failed = [StopFailure(failure.sandbox_id, failure.error) for failure in answer.failed]
    return StopResult(answer.stopped, failed)


async def destroy(io: IO, sandbox_id: str) -> None:
    """Destroy a sandbox; one that is gone already is no error."""
    from lunette_api.api.sandboxes import delete_sandbox

    try:
        await io.send(delete_sandbox._get_kwargs(sandbox_id))
    except errors.SandboxDestroyedError as error:
        logger.debug("[%s] was gone: %s", sandbox_id, error)


def _ids(sandbox_ids: Iterable[str]) -> list[str]:
    if isinstance(sandbox_ids, str):
        raise TypeError("sandbox_ids must be several ids, such as [sandbox.sandbox_id], not one")
    ids = list(sandbox_ids)
    for sandbox_id in ids:
        # Not every caller has a type checker.
        if not isinstance(sandbox_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"sandbox_ids: {sandbox_id!r} must be a string")
    return ids


def _info(wire: WireInfo) -> SandboxInfo:
    from ..results import SandboxInfo

    return SandboxInfo(
        sandbox_id=wire.sandbox_id,
        state=wire.state.value,
        reason=wire.reason or None,
        exit_code=wire.exit_code if isinstance(wire.exit_code, int) else None,
        engine=wire.engine,
        service=wire.service.to_dict(),
        labels=wire.labels.to_dict(),
        created_at=wire.created_at,
    )
