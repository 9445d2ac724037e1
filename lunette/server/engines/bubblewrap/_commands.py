"""The commands of one sandbox: how they start, and how their ends are told."""

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
from lunette.server.engines.bubblewrap._freezing import Freezing
from lunette.server.engines.bubblewrap._limits import Deaths
from lunette.server.engines.bubblewrap._pipes import Output, Pipes
from lunette.server.engines.bubblewrap._process import BubblewrapProcess
from lunette.server.engines.bubblewrap._terminal import Terminal
from lunette.server.engines.bubblewrap._threads import Threads
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

_DEATH_SECONDS = 1.0
_MOST_DISCARDED = 64
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the latter as a shell says it of a child
_NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE)
_TERM = {"TERM": "xterm-256color"}


class Commands:
    """Starts commands through *worker*, as *owner* unless told otherwise, with the image's *env*
    and in *working_dir* unless told otherwise; *freezing* signals and ends them, *deaths*
    knows whom the machine ended, *spawn* runs something until the sandbox goes.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        owner: Owner,
        env: Mapping[str, str],
        working_dir: str,
        freezing: Freezing,
        deaths: Deaths,
        threads: Threads,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.working_dir = working_dir
        self._worker = worker
        self._owner = owner
        self._env = env
        self._freezing = freezing
        self._deaths = deaths
        self._threads = threads
        self._spawn = spawn
        self._running: dict[int, BubblewrapProcess] = {}
        self._discarded: list[Output] = []

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
            await self._freezing.thawed()
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
        await self._freezing.thawed()
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
            kill=lambda: self._freezing.kill(pid, marker),
            send=lambda number: self._freezing.signal(pid, marker, number),
            discard=self._discard,
            **ends,
        )
        process.deaths_before = self._deaths.count()
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
        return self._spawn(self._freezing.kill(message["pid"], message["marker"]))

    def ended(self, message: Message) -> None:
        """The worker says that a command ended."""
        if process := self._running.pop(message["id"], None):
            code: int = message["exit"]
            died = self._deaths.count() > process.deaths_before  # always: it notes when
            out_of_memory = died and code in _KILLED and not process.is_killed
            process.ended(code, out_of_memory=out_of_memory)

    def lost(self, status: Status) -> None:
        """All of them went with their sandbox."""
        for process in self._running.values():
            process.lost(status)
        self._running.clear()
