"""Sandboxes out of namespaces: a bubblewrap for each, entered through a fork server."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from attrs import evolve

from lunette._scratch import Scratch, remove_tree
from lunette.server.engines.bubblewrap._arguments import Image, bwrap_arguments
from lunette.server.engines.bubblewrap._capabilities import HOST, capabilities
from lunette.server.engines.bubblewrap._disk import DiskWatch, check_free
from lunette.server.engines.bubblewrap._engine_files import EngineFiles
from lunette.server.engines.bubblewrap._forkserver import ForkServer, open_worker
from lunette.server.engines.bubblewrap._host_image import has_place
from lunette.server.engines.bubblewrap._hunting import Hunting
from lunette.server.engines.bubblewrap._identities import IMAGE_IDS, is_root, take_range
from lunette.server.engines.bubblewrap._limits import Group
from lunette.server.engines.bubblewrap._limits_choice import find_limits, open_limits
from lunette.server.engines.bubblewrap._orphans import end_orphans
from lunette.server.engines.bubblewrap._probe import explain
from lunette.server.engines.bubblewrap._ready import Ready, prepare
from lunette.server.engines.bubblewrap._sandbox import BubblewrapSandbox
from lunette.server.engines.bubblewrap._starting import (
    check_limits,
    make_disk,
    start_message,
    working_dir,
)
from lunette.server.engines.bubblewrap._unpacked_image import UnpackedImage
from lunette.server.engines.bubblewrap._users import Owner, find_user
from lunette.server.engines.bubblewrap.inside.seccomp import (
    UnsupportedArchitectureError,
    filter_program,
)
from lunette.server.engines.protocol import (
    Command,
    EngineError,
    EngineUnavailableError,
    Event,
    Handle,
    NoCapacityError,
    Process,
    Report,
    SandboxGoneError,
    SandboxSpec,
    State,
    Stats,
    Status,
)
from lunette.server.images.library import ImageLibrary
from lunette.server.settings import FREE_DISK, Settings

__all__ = ["BubblewrapEngine"]

logger = logging.getLogger(__name__)

_IDENTITY = ("base", "user", "capabilities", "processes", "disk", "groups")
_SPARE = SandboxSpec(id="spare", image=HOST)


class BubblewrapEngine(EngineFiles):
    """See `Engine` in the protocol. Use it on one event loop, the main thread's."""

    name = "bubblewrap"

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings.read()
        self._settings = settings
        self._ranged = is_root()
        self._disk = settings.disk
        self.images = ImageLibrary(
            settings, ids=IMAGE_IDS if self._ranged else None, free=FREE_DISK
        )
        self._hunting = Hunting()
        self._limits = find_limits(self._hunting)
        self.capabilities = capabilities(settings, self._limits, ranged=self._ranged)
        self._disks = DiskWatch(self._live_forkserver, self._running)
        self._sandboxes: dict[str, BubblewrapSandbox] = {}
        self._creating: dict[str, asyncio.Task[None]] = {}
        self._spare: asyncio.Future[BubblewrapSandbox | None] | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._background: set[asyncio.Task[None]] = set()
        self._forking = asyncio.Lock()
        self._ready: Ready | None = None
        self._closing = False
        self._watching: list[asyncio.Task[None]] = []
        self._forkserver: ForkServer | None = None

    async def start(self) -> None:
        try:
            filter_program()
        except UnsupportedArchitectureError as error:
            raise EngineUnavailableError(str(error)) from error
        os.umask(0o022)  # what sandboxes share is read by all of them and written by none
        state = Scratch.create(mode=0o711 if self._ranged else 0o700, on_disk=True)
        try:
            # Not in a thread: at each of its many short waits it would lose the interpreter lock to
            # whatever else the starting server imports, which takes ten times as long.
            self._ready = prepare(state, ranged=self._ranged)
            self._hunting.reserve.refill()
            opening = self._in_background(self._hunting.run(self._open_limits))
            await self._live_forkserver()
            await opening
            self.capabilities = capabilities(self._settings, self._limits, ranged=self._ranged)
            await self._probe()
            watching = (self._disks.run(), self._limits.watch())
            self._watching = [self._in_background(one) for one in watching]
        except BaseException:
            if self._ready is None:
                state.remove()
            await self.aclose()
            raise

    def _open_limits(self) -> None:
        """Remove what servers left that are dead, and open the limits; blocking."""
        end_orphans()  # first: a group that one of them is in cannot be removed
        self._hunting.freezers.sweep()
        self._limits = open_limits(self._limits, self._hunting)

    async def aclose(self) -> None:
        self._closing = True  # nothing is made any more that nobody would end
        closing = asyncio.create_task(self.images.aclose())
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._creating.values(), *self._background, return_exceptions=True)
        spare = await self._spare if self._spare else None
        left = [*self._sandboxes.values(), *([spare] if spare else [])]
        failures = await asyncio.gather(
            *(s.destroy(at_once=True) for s in left), return_exceptions=True
        )
        self._sandboxes.clear()
        await closing  # after them: a process may take long to die that writes to a slow disk
        for failure in filter(None, failures):
            logger.error("a sandbox was not cleaned up: %r", failure)
        await asyncio.to_thread(self._hunting.close)
        if self._forkserver is not None:
            await self._forkserver.aclose()
        await asyncio.to_thread(self._limits.close)
        if self._ready is not None:
            os.close(self._ready.sealed)
            await asyncio.to_thread(self._ready.state.remove)
            self._ready = None

    async def _live_forkserver(self) -> ForkServer:
        async with self._forking:
            if self._forkserver is None or not self._forkserver.alive:
                if self._forkserver is not None:
                    await self._forkserver.kill()
                self._forkserver = await ForkServer.start(self._prepared().state.fd)
                await self._bind()
            return self._forkserver

    async def _bind(self) -> None:
        """Each fork server has a mount namespace of its own."""
        if self._ready is not None and self._ready.image.mounts and self._forkserver is not None:
            await self._forkserver.bind(self._ready.image.mounts)

    async def _probe(self) -> None:
        """Make the first sandbox, to say now what a user would else learn from the first create."""
        try:
            sandbox = await self._make(_SPARE, self._prepared().image)
        except NoCapacityError as error:
            raise EngineUnavailableError(explain(await self._complaint(), str(error))) from error
        self._spare = asyncio.get_running_loop().create_future()
        self._spare.set_result(sandbox)

    async def _complaint(self) -> str:
        """Return what bwrap writes when it fails: a second try, since its standard error is
        otherwise /dev/null, which is all that a sandbox may see of it."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            sandbox = await self._make(_SPARE, self._prepared().image, stderr=writing)
            await sandbox.destroy()
        except NoCapacityError:
            return _read_now(reading)
        finally:
            os.close(reading)
            os.close(writing)
        return ""

    async def prepare(self, spec: SandboxSpec, report: Report) -> None:
        if spec.image not in self.capabilities.images:
            await self.images.pull(spec.image, spec.pull_policy, report)

    async def create(self, spec: SandboxSpec) -> Handle:
        if spec.id not in self._sandboxes:
            making = self._creating.get(spec.id)
            if making is None:
                making = self._creating[spec.id] = asyncio.create_task(self._create(spec))
                making.add_done_callback(lambda _: self._creating.pop(spec.id))
            await making
        return Handle(spec.id)

    async def _create(self, spec: SandboxSpec) -> None:
        check_limits(spec, self._limits.total)
        check_free(self._prepared().state.path)
        image = await self._image(spec)
        try:
            image.check(spec)
            sandbox = await self._take_spare(spec) or await self._make(spec, image)
        except BaseException:
            image.release()
            raise
        try:
            await sandbox.adopt(spec)
            if spec.command:
                await sandbox.run_main(spec.command)
        except BaseException:
            await sandbox.destroy(at_once=True)
            raise
        self._sandboxes[spec.id] = sandbox
        if sandbox.status.state is not State.RUNNING:  # its command was that fast
            self._ended(spec.id, sandbox.status)

    async def _image(self, spec: SandboxSpec) -> Image:
        """Return the image of *spec*, held until it is released."""
        ready = self._prepared()
        if spec.image in self.capabilities.images:
            return ready.image
        held = await self.images.hold(spec.image)
        return UnpackedImage(
            image=held.image, rootfs=held.rootfs, ranged=self._ranged, release=held.close
        )

    def _prepared(self) -> Ready:
        if self._ready is None or self._closing:
            raise EngineUnavailableError("the engine is not started, or closing")
        return self._ready

    async def _take_spare(self, spec: SandboxSpec) -> BubblewrapSandbox | None:
        """Return the sandbox that was made ahead of time, and have the next one made.

        Starting bwrap is nearly all of a create, and most specs would change nothing in it.
        """
        if not _fits_spare(spec):
            return None
        spare, self._spare = self._spare, asyncio.create_task(self._make_spare())
        sandbox = await spare if spare else None
        if sandbox is None or sandbox.status.state is State.RUNNING:
            return sandbox
        self._in_background(sandbox.destroy())
        return None

    async def _make_spare(self) -> BubblewrapSandbox | None:
        try:
            return await self._make(_SPARE, self._prepared().image)
        except (EngineError, OSError):
            return None  # a create that has to make its own says why

    async def _make(
        self, spec: SandboxSpec, image: Image, *, stderr: int | None = None
    ) -> BubblewrapSandbox:
        """Start a sandbox; on failure nothing of it is left."""
        forkserver = await self._live_forkserver()
        ready = self._prepared()
        user = find_user(spec.user or image.user, image.passwd, image.group)
        ids = take_range() if self._ranged else None
        group: Group | None = None
        disk = ready.state.path / "sandboxes" / uuid.uuid4().hex
        try:
            group = self._limits.group(spec.pids_limit)
            make_disk(disk, spec, image, ids=ids, user=user)
            message = start_message(
                spec,
                image=image,
                arguments=bwrap_arguments(
                    spec, image=image, disk=disk, ranged=ids is not None, user=user
                ),
                libraries=ready.libraries,
                disk=disk,
                disk_limit=spec.disk or self._disk,
                ids=ids,
                user=user,
                groups=group.entries,
            )
            with ready.bwrap() as bwrap:
                channel, hello, fds = await open_worker(forkserver, message, bwrap, stderr)
        except BaseException as error:
            if ids:
                ids.release()
            if group:
                await asyncio.to_thread(group.close)
            await asyncio.to_thread(remove_tree, disk)  # which may find no descriptor either
            if isinstance(error, OSError):
                raise NoCapacityError(f"no room for a sandbox: {error.strerror}") from error
            raise

        def release() -> None:
            image.release()
            if ids:
                ids.release()

        return BubblewrapSandbox(
            spec,
            channel,
            hello=hello,
            fds=fds,
            disk=disk,
            disk_limit=spec.disk or self._disk,
            overlay=isinstance(image, UnpackedImage),
            owner=Owner(user=user, base=ids.base if ids else None),
            env=image.environment,
            working_dir=working_dir(spec, image),
            hunting=self._hunting,
            group=group,
            identity={name: message[name] for name in _IDENTITY},
            fork=forkserver.fork_for_files,
            release=release,
            ended=self._ended,
        )

    def _ended(self, sandbox_id: str, status: Status) -> None:
        """A sandbox ended by itself: give back what it held, but know how it ended until it is
        destroyed.
        """
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.destroyed:
            return
        self._events.put_nowait(Event(Handle(sandbox_id), status))
        self._in_background(sandbox.destroy())

    def _running(self) -> list[BubblewrapSandbox]:
        return [s for s in self._sandboxes.values() if s.status.state is State.RUNNING]

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def inspect(self, handle: Handle) -> Status:
        return self._find(handle).shown_status

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()

    async def destroy(self, handle: Handle) -> None:
        sandbox = self._sandboxes.get(handle.sandbox_id)
        if sandbox is not None:
            await sandbox.destroy()
            self._sandboxes.pop(handle.sandbox_id, None)

    async def stats(self, handle: Handle) -> Stats:
        return await self._find(handle).stats()

    async def pause(self, handle: Handle) -> None:
        await self._find(handle).pause()

    async def resume(self, handle: Handle) -> None:
        await self._find(handle).resume()

    async def exec(self, handle: Handle, command: Command) -> Process:
        return await self._find(handle).exec(command)

    def _find(self, handle: Handle) -> BubblewrapSandbox:
        try:
            return self._sandboxes[handle.sandbox_id]
        except KeyError:
            raise SandboxGoneError(
                Status(state=State.LOST, reason="this engine does not have it")
            ) from None


def _fits_spare(spec: SandboxSpec) -> bool:
    """Whether nothing in *spec* changes how a sandbox is started."""
    same = evolve(
        _SPARE,
        id=spec.id,
        pull_policy=spec.pull_policy,
        command=spec.command,
        working_dir=spec.working_dir,
        environment=spec.environment,
        mem_limit=spec.mem_limit,
        cpus=spec.cpus,
        stop_signal=spec.stop_signal,
        stop_grace_period=spec.stop_grace_period,
    )
    return same == spec and has_place(spec.working_dir)


def _read_now(fd: int) -> str:
    try:
        return os.read(fd, 65_536).decode(errors="replace")
    except BlockingIOError:
        return ""
