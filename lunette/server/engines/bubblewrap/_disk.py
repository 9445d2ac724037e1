"""Keeping sandboxes to the disk that they may use.

Softly: there is no quota for an ordinary user, so that a sandbox which uses more is found within
seconds, and ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from lunette.server.engines.bubblewrap._channel import Channel, DeadChannelError
from lunette.server.engines.bubblewrap._forkserver import ForkServer
from lunette.server.engines.bubblewrap._sandbox import BubblewrapSandbox
from lunette.server.engines.bubblewrap.inside.measuring import TOO_MUCH
from lunette.server.engines.protocol import EngineError, NoSpaceError
from lunette.server.settings import FREE_DISK

__all__ = ["DiskWatch", "check_free"]

logger = logging.getLogger(__name__)

_EXPECTED = (DeadChannelError, EngineError)
_SHORTEST_PAUSE = 1.0
_REST = 20  # pauses for every moment of measuring, so that it takes no more than 5 % of a processor
_TOGETHER = 16
_LONGEST = 600.0
_FREE_FILES = 10_000


def check_free(path: Path) -> None:
    """Raise NoSpaceError where a sandbox more could fill the disk."""
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    if free < FREE_DISK:
        raise NoSpaceError(
            f"the disk of the server is nearly full: {free >> 20} MiB are free, and a sandbox is"
            f" made only over {FREE_DISK >> 20} MiB"
        )
    if found.f_files and found.f_favail < _FREE_FILES:
        raise NoSpaceError(
            f"the disk of the server has room for {found.f_favail} files more, and a sandbox is"
            f" made only over {_FREE_FILES}"
        )


class DiskWatch:
    """Measures the disk of *sandboxes* for ever, and fails those that use more than they may."""

    def __init__(
        self,
        forkserver: Callable[[], Awaitable[ForkServer]],
        sandboxes: Callable[[], Sequence[BubblewrapSandbox]],
    ) -> None:
        self._forkserver = forkserver
        self._sandboxes = sandboxes
        self._channel: Channel | None = None

    async def run(self) -> None:
        """Measure until cancelled."""
        try:
            while True:
                begun = time.monotonic()
                await self._round()
                took = time.monotonic() - begun
                await asyncio.sleep(max(_SHORTEST_PAUSE, took * _REST))
        finally:
            self._hang_up()

    async def _round(self) -> None:
        found = self._sandboxes()
        for first in range(0, len(found), _TOGETHER):
            batch = found[first : first + _TOGETHER]
            if await self._measured(batch):
                continue
            # One of them would hide all others.
            for sandbox in batch:
                if not await self._measured([sandbox]) and await self._measured([]):
                    sandbox.fail("its disk could not be measured")

    async def _measured(self, sandboxes: Sequence[BubblewrapSandbox]) -> bool:
        try:
            await self._measure(sandboxes)
        except Exception as error:  # whatever it is, disks are watched for ever
            level = logging.DEBUG if isinstance(error, _EXPECTED) else logging.ERROR
            logger.log(level, "disks could not be measured", exc_info=error)
            self._hang_up()  # the next has another process
            return False
        return True

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    async def _measure(self, sandboxes: Sequence[BubblewrapSandbox]) -> None:
        if self._channel is None:
            self._channel = Channel(await (await self._forkserver()).fork("measure"))
        trees = [sandbox.tree for sandbox in sandboxes]
        answer, _ = await self._channel.ask({"trees": trees}, deadline=_LONGEST)
        for sandbox, used in zip(sandboxes, answer["bytes"], strict=True):
            sandbox.disk_used = max(used, 0)
            if used == TOO_MUCH:
                sandbox.fail("its disk cannot be measured: too deep, or too many open files")
            elif used > sandbox.disk_limit:
                sandbox.fail(
                    f"it used {used} bytes of disk and may use {sandbox.disk_limit}: give it more"
                    " by storage_opt, or the server by LUNETTE_DISK_LIMIT"
                )
