"""Whether this machine can run sandboxes: by what is known of it, and by making one."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lunette._embedded import distribution
from lunette.server._findings import Finding, facts

if TYPE_CHECKING:
    from lunette.server.engines.protocol import Engine

__all__ = ["Finding", "examine"]

_LIMITS = ("memory", "cpus", "pids", "disk")
_MORE_LIMITS = (
    "run the server as root, or in a control group that it may divide, such as by `systemd-run"
    " --user --scope -p Delegate=yes lunette serve`"
)
_MORE_LIMITS_AS_ROOT = "make /sys/fs/cgroup writable; in a container, start that with --privileged"
_SECONDS = 30.0


async def examine() -> list[Finding]:
    """Look at everything, and run a command in a sandbox."""
    tried = await _tried()
    able = all(finding.status != "problem" for finding in tried)
    if sys.platform != "linux":
        return tried
    return [*facts(able=able), *tried]


async def _tried() -> list[Finding]:
    try:
        engine = await _launched()
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        mend = f"pip install '{distribution()}[server]'"
        return [_problem("engine", f"the server needs {missing}", mend)]
    except Exception as error:  # whatever it is, this is the command to say it
        return [_problem("engine", str(error) or type(error).__name__)]
    try:
        found = [_engine(engine), _limits(engine), *_disks()]
        return [*found, await _images(engine), await _sandbox(engine)]
    finally:
        await engine.aclose()


async def _launched() -> Engine:
    from lunette.server.engines.selection import launch

    return await launch()


def _problem(name: str, detail: str, mend: str | None = None) -> Finding:
    return Finding(name=name, status="problem", detail=detail, mend=mend)


def _engine(engine: Engine) -> Finding:
    found = engine.capabilities
    detail = f"{engine.name}, isolation {found.isolation}, platform {found.platform}"
    return Finding(name="engine", detail=detail)


def _limits(engine: Engine) -> Finding:
    enforced = engine.capabilities.enforces
    detail = f"{', '.join(enforced) or 'none'} by {engine.capabilities.limits_by or 'nothing'}"
    missing = [name for name in _LIMITS if name not in enforced]
    if not missing:
        return Finding(name="limits", detail=detail)
    return Finding(
        name="limits",
        status="note",
        detail=f"{detail}; not enforced: {', '.join(missing)}",
        mend=_MORE_LIMITS_AS_ROOT if os.geteuid() == 0 else _MORE_LIMITS,
    )


def _disks() -> list[Finding]:
    from lunette._scratch import directory_on_disk  # of Linux alone
    from lunette.server.settings import Settings

    places = {"sandboxes": directory_on_disk(), "images": Settings.read().images}
    return [_disk(f"disk of {name}", path) for name, path in places.items()]


def _disk(name: str, path: Path) -> Finding:
    from lunette.server.settings import FREE_DISK

    there = next(one for one in (path, *path.parents) if one.exists())
    free = shutil.disk_usage(there).free
    detail = f"{path}: {free >> 20} MiB are free"
    if free >= FREE_DISK:
        return Finding(name=name, detail=detail)
    return _problem(name, detail, f"at least {FREE_DISK >> 20} MiB must be: make room")


async def _images(engine: Engine) -> Finding:
    if engine.images is None:
        return Finding(name="images", detail=", ".join(engine.capabilities.images))
    pulled = await engine.images.all()
    size = sum(image.unpacked for image in pulled)
    return Finding(name="images", detail=f"{len(pulled)} were pulled, of {size >> 20} MiB")


async def _sandbox(engine: Engine) -> Finding:
    from lunette.server.engines.protocol import Command, EngineError, SandboxSpec

    begun = time.monotonic()
    try:
        async with asyncio.timeout(_SECONDS):
            handle = await engine.create(SandboxSpec(id="doctor", image="host"))
            process = await engine.exec(handle, Command(argv=("/bin/true",)))
            async for _ in process.output():
                pass
            code = (await process.wait()).code
            await engine.destroy(handle)
    except (EngineError, OSError) as error:
        return _problem("sandbox", str(error) or type(error).__name__)
    if code:
        return _problem("sandbox", f"/bin/true ended in one with exit code {code}")
    took = (time.monotonic() - begun) * 1000
    return Finding(name="sandbox", detail=f"made, used and destroyed in {took:.0f} ms")
