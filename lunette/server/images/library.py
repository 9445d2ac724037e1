"""The images of a server: pulled by processes of their own, once for all who wait for the same."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from lunette.server.engines.protocol import PulledImage, PullPolicy, Report
from lunette.server.settings import Settings

from .errors import ImageNotFoundError, PullKilledError, error_of_kind
from .image import Progress
from .reference import Reference
from .store import Held, Store, Stored

__all__ = ["IMAGE_BYTES", "IMAGE_FILES", "ImageLibrary"]

logger = logging.getLogger(__name__)

# As in README: what a single image may unpack to.
IMAGE_BYTES, IMAGE_FILES = 32 << 30, 2_000_000
# An image comes with its variables, passwd and group, every character perhaps escaped.
_LONGEST_LINE = 64 << 20


class ImageLibrary:
    """See `Images` in the engine protocol. *ids* are (base, count) of those that a root server's
    images have on disk.
    """

    def __init__(self, settings: Settings, *, ids: tuple[int, int] | None, free: int) -> None:
        self._settings = settings
        self._ids = ids
        self._free = free
        self._store = Store(settings.images, mode="single" if ids is None else "range")
        self._pulls: dict[tuple[str, PullPolicy], _Pull] = {}

    async def all(self) -> Sequence[PulledImage]:
        return await asyncio.to_thread(self._all)

    def _all(self) -> list[PulledImage]:
        return [_pulled(stored) for stored in self._store.list()]

    async def pull(self, reference: str, policy: PullPolicy, report: Report) -> PulledImage:
        wanted = Reference.parse(reference)
        if policy != "always":
            found = await asyncio.to_thread(self._store.find, wanted)
            if found is not None:
                return _pulled(found)
        if policy == "never":
            raise ImageNotFoundError(
                f"the image '{wanted.familiar}' is not here, and its pull policy is never"
            )
        await self._join((str(wanted), policy), report)
        found = await asyncio.to_thread(self._store.find, wanted)
        if found is None:
            raise ImageNotFoundError(
                f"the image '{wanted.familiar}' was removed right after its pull"
            )
        return _pulled(found)

    async def _join(self, key: tuple[str, PullPolicy], report: Report) -> None:
        """Wait for a pull, the first to want it having started it, the last to leave ending it."""
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = _Pull(self._request(*key))
            pull.task.add_done_callback(partial(self._forget, key, pull))
        pull.reports.append(report)
        if pull.progress is not None:
            report(pull.progress)
        try:
            await asyncio.shield(pull.task)
        finally:
            pull.reports.remove(report)
            if not pull.reports:
                pull.task.cancel()
                self._forget(key, pull)

    def _forget(self, key: tuple[str, PullPolicy], pull: _Pull, _: object = None) -> None:
        """Let nobody join what has ended or is being ended; there may be another by now."""
        if self._pulls.get(key) is pull:
            del self._pulls[key]

    def _request(self, reference: str, policy: PullPolicy) -> dict[str, Any]:
        limits = {"bytes": IMAGE_BYTES, "files": IMAGE_FILES, "free": self._free}
        return {
            "store": str(self._settings.images),
            "reference": reference,
            "policy": policy,
            "ids": self._ids,
            "limits": limits,
            "insecure": list(self._settings.insecure),
            "mirrors": dict(self._settings.mirrors),
        }

    async def remove(self, reference: str) -> None:
        await asyncio.to_thread(self._store.remove, Reference.parse(reference))

    async def hold(self, reference: str) -> Held:
        """Keep an image from removal until it is released; raise ImageNotFoundError."""
        return await asyncio.to_thread(self._store.hold, Reference.parse(reference))

    async def aclose(self) -> None:
        """End what is being pulled; what has come of it is taken up by the next pull."""
        tasks = [pull.task for pull in self._pulls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Pull:
    """A process that pulls, and who is told of it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.reports: list[Report] = []
        self.progress: Progress | None = None
        self.task = asyncio.create_task(self._run(request))
        # Whoever waited may have left.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _run(self, request: dict[str, Any]) -> None:
        # A fork in the server's process, by vfork: it takes a millisecond, and pulls are few.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "lunette.server.images.pulling"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the server's
            limit=_LONGEST_LINE,
        )
        try:
            assert process.stdin is not None
            # It stays open: at its end the process takes this one for dead.
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._follow(process)
        finally:
            if process.returncode is None:
                process.kill()
            await asyncio.shield(asyncio.ensure_future(process.wait()))

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if not line.endswith(b"\n"):
                break
            message = json.loads(line)
            if "progress" in message:
                self._tell(Progress.from_json(message["progress"]))
            elif "error" in message:
                raise error_of_kind(message["error"]["kind"], message["error"]["message"])
            elif "image" in message:
                return
        raise _unfinished(await process.wait())

    def _tell(self, progress: Progress) -> None:
        self.progress = progress
        for report in self.reports:
            report(progress)


def _unfinished(code: int) -> Exception:
    """Return the error of a process that did not say how it ended."""
    if code == -signal.SIGKILL:  # by whoever was short of memory
        return PullKilledError("the process that pulled the image was killed")
    return RuntimeError(f"the process that pulled the image ended with {code}; its log says why")


def _pulled(stored: Stored) -> PulledImage:
    image = stored.image
    return PulledImage(
        reference=stored.reference,
        image_id=image.image_id,
        digest=image.digest,
        size=image.size,
        unpacked=image.unpacked,
        created=image.created,
        pulled_at=stored.pulled_at,
    )
