"""The commands of one sandbox: how they start, are signalled, and end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from lunette.server.engines.bubblewrap._files import os_error, read_head
from lunette.server.engines.bubblewrap._hunting import Hunting
from lunette.server.engines.bubblewrap._killing import Hunt
from lunette.server.engines.bubblewrap._pipes import Output, Pipes
from lunette.server.engines.bubblewrap._process import BubblewrapProcess
from lunette.server.engines.bubblewrap._terminal import Terminal
from lunette.server.engines.bubblewrap._threads import Threads, to_the_end
from lunette.server.engines.bubblewrap._users import Owner, User, find_user
from lunette.server.engines.bubblewrap._worker import Worker
from lunette.server.engines.bubblewrap.inside.wire import MARKER, Message
from lunette.server.engines.protocol import (
    Command,
    CommandNotRunnableError,
    NoCapacityError,
    SandboxGoneError,
    Status,
)

__all__ = ["Commands"]

_KILL_SECONDS = 20.0
_DEATH_SECONDS = 1.0
_MOST_DISCARDED = 64
_NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE)
_TERM = {"TERM": "xterm-256color"}


class Commands:
    """Starts commands through *worker*, as *owner* unless told otherwise, with the image's *env*
    and in *working_dir* unless told otherwise; *hunting* is where their ends are worked at, *spawn*
    runs something until the sandbox goes.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        owner: Owner,
        env: Mapping[str, str],
        working_dir: str,
        hunting: Hunting,
        threads: Threads,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.working_dir = working_dir
        self._worker = worker
        self._owner = owner
        self._env = env
        self._hunting = hunting
        self._threads = threads
        self._spawn = spawn
        self._running: dict[int, BubblewrapProcess] = {}
        self._discarded: list[Output] = []
        self._killing = asyncio.Lock()  # one freeze at a time
        self._doomed: dict[int, str] = {}  # who the next one ends: pid and marker
        self._thawed = asyncio.Event()
        self._thawed.set()

    async def exec(self, command: Command) -> BubblewrapProcess:
        marker = uuid.uuid4().hex
        user = await self._user(command.user)
        message = {
            "op": "exec",
            "argv": command.argv,
            "cwd": command.cwd,
            "env": self._environment(command, user, marker),
            "terminal": command.terminal and (command.terminal.rows, command.terminal.columns),
            "user": user and {"uid": user.uid, "gid": user.gid, "groups": user.groups},
        }
        if command.terminal is not None:
            return await self._exec_on_terminal(command, message, marker)
        return await self._exec_with_pipes(command, message, marker, self._owner.host_id(user))

    async def _exec_with_pipes(
        self, command: Command, message: Message, marker: str, owner: int | None
    ) -> BubblewrapProcess:
        wants_input = command.interactive or command.stdin is not None
        pipes = Pipes(owner, wants_input=wants_input)
        try:
            await self._thawed.wait()
            answer, _ = await self._exec_answer(message, pipes.given)
            self._worker.check()  # its end may have come between the answer and now
        except BaseException:
            pipes.close()
            raise
        finally:
            pipes.close_given()
        if pipes.stdin is not None:
            pipes.stdin.begin(command.stdin or b"")
            if not command.interactive:
                pipes.stdin.end_behind()
        return self._started(answer, marker, outputs=pipes.outputs, stdin=pipes.stdin)

    async def _exec_on_terminal(
        self, command: Command, message: Message, marker: str
    ) -> BubblewrapProcess:
        await self._thawed.wait()
        answer, fds = await self._exec_answer(message)
        terminal = Terminal(*fds)
        try:
            self._worker.check()
        except SandboxGoneError:
            terminal.close()
            raise
        terminal.input.begin(command.stdin or b"")
        return self._started(
            answer,
            marker,
            outputs=((1, terminal.output),),
            stdin=terminal.input,
            terminal=terminal,
        )

    def _started(self, answer: Message, marker: str, **ends: Any) -> BubblewrapProcess:
        pid: int = answer["pid"]
        process = self._running[answer["id"]] = BubblewrapProcess(
            pid=pid,
            kill=lambda: self._kill(pid, marker=marker),
            send=lambda number: self._signal(pid, number, marker=marker),
            discard=self._discard,
            **ends,
        )
        return process

    def _environment(self, command: Command, user: User | None, marker: str) -> dict[str, str]:
        terminal = _TERM if command.terminal is not None else {}
        home = {"HOME": (user or self._owner.user).home}
        return {**terminal, **home, **self._env, **command.env, MARKER: marker}

    async def _user(self, wanted: str | None) -> User | None:
        """Return who a command is to be; None for the sandbox's own user."""
        if wanted is None:
            return None
        passwd, group = await self._text("/etc/passwd"), await self._text("/etc/group")
        return self._owner.as_another(await self._threads.run(find_user, wanted, passwd, group))

    async def _text(self, path: str) -> str:
        """Return the beginning of a file of the sandbox; nothing of one that is not to be had."""
        _, fds = await self._worker.ask({"op": "open", "path": path})
        return await read_head(fds[0], self._threads) if fds else ""

    def _discard(self, output: Output) -> None:
        """Keep emptying *output* for its command's children; of many the oldest is given up."""
        if output.closed:
            return
        output.discard()
        self._discarded = [one for one in self._discarded if not one.closed]
        self._discarded.append(output)
        if len(self._discarded) > _MOST_DISCARDED:
            self._discarded.pop(0).close()

    async def _exec_answer(
        self, message: Message, fds: list[int] | None = None
    ) -> tuple[Message, list[int]]:
        # Of a command that runs already, its terminal's descriptor must have room.
        on_terminal = message["terminal"] is not None
        answer, given = await self._worker.ask(message, fds, room=on_terminal)
        if "errno" not in answer:
            return answer, given
        if "pid" in answer:
            await asyncio.wait([self.give_up(answer)])
            raise NoCapacityError("the server has no room for another terminal")
        if "program" not in answer:
            raise os_error(answer, message["cwd"] or self.working_dir)
        program, reason = answer["program"], os.strerror(answer["errno"])
        if answer["errno"] == errno.ENOSPC and on_terminal:
            raise NoCapacityError("the sandbox has no room for another terminal")
        if answer["errno"] in _NO_ROOM:
            await self._check_alive()
            raise NoCapacityError(f"the sandbox has no room for another process: {reason}")
        missing = answer["errno"] in (errno.ENOENT, errno.ENOTDIR)
        raise CommandNotRunnableError(127 if missing else 126, f"{program}: {reason}")

    async def _check_alive(self) -> None:
        """Once pid 1 is dead the kernel says ENOMEM to a fork, before we hear of the death."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DEATH_SECONDS):
                await self._worker.gone.wait()
                raise SandboxGoneError(self._worker.status)

    def give_up(self, message: Message) -> asyncio.Task[None]:
        """End a command that started for nobody."""
        return self._spawn(self._kill(message["pid"], marker=message["marker"]))

    def ended(self, message: Message) -> None:
        """The worker says that a command ended."""
        if process := self._running.pop(message["id"], None):
            process.ended(message["exit"])

    def lost(self, status: Status) -> None:
        """All of them went with their sandbox."""
        for process in self._running.values():
            process.lost(status)
        self._running.clear()

    # Signals

    async def _signal(self, pid: int, number: int, *, marker: str) -> None:
        async with self._killing:  # a signal could undo a freeze
            await self._hunting.run(self._hunt({pid: marker}).signal, number)

    async def _kill(self, pid: int, *, marker: str) -> None:
        self._doomed[pid] = marker
        async with self._killing:
            if pid not in self._doomed:  # the one before took it along
                return
            doomed, self._doomed = self._doomed, {}
            hunt = self._hunt(doomed)
            await self._hunting.run(hunt.before)
            # A command that is sent before the freeze is started before it: the worker does one
            # thing after the other. One that is sent later would not be frozen, so it waits.
            self._thawed.clear()
            try:
                await to_the_end(self._kill_frozen(hunt))
            except SandboxGoneError:
                pass  # and the command with it
            finally:
                self._worker.signal_first(signal.SIGCONT)
                self._thawed.set()

    def _hunt(self, markers: Mapping[int, str]) -> Hunt:
        return Hunt(
            markers=markers,
            root=self._worker.pid,
            pid1=self._worker.pid1,
            reserve=self._hunting.reserve,
        )

    async def _kill_frozen(self, hunt: Hunt) -> None:
        ended = False
        try:
            # Beside a fork storm, the one fork that it takes needs seconds.
            answer, _ = await self._worker.ask({"op": "freeze"}, deadline=_KILL_SECONDS)
            self._worker.signal_first(signal.SIGSTOP)
            if answer.get("frozen"):
                ended = await self._hunting.run(hunt.kill_and_thaw, _KILL_SECONDS)
        finally:
            if not ended:  # nothing stays frozen: with its first process all of it dies
                self._worker.fail("a command could not be ended")
