"""A sandbox as the server sees it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from attrs import define, field

from lunette.server._archive import Archive
from lunette.server._lifetimes import Lifetime, Lifetimes
from lunette.server._load import SCANS, Gate, scan_gate
from lunette.server._problems import Problem, gone
from lunette.server._puts import Puts
from lunette.server._repeats import Repeats
from lunette.server._transfers import ARCHIVES, UPLOADS, Transfers, directory_gate
from lunette.server._upload import Upload
from lunette.server.engines.protocol import Handle, State, Status
from lunette.server.images.image import Progress
from lunette.server.runs import Runs
from lunette.server.spec import ServiceSpec

__all__ = ["ENDED", "Sandbox"]

ENDED = (State.FAILED, State.LOST)


@define(eq=False)
class Sandbox:
    """What it is, what becomes of it, and what is done in it."""

    spec: ServiceSpec
    runs: Runs
    lifetime: Lifetime = field(factory=Lifetime)
    created_at: datetime = field(factory=lambda: datetime.now(UTC))
    status: Status = field(factory=lambda: Status(state=State.PENDING))
    handle: Handle | None = None
    progress: Progress | None = None  # of what `preparing` waits for
    preparing: asyncio.Task[None] | None = None
    creation: asyncio.Task[None] | None = None
    destruction: asyncio.Task[None] | None = None
    gone_code: str = "sandbox_destroyed"  # what is said of it from then on
    repeats: Repeats = field(factory=Repeats, init=False)
    uploads: Transfers[Upload] = field(factory=lambda: Transfers("upload", UPLOADS), init=False)
    archives: Transfers[Archive] = field(factory=lambda: Transfers("archive", ARCHIVES), init=False)
    directories: Gate = field(factory=directory_gate, init=False)  # of both
    scans: Gate = field(factory=lambda: scan_gate(SCANS), init=False)
    puts: Puts = field(factory=Puts, init=False)
    pausing: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    @property
    def id(self) -> str:
        return self.spec.sandbox.id

    @property
    def is_going(self) -> bool:
        """Whether it takes no more work, and what is under way in it may break."""
        return self.destruction is not None or self.status.state in (*ENDED, State.STOPPED)

    def is_of(self, spec: ServiceSpec, lifetimes: Lifetimes) -> bool:
        """Say whether it is what is asked for by these."""
        ours = (self.spec.sandbox, self.spec.labels, self.lifetime.limits)
        return ours == (spec.sandbox, spec.labels, lifetimes)

    def gone(self) -> Problem:
        """Return the 410 of one that was or is being destroyed."""
        return gone(self.id, code=self.gone_code)

    def end_transfers(self, problem: Problem) -> None:
        """Begin to end all that comes and goes, which answers by *problem* from now on."""
        self.uploads.end(problem)
        self.archives.end(problem)

    async def transfers_ended(self) -> None:
        """Wait until nothing is left of what was ended."""
        await self.uploads.ended()
        await self.archives.ended()
