"""A command that ends only if somebody ends it."""

from __future__ import annotations

import uuid
from pathlib import Path

import anyio
import anyio.to_thread

from ..embedded import until
from .server import command_line
from .settings import LOG


class Lasting:
    """A command that leaves a line in the log and lasts until somebody ends it."""

    def __init__(self) -> None:
        self._name = f"4000.{uuid.uuid4().int % 10**12:012}"
        self.text = f"echo once >> {LOG}; sleep {self._name}"

    @property
    def lives(self) -> bool:
        """Whether any process of it does, on this whole machine."""
        return any(
            command_line(entry).endswith(self._name) for entry in Path("/proc").glob("[0-9]*")
        )

    async def begun(self) -> None:
        await anyio.to_thread.run_sync(until, lambda: self.lives)

    async def ended(self) -> None:
        await anyio.to_thread.run_sync(until, lambda: not self.lives)
