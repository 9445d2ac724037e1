"""Make, see and end sandboxes."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .. import _leftovers, errors
from .._io import IO, Request
from .._progress import LOOK_SECONDS, Report
from .._retry import may_have_acted
from . import abandon, at_last, parsed, preference, published, seconds_to_wait
from ._command import seconds
from .server import is_published

if TYPE_CHECKING:
    import httpx
    from lunette_api.models import SandboxInfo as WireInfo

    from .._build import Build
    from ..results import SandboxInfo, StopResult
    from ..service import Specification

__all__ = ["create", "destroy", "extend", "get", "list_all", "stop", "stop_the_left"]

logger = logging.getLogger(__name__)

_STOPPED_AT_ONCE = 1000


async def create(
    io: IO,
    wanted: Specification,
    report: Report | None = None,
    *,
    ttl: float | None = None,
    idle_timeout: float | None = None,
) -> str:
    """Make a sandbox and return its id; *report* is told how far its image is."""
    lifetimes = _lifetimes(ttl=ttl, idle_timeout=idle_timeout)
    is_plain = await is_published(io)
    if lifetimes and (is_plain or wanted.build is not None):
        what = "create_sandbox" if is_plain else "create_sandbox from a Dockerfile"
        raise published.refuse(f"{what} with {' and '.join(lifetimes)}", "destroy it yourself")
    if is_plain:
        return await _create_published(io, wanted)
    # The id is the client's, so that a sandbox whose answer never came can be destroyed by it.
    sandbox_id = str(uuid4())
    if wanted.build is not None:
        return await _create_built(io, sandbox_id, wanted.service, wanted.build, report)
    request = _create_request(sandbox_id, wanted.service, lifetimes, preference(io, report))
    async with _undone(io, sandbox_id) as undo:
        response = await io.send(request)
        undo.accepted = response.status_code == 202
        await _made(io, sandbox_id, response, report)
    return sandbox_id


def _lifetimes(**given: float | None) -> dict[str, float]:
    return {name: seconds(value, name) for name, value in given.items() if value is not None}


def _create_request(
    sandbox_id: str, service: Mapping[str, Any], lifetimes: Mapping[str, float], prefer: str
) -> Request:
    from lunette_api.api.sandboxes import create_sandbox
    from lunette_api.models import CreateSandbox, Service

    # Not read by the model: whatever a value is, it is for the server to refuse.
    wire = Service(image=service["image"])
    wire.additional_properties = dict(service)
    body = CreateSandbox(service=wire, **lifetimes)
    return create_sandbox._get_kwargs(sandbox_id, body=body, prefer=prefer)


async def _create_built(
    io: IO, key: str, service: Mapping[str, Any], build: Build, report: Report | None
) -> str:
    headers = {"Idempotency-Key": key, "Prefer": preference(io, report)}
    async with _undone(io, key) as undo:
        response = await published.send_form(io, service, build, headers)
        undo.accepted = response.status_code == 202
        sandbox_id = str(parsed(response, lambda answer: answer["sandbox_id"]))
        if undo.accepted:
            await _made(io, sandbox_id, response, report)
    return sandbox_id


class _Undo:
    accepted = False


@asynccontextmanager
async def _undone(io: IO, sandbox_id: str) -> AsyncGenerator[_Undo]:
    """Destroy the sandbox if making it fails, and something may have been made."""
    from lunette_api.api.sandboxes import delete_sandbox

    undo = _Undo()
    try:
        yield undo
    except BaseException as error:
        if undo.accepted or may_have_acted(error):
            await abandon(io, delete_sandbox._get_kwargs(sandbox_id))
        raise


async def _create_published(io: IO, wanted: Specification) -> str:
    try:
        return await published.create(io, wanted.service, wanted.build)
    except BaseException as error:
        if may_have_acted(error):  # its id was in the answer
            logger.warning("a sandbox may be left on the server, which has no way to find it")
        raise


async def _made(io: IO, sandbox_id: str, response: httpx.Response, report: Report | None) -> None:
    """Wait until a sandbox is ready; raise why it is not."""
    from lunette_api.api.sandboxes import get_sandbox
    from lunette_api.models import Progress, SandboxInfo, SandboxState

    wait = seconds_to_wait(io) if report is None else LOOK_SECONDS
    info = parsed(response, SandboxInfo.from_dict)
    while info.state is SandboxState.PENDING:
        if report is not None and isinstance(info.progress, Progress):
            report(info.progress)
        request = get_sandbox._get_kwargs(sandbox_id, wait=wait)
        info = parsed(await io.send(request), SandboxInfo.from_dict)
    if info.state in (SandboxState.FAILED, SandboxState.LOST):
        is_lost = info.state is SandboxState.LOST
        kind = errors.SandboxLostError if is_lost else errors.SandboxFailedError
        raise kind(f"sandbox {sandbox_id} is gone: {info.reason or info.state.value}")


async def get(io: IO, sandbox_id: str) -> SandboxInfo:
    """Look at one sandbox."""
    from lunette_api.api.sandboxes import get_sandbox
    from lunette_api.models import SandboxInfo

    if await is_published(io):
        raise published.refuse("get_sandbox", "Sandbox(client, sandbox_id) needs no look")
    response = await io.send(get_sandbox._get_kwargs(sandbox_id))
    return _info(parsed(response, SandboxInfo.from_dict))


async def list_all(io: IO) -> list[SandboxInfo]:
    """Look at every sandbox that the key can see."""
    from lunette_api.api.sandboxes import list_sandboxes
    from lunette_api.models import SandboxList

    if await is_published(io):
        raise published.refuse("list_sandboxes", "keep the ids of what you make")
    answer = parsed(await io.send(list_sandboxes._get_kwargs()), SandboxList.from_dict)
    return [_info(info) for info in answer.sandboxes]


async def stop(io: IO, sandbox_ids: Iterable[str]) -> StopResult:
    """Destroy many sandboxes."""
    from lunette_api.api.sandboxes import stop_sandboxes
    from lunette_api.models import StopRequest
    from lunette_api.models import StopResult as WireResult

    from ..results import StopFailure, StopResult

    ids = _ids(sandbox_ids)
    if await is_published(io):
        answer = await published.stop(io, ids)
    else:
        request = stop_sandboxes._get_kwargs(body=StopRequest(sandbox_ids=ids))
        answer = parsed(await io.send(request), WireResult.from_dict)
    for sandbox_id in answer.stopped:
        _leftovers.forget(sandbox_id)
    failed = [StopFailure(failure.sandbox_id, failure.error) for failure in answer.failed]
    return StopResult(answer.stopped, failed)


async def stop_the_left(io: IO, sandbox_ids: Sequence[str]) -> StopResult:
    """Destroy those of many sandboxes that are still there.

    What takes longer than a request may counts as destroyed: the server goes on with it.
    """
    from ..results import StopResult

    if await is_published(io):  # it has no way to tell
        there = list(sandbox_ids)
    else:
        known = {info.sandbox_id for info in await list_all(io)}
        there = [sandbox_id for sandbox_id in sandbox_ids if sandbox_id in known]
    found = StopResult([], [])
    for first in range(0, len(there), _STOPPED_AT_ONCE):
        some = there[first : first + _STOPPED_AT_ONCE]
        try:
            one = await stop(io, some)
        except errors.RequestTimeoutError:
            one = StopResult(some, [])
        found = StopResult([*found.stopped, *one.stopped], [*found.failed, *one.failed])
    return found


async def extend(io: IO, sandbox_id: str, duration: float) -> datetime | None:
    """Let a sandbox live *duration* seconds from now at least; return when it will expire."""
    from lunette_api.api.sandboxes import extend_sandbox
    from lunette_api.models import ExtendRequest, SandboxInfo

    body = ExtendRequest(seconds=seconds(duration, "seconds"))
    if await is_published(io):
        raise published.refuse("extend", "its sandboxes live as long as the server lets them")
    request = extend_sandbox._get_kwargs(sandbox_id, body=body)
    return parsed(await io.send(request), SandboxInfo.from_dict).expires_at or None


async def destroy(io: IO, sandbox_id: str) -> None:
    """Destroy a sandbox; one that is gone already is no error."""
    from lunette_api.api.sandboxes import delete_sandbox

    async def once(io: IO) -> None:
        if await is_published(io):
            await published.destroy(io, sandbox_id)
        else:
            await io.send(delete_sandbox._get_kwargs(sandbox_id))

    try:
        await once(io)
    except errors.SandboxDestroyedError as error:
        logger.debug("[%s] was gone: %s", sandbox_id, error)
    except errors.LunetteError:
        raise
    except BaseException:  # a cancellation or Ctrl-C must not leave it behind
        await at_last(io, once, f"[{sandbox_id}] could not be destroyed")
        raise
    _leftovers.forget(sandbox_id)


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
        expires_at=wire.expires_at or None,
    )
