"""One sandbox: its worker, its first process, its directories and its ids."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from lunette._scratch import remove_tree
from lunette.server.engines.bubblewrap._channel import Channel
from lunette.server.engines.bubblewrap._commands import Commands
from lunette.server.engines.bubblewrap._file_system import FileSystem
from lunette.server.engines.bubblewrap._file_workers import FileWorkers, Fork
from lunette.server.engines.bubblewrap._freezing import Freezing
from lunette.server.engines.bubblewrap._held import HeldFiles
from lunette.server.engines.bubblewrap._hunting import Hunting
from lunette.server.engines.bubblewrap._limits import Deaths, Group
from lunette.server.engines.bubblewrap._process import BubblewrapProcess
from lunette.server.engines.bubblewrap._threads import Threads, in_thread
from lunette.server.engines.bubblewrap._users import Owner
from lunette.server.engines.bubblewrap._worker import Worker
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import (
    Command,
    NotSupportedError,
    SandboxGoneError,
    SandboxSpec,
    State,
    Stats,
    Status,
)

__all__ = ["BubblewrapSandbox", "refused"]

_DESTROYED = Status(state=State.STOPPED, reason="destroyed")


class BubblewrapSandbox:
    """A sandbox that was started; *ended* is told once, when it stops being `running`, and
    *release* called when nothing of it is left.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        channel: Channel,
        *,
        hello: Message,
        fds: list[int],
        disk: Path,
        disk_limit: int,
        overlay: bool,
        owner: Owner,
        env: Mapping[str, str],
        working_dir: str,
        hunting: Hunting,
        group: Group,
        identity: Message,
        fork: Fork,
        release: Callable[[], None],
        ended: Callable[[str, Status], None],
    ) -> None:
        self.spec = spec
        self.disk_limit = disk_limit
        self.disk_used = 0  # when it was last measured
        self._disk = disk
        self._overlay = overlay
        self._release = release
        self._ended = ended
        self._tasks: set[asyncio.Task[None]] = set()
        self._main: BubblewrapProcess | None = None
        self._patience_over = asyncio.Event()
        self._destroying: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._hunting = hunting
        self._group = group
        deaths = Deaths(group)
        self._worker = Worker(channel, hello=hello, fds=fds, deaths=deaths, ended=self._over)
        group.began(self._worker.pid, self._worker.pid1)
        threads = Threads()
        self._freezing = Freezing(self._worker, hunting=hunting, spawn=self._spawn)
        self._commands = Commands(
            self._worker,
            owner=owner,
            env=env,
            working_dir=working_dir,
            freezing=self._freezing,
            deaths=deaths,
            threads=threads,
            spawn=self._spawn,
        )
        self._file_workers = FileWorkers(
            self._worker,
            fork=fork,
            identity=identity,
            working_dir=lambda: self._commands.working_dir,
        )
        self._held = HeldFiles(threads, limit=disk_limit)
        self.files = FileSystem(
            self._worker, workers=self._file_workers, held=self._held, spawn=self._spawn
        )
        self._worker.hear(self._heard)

    @property
    def status(self) -> Status:
        return self._worker.status

    @property
    def shown_status(self) -> Status:
        """As others see it: to the sandbox itself, being paused is a way to be running."""
        paused = self._freezing.paused and self.status.state is State.RUNNING
        return Status(state=State.PAUSED) if paused else self.status

    async def adopt(self, spec: SandboxSpec) -> None:
        """Become the sandbox of *spec*; raise NotSupportedError if its working directory cannot be
        made, or its memory is too little for it.
        """
        if spec.mem_limit is not None or spec.cpus is not None:
            try:
                self._group.limit(memory=spec.mem_limit, cpus=spec.cpus)
            except OSError as error:
                raise refused("mem_limit", error.strerror or "") from error
        directory = spec.working_dir
        if directory is not None and directory != self._commands.working_dir:
            answer, _ = await self._worker.ask({"op": "work", "working_dir": directory})
            if "errno" in answer:
                raise refused("working_dir", f"{directory}: {os.strerror(answer['errno'])}")
            self._commands.working_dir = directory
        self.spec = spec

    # Commands

    async def exec(self, command: Command) -> BubblewrapProcess:
        return await self._commands.exec(command)

    async def run_main(self, argv: tuple[str, ...]) -> None:
        """Start the service's own command; when it ends, the sandbox is stopped."""
        self._main = await self.exec(Command(argv=argv, env=self.spec.environment))
        self._spawn(self._follow_main(self._main))

    async def _follow_main(self, process: BubblewrapProcess) -> None:
        async for _ in process.output():  # its output is nobody's yet
            pass
        with contextlib.suppress(SandboxGoneError):
            code = (await process.wait()).code
            reason = f"the service's command ended with exit code {code}"
            self._worker.end(Status(state=State.STOPPED, reason=reason, exit_code=code))

    async def stats(self) -> Stats:
        """Measure what it uses."""
        self._worker.check()
        found = await self._hunting.run(self._group.usage)
        self._worker.check()
        return Stats(
            memory=found.memory,
            memory_peak=found.memory_peak,
            memory_limit=found.memory_limit,
            cpu_seconds=found.cpu_seconds,
            processes=found.processes,
            disk=self.disk_used,
        )

    # Pauses

    async def pause(self) -> None:
        """Freeze everything; idempotent."""
        await self._freezing.pause()

    async def resume(self) -> None:
        """Let everything go on; idempotent."""
        await self._freezing.resume()

    def check_not_paused(self) -> None:
        """Raise SandboxPausedError if it is."""
        self._freezing.check()

    # The end

    def _heard(self, message: Message) -> None:
        """The worker says what nobody waits for: a command ended, or whoever asked for it left."""
        if "pid" in message:
            self._commands.give_up(message)
        elif "begun" in message:
            self.files.give_up(message)
        elif "exit" in message:
            self._commands.ended(message)

    def fail(self, reason: str) -> None:
        """End the sandbox, since it broke or does what it may not."""
        self._worker.fail(reason)

    def _over(self, status: Status) -> None:
        self._commands.lost(status)
        self._file_workers.kill()
        self._ended(self.spec.id, status)

    @property
    def tree(self) -> Message:
        """What has to be measured for the disk that it uses."""
        place = {"path": str(self._disk), "pid1": self._worker.pid1, "overlay": self._overlay}
        return {**place, "limit": self.disk_limit, "held": self._held.nameless()}

    @property
    def destroyed(self) -> bool:
        """Whether somebody has asked for its end."""
        return self._destroying is not None

    async def destroy(self, *, at_once: bool = False) -> None:
        """End every process and remove every file; whoever else destroys it waits for the same.

        The service's command is asked first by its `stop_signal`, if it has one, but not *at_once*.
        After an error the next call tries again.
        """
        if at_once:
            self._patience_over.set()
        if self._destroying is None or _has_failed(self._destroying):
            asks = self.spec.stop_signal is not None and self._main is not None and not at_once
            asks = asks and not self._freezing.paused  # nobody would hear it
            self._destroying = self._loop.create_task(self._stop() if asks else self._clean_up())
            if not asks:
                self._worker.end(_DESTROYED)
        await asyncio.shield(self._destroying)

    async def _stop(self) -> None:
        """Ask the service's command to end, and wait for a while."""
        with contextlib.suppress(TimeoutError, SandboxGoneError):
            async with asyncio.timeout(self.spec.stop_grace_period):
                assert self._main is not None
                asked = {"op": "signal", "pid": self._main.pid, "number": self.spec.stop_signal}
                await self._worker.ask(asked)
                await _first_of(self._main.wait(), self._patience_over.wait())
        self._worker.end(_DESTROYED)
        await self._clean_up()

    async def _clean_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._worker.aclose()
        await self._file_workers.aclose()
        await in_thread(self._remove)
        self._release()

    def _remove(self) -> None:
        remove_tree(self._disk)
        self._freezing.close()
        self._group.close()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _first_of(*waiting: Coroutine[Any, Any, object]) -> None:
    """Wait for one of several; the others are given up."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def refused(key: str, reason: str) -> NotSupportedError:
    """Return the error of what the worker could not do for a *key* of the service."""
    return NotSupportedError(key, f"'{key}' cannot be had in this sandbox: {reason}")
