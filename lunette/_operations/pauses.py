"""Pause, resume and measure sandboxes."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING

from .._io import IO
from . import parsed, published
from .server import is_published

if TYPE_CHECKING:
    from ..results import SandboxStats

__all__ = ["pause", "resume", "stats"]


async def pause(io: IO, sandbox_id: str) -> None:
    """Freeze all that runs in a sandbox."""
    from lunette_api.api.sandboxes import pause_sandbox

    await _check_supported(io, "pause")
    await io.send(pause_sandbox._get_kwargs(sandbox_id))


async def resume(io: IO, sandbox_id: str) -> None:
    """Let a paused sandbox go on."""
    from lunette_api.api.sandboxes import resume_sandbox

    await _check_supported(io, "resume")
    await io.send(resume_sandbox._get_kwargs(sandbox_id))


async def stats(io: IO, sandbox_id: str) -> SandboxStats:
    """Say what a sandbox uses."""
    from lunette_api.api.sandboxes import get_stats
    from lunette_api.models import SandboxStats as WireStats

    from ..results import SandboxStats

    await _check_supported(io, "stats")
    wire = parsed(await io.send(get_stats._get_kwargs(sandbox_id)), WireStats.from_dict)
    return SandboxStats(
        memory=wire.memory,
        memory_peak=wire.memory_peak if isinstance(wire.memory_peak, int) else None,
        memory_limit=wire.memory_limit if isinstance(wire.memory_limit, int) else None,
        cpu_seconds=wire.cpu_seconds,
        processes=wire.processes,
        disk=wire.disk,
    )


async def _check_supported(io: IO, verb: str) -> None:
    if await is_published(io):
        raise published.refuse(verb, "use a server of this version")
