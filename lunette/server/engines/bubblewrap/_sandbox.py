"""One sandbox: its worker, its first process, its directories and its ids."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import uuid
from collections.abc import AsyncIterable, Callable, Coroutine
from pathlib import Path
from typing import Any

from lunette._scratch import remove_tree
from lunette.server.engines.bubblewrap._channel import Channel, DeadChannelError, set_done
from lunette.server.engines.bubblewrap._files import OpenFile, in_thread, os_error, write_all
from lunette.server.engines.bubblewrap._killing import Hunt
from lunette.server.engines.bubblewrap._pipes import OutputPipe, Pipes
from lunette.server.engines.bubblewrap._process import BubblewrapProcess
from lunette.server.engines.bubblewrap.inside.wire import MARKER, Message
from lunette.server.engines.protocol import (
    Command,
    CommandNotRunnableError,
    NoCapacityError,
    NotSupportedError,
    SandboxGoneError,
    SandboxSpec,
    State,
    Status,
)

__all__ = ["ANSWER_SECONDS", "BubblewrapSandbox", "refused"]

ANSWER_SECONDS = 10.0
_KILL_SECONDS = 20.0
_DEATH_SECONDS = 1.0
_WORKER_SECONDS = 5.0
_MOST_DISCARDED = 64
_DESTROYED = Status(state=State.STOPPED, reason="destroyed")


class BubblewrapSandbox:
    """A sandbox that was started; *ended* is told once, when it stops being `running`, and
    *release* called when nothing of it is left. *owner* is the host's id of its user, in a range.
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
        owner: int | None,
        env: dict[str, str],
        working_dir: str,
        release: Callable[[], None],
        ended: Callable[[str, Status], None],
    ) -> None:
        self.spec = spec
        self.disk_limit = disk_limit
        self.status = Status(state=State.RUNNING)
        self._channel = channel
        self._pid1, self._worker = fds
        self._pid1_pid: int = hello["pid1"]
        self._worker_pid: int = hello["worker"]
        self._disk = disk
        self._overlay = overlay
        self._owner = owner
        self._env = env
        self._working_dir = working_dir
        self._release = release
        self._ended = ended
        self._processes: dict[int, BubblewrapProcess] = {}
        self._discarded: list[OutputPipe] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()
        self._killing = asyncio.Lock()  # one freeze at a time
        self._doomed: dict[int, str] = {}  # who the next one ends: pid and marker
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._main: BubblewrapProcess | None = None
        self._patience_over = asyncio.Event()
        self._destroying: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pid1, self._vanished)
        channel.unasked = self._heard
        channel.late = self._late
        channel.closed.add_done_callback(lambda _: self._vanished())

    async def adopt(self, spec: SandboxSpec) -> None:
        """Become the sandbox of *spec*; raise NotSupportedError if its working directory cannot be
        made.
        """
        if spec.working_dir is not None and spec.working_dir != self._working_dir:
            answer, _ = await self._ask({"op": "work", "working_dir": spec.working_dir})
            if "errno" in answer:
                raise refused("working_dir", f"{spec.working_dir}: {os.strerror(answer['errno'])}")
            self._working_dir = spec.working_dir
        self.spec = spec

    # Commands

    async def exec(self, command: Command) -> BubblewrapProcess:
        marker = uuid.uuid4().hex
        pipes = Pipes(self._owner, wants_input=command.stdin is not None)
        env = {**self._env, **command.env, MARKER: marker}
        message = {"op": "exec", "argv": command.argv, "cwd": command.cwd, "env": env}
        try:
            await self._thawed.wait()
            answer = await self._exec_answer(message, pipes.given)
            self._check()  # its end may have come between the answer and now
        except BaseException:
            pipes.close()
            raise
        finally:
            pipes.close_given()
        if pipes.stdin is not None and command.stdin is not None:
            pipes.stdin.write_and_close(command.stdin)
        process = self._processes[answer["id"]] = BubblewrapProcess(
            pid=answer["pid"],
            stdout=pipes.stdout,
            stderr=pipes.stderr,
            stdin=pipes.stdin,
            kill=lambda: self._kill(answer["pid"], marker=marker),
            discard=self._discard,
        )
        return process

    def _discard(self, pipe: OutputPipe) -> None:
        """Keep emptying *pipe* for the children of its command; of many, the oldest is given up."""
        if pipe.closed:
            return
        pipe.discard()
        self._discarded = [p for p in self._discarded if not p.closed]
        self._discarded.append(pipe)
        if len(self._discarded) > _MOST_DISCARDED:
            self._discarded.pop(0).close()

    async def _exec_answer(self, message: Message, fds: list[int]) -> Message:
        answer, _ = await self._ask(message, fds)
        if "pid" in answer:
            return answer
        if "program" not in answer:
            raise os_error(answer, message["cwd"] or self._working_dir)
        program, reason = answer["program"], os.strerror(answer["errno"])
        if answer["errno"] in (errno.EAGAIN, errno.ENOMEM):
            await self._check_alive()
            raise NoCapacityError(f"the sandbox has no room for another process: {reason}")
        missing = answer["errno"] in (errno.ENOENT, errno.ENOTDIR)
        raise CommandNotRunnableError(127 if missing else 126, f"{program}: {reason}")

    async def _check_alive(self) -> None:
        """Once pid 1 is dead the kernel says ENOMEM to a fork, before we hear of the death."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DEATH_SECONDS):
                await self._gone.wait()
                raise SandboxGoneError(self.status)

    async def _kill(self, pid: int, *, marker: str) -> None:
        self._doomed[pid] = marker
        async with self._killing:
            if pid not in self._doomed:  # the one before took it along
                return
            doomed, self._doomed = self._doomed, {}
            hunt = Hunt(markers=doomed, root=self._worker_pid, pid1=self._pid1_pid)
            await in_thread(hunt.before)
            # A command that is sent before the freeze is started before it: the worker does one
            # thing after the other. One that is sent later would not be frozen, so it waits.
            self._thawed.clear()
            try:
                await self._kill_frozen(hunt)
            except SandboxGoneError:
                pass  # and the command with it
            finally:
                _signal_pidfd(self._pid1, signal.SIGCONT)
                self._thawed.set()

    async def _kill_frozen(self, hunt: Hunt) -> None:
        answer, _ = await self._ask({"op": "freeze"})
        _signal_pidfd(self._pid1, signal.SIGSTOP)
        if not (answer.get("frozen") and await in_thread(hunt.kill_and_thaw, _KILL_SECONDS)):
            self.fail("a command could not be ended")

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
            self._end(Status(state=State.STOPPED, reason=reason, exit_code=code))

    # Files

    async def open(self, path: str) -> OpenFile:
        answer, fds = await self._ask({"op": "open", "path": path})
        if not fds:
            raise os_error(answer, path)
        return await OpenFile.of(fds[0], answer["size"], path)

    async def put(self, path: str, data: AsyncIterable[bytes]) -> None:
        answer, fds = await self._ask({"op": "begin", "path": path})
        if not fds:
            raise os_error(answer, path)
        try:
            await write_all(fds[0], data, path)
        except BaseException:
            self._spawn(self._abort(answer["id"]))
            raise
        finally:
            os.close(fds[0])
        done, _ = await self._ask({"op": "commit", "begun": answer["id"]})
        if "errno" in done:
            raise os_error(done, path)

    async def _abort(self, begun: int) -> None:
        with contextlib.suppress(SandboxGoneError):
            await self._ask({"op": "abort", "begun": begun})

    # The end

    async def _ask(
        self, message: Message, fds: list[int] | None = None
    ) -> tuple[Message, list[int]]:
        self._check()
        try:
            return await self._channel.ask(message, fds or (), deadline=ANSWER_SECONDS)
        except DeadChannelError:
            await self._gone.wait()
        raise SandboxGoneError(self.status)

    def _check(self) -> None:
        if self.status.state is not State.RUNNING:
            raise SandboxGoneError(self.status)

    def _heard(self, message: Message) -> None:
        """The worker says what nobody waits for: a command ended, or whoever asked for it left."""
        if "pid" in message:
            self._spawn(self._kill(message["pid"], marker=message["marker"]))
        elif "begun" in message:
            self._spawn(self._abort(message["id"]))
        elif process := self._processes.pop(message["id"], None):
            process.ended(message["exit"])

    def _late(self) -> None:
        # A process that is stopped between vfork and exec stops the worker too. Nothing but an
        # attack does that, and waiting would not end it.
        self.fail("the sandbox stopped answering")

    def fail(self, reason: str) -> None:
        """End the sandbox, since it broke or does what it may not."""
        self._end(Status(state=State.FAILED, reason=reason))

    def _vanished(self) -> None:
        self._end(Status(state=State.LOST, reason="the sandbox's first process was killed"))

    def _end(self, status: Status) -> None:
        """Stop taking commands; the first reason is the one that counts."""
        if self.status.state is not State.RUNNING:
            return
        self.status = status
        self._loop.remove_reader(self._pid1)
        _signal_pidfd(self._pid1, signal.SIGKILL)
        for process in self._processes.values():
            process.lost(status)
        self._processes.clear()
        self._gone.set()
        self._ended(self.spec.id, status)

    @property
    def tree(self) -> Message:
        """What has to be measured for the disk that it uses."""
        place = {"path": str(self._disk), "pid1": self._pid1_pid, "overlay": self._overlay}
        return {**place, "limit": self.disk_limit}

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
            self._destroying = self._loop.create_task(self._stop() if asks else self._clean_up())
            if not asks:
                self._end(_DESTROYED)
        await asyncio.shield(self._destroying)

    async def _stop(self) -> None:
        """Ask the service's command to end, and wait for a while."""
        with contextlib.suppress(TimeoutError, SandboxGoneError):
            async with asyncio.timeout(self.spec.stop_grace_period):
                assert self._main is not None
                asked = {"op": "signal", "pid": self._main.pid, "number": self.spec.stop_signal}
                await self._ask(asked)
                await _first_of(self._main.wait(), self._patience_over.wait())
        self._end(_DESTROYED)
        await self._clean_up()

    async def _clean_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._pid1 >= 0:
            await self._end_processes()
        await in_thread(remove_tree, self._disk)
        self._release()

    async def _end_processes(self) -> None:
        if not await wait_for_end(self._pid1, deadline=ANSWER_SECONDS):
            raise TimeoutError("the sandbox does not end; its files are left to the next try")
        # The worker goes by itself when it has reaped bwrap, which would else be a zombie of
        # somebody else's.
        if not await wait_for_end(self._worker, deadline=_WORKER_SECONDS):
            _signal_pidfd(self._worker, signal.SIGKILL)
        self._channel.close()
        os.close(self._pid1)
        os.close(self._worker)
        self._pid1 = self._worker = -1

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


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


def _signal_pidfd(fd: int, number: signal.Signals) -> None:
    """Signal who is behind *fd*; -1 for one that was given back."""
    if fd >= 0:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)


def refused(key: str, reason: str) -> NotSupportedError:
    """Return the error of what the worker could not do for a *key* of the service."""
    return NotSupportedError(key, f"'{key}' cannot be had in this sandbox: {reason}")


async def wait_for_end(pidfd: int, *, deadline: float) -> bool:
    """Return whether the process behind *pidfd* ends within *deadline* seconds."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, lambda: set_done(ended))
    try:
        async with asyncio.timeout(deadline):
            await ended
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True
