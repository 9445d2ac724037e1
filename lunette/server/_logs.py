"""The logs of one sandbox, which share what `limits.logs` says."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from lunette.server._budget import Budget, Sharer
from lunette.server._log import Log
from lunette.server._segments import remove
from lunette.server.settings import FREE_DISK
from lunette.server.store import Store

__all__ = ["Logs"]

_SHRINK_AGAIN_SECONDS = 5.0


class Logs(Budget):
    """Makes logs, and drops the oldest of what nobody needs when all are over their limit: first
    whole logs of processes that have ended, then segments of any process, then their beginnings.

    What somebody needs stays, and holds its process up. So they take the limit on the disk, and at
    most 4 MiB more (of small logs, half of what one may have) for each process with a follower
    that does not read. What an ended one keeps in memory counts too; a living one has 2 MiB of its
    own.
    """

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        # What each takes beside its files that has ended; the oldest first.
        self._ended: dict[Log, int] = {}
        # What they took when there was nothing to drop; it is looked for again when that grows.
        self._stuck = 0.0
        self._again: asyncio.TimerHandle | None = None

    def new(self) -> Log:
        """Return the log of another process."""
        self.limit = self._store.logs_limit
        return Log(self._store.logs, self._store.log_limit, self, leave_free=FREE_DISK)

    def ended(self, log: Log, more: int) -> None:
        """Count the log of a process that has ended, and *more* bytes."""
        if log.is_dropped:
            return
        self._ended[log] = log.memory + more
        self.add(self._ended[log])

    def drop(self, log: Log) -> None:
        """Forget all of a log."""
        files = log.drop()
        self.add(-self._ended.pop(log, 0))
        if files:
            asyncio.get_running_loop().run_in_executor(None, remove, files)

    def close(self) -> None:
        """Drop nothing by itself any more."""
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def add(self, size: int) -> None:
        super().add(size)
        if not self.is_over:
            self._stuck = 0.0

    def shrink(self) -> None:
        if self.size > self._stuck + self.limit / 64:
            self._make_room()

    def _make_room(self) -> None:
        self.close()
        # A little more than needed, so that not every write drops something.
        enough = self.limit - self.limit / 32
        for log in list(self._ended):
            if self.size <= enough:
                return
            if not log.readers:
                self.drop(log)
        for is_tight, is_head in itertools.product((False, True), (False, True)):
            self._drop_segments(enough, is_head=is_head, is_tight=is_tight)
        if self.is_over:
            self._stuck = self.size
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(_SHRINK_AGAIN_SECONDS, self._shrink_again)

    def _shrink_again(self) -> None:
        self._make_room()
        if not self.is_over:
            self.wake()

    def _drop_segments(self, enough: float, *, is_head: bool, is_tight: bool) -> None:
        def found(log: Sharer, order: int) -> list[tuple[float, int, Sharer]]:
            begun = log.oldest(is_head=is_head, is_tight=is_tight)
            return [] if begun is None else [(begun, order, log)]

        if self.size <= enough:
            return
        queue = [entry for n, log in enumerate(list(self.sharers)) for entry in found(log, n)]
        heapq.heapify(queue)
        while queue and self.size > enough:
            _, order, log = heapq.heappop(queue)
            log.drop_oldest(is_head=is_head)
            for entry in found(log, order):
                heapq.heappush(queue, entry)
