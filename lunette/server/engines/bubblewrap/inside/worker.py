"""A worker: starts one sandbox, enters it, and from then on runs its commands and opens its files.

It stays in the host's pid namespace, where the sandbox cannot see, signal or trace it, and holds no
privilege that a command lacks; so nothing has to be given up between fork and exec, and a command
costs one vfork.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from lunette.server.engines.bubblewrap.inside import files, kernel, limits, sysctl, terminals, wire
from lunette.server.engines.bubblewrap.inside.entering import enter, settle
from lunette.server.engines.bubblewrap.inside.launching import (
    FailedStartError,
    Launched,
    first_children,
    launch,
)
from lunette.server.engines.bubblewrap.inside.pseudo import copied, made_up
from lunette.server.engines.bubblewrap.inside.spawning import (
    Start,
    WrongDirectoryError,
    spawn,
)
from lunette.server.engines.bubblewrap.inside.uploads import Uploads
from lunette.server.engines.bubblewrap.inside.wire import MARKER, Message

__all__ = ["Worker"]

# What no directory in memory may hide: without it there is no command, or no wall.
_NEEDED = ("/proc/1/stat", "/proc/sys/user/max_user_namespaces", "/dev/null")
_ROOM_SECONDS = 0.001
_PATHS = {"path", "source", "target"}


class Worker:
    """Answers the messages of the server over *sock* until the sandbox or the server is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._commands: dict[int, int] = {}  # pid -> the id of its message
        self._uploads = Uploads()
        self._bwrap = 0
        self._null = self._terminals = self._score = -1
        # What this process, or whoever started the server, ignores would be ignored in commands.
        self._ignored = [
            number
            for number in signal.valid_signals()
            if signal.getsignal(number) == signal.SIG_IGN
        ]
        self._working_dir = "/"
        self._limits: limits.Limits = {}
        self._key: str | None = None  # of the service, that is being seen to
        self._operations: dict[str, Callable[[Message, list[int]], tuple[Message, list[int]]]] = {
            "work": self._work,
            "exec": self._exec,
            "freeze": self._freeze,
            "signal": self._signal,
            "open": self._open,
            "begin": self._uploads.begin,
            "commit": self._uploads.commit,
            "abort": self._uploads.abort,
            "stat": files.look,
            "mkdir": files.make_directory,
            "remove": files.remove,
            "move": files.move,
        }

    def serve(self) -> None:
        children = self._watch_children()
        received = wire.receive(self._sock)
        if received is None:
            return
        try:
            launched = self._start(*received)
        except (OSError, FailedStartError) as error:
            wire.send(self._sock, {"error": str(error), "key": self._key})
            return
        self._report_ready(launched)
        try:
            self._loop(children)
        finally:
            # Whatever ended this, nothing of the sandbox may go on: pid 1 asked to die with bwrap,
            # but a sandbox can take that back by tracing its own pid 1.
            _kill(launched.pid1_fd)

    def _start(self, message: Message, fds: list[int]) -> Launched:
        limits.join(message["groups"])
        self._score = limits.open_score()
        limits.set_score(self._score, limits.WORKER_SCORE)
        limits.go_first()
        launched = launch(message, fds, deadline=time.monotonic() + message["deadline"])
        self._bwrap = launched.bwrap
        try:
            for pid in (launched.pid1, *first_children(launched.pid1)):
                limits.apply_to(pid, message["processes"])
            enter(launched.pid1, message["base"], lambda: self._furnish(message))
            self._settle(message)
        except BaseException:
            _kill(launched.pid1_fd)
            raise
        return launched

    def _settle(self, message: Message) -> None:
        """Inside now: become what a command may be, for good."""
        # No single file can be larger than all together may be: that takes no watching.
        own = limits.of_sandbox(message["processes"], message["disk"])
        wanted = limits.named(message["ulimits"])
        limits.apply(limits.with_room(own, wanted))
        self._limits = limits.within(own, wanted)
        settle(message)
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._working_dir = message["working_dir"]

    def _furnish(self, message: Message) -> None:
        """Inside, where every link resolves: mount what bwrap cannot without following links of
        the image, and make the working directory, while nothing of the sandbox runs yet.
        """
        os.chdir("/")
        self._terminals = terminals.open_directory()
        for tmpfs in message["tmpfs"]:
            self._key = "tmpfs"
            _make_directory(tmpfs["path"])
            kernel.mount_tmpfs(tmpfs["path"], tmpfs["options"], tmpfs["flags"])
            for path in _NEEDED:
                os.stat(path)
        self._key = "working_dir"
        _make_directory(message["working_dir"])
        self._key = "read_only"
        for path in message["read_only"]:
            kernel.remount_read_only(path)
        self._key = None
        if message["base"] is not None:
            sysctl.forbid_user_namespaces()
        sysctl.limit_segments(message["shm"])
        sysctl.close()

    def _work(self, message: Message, _: list[int]) -> tuple[Message, list[int]]:
        """Make `working_dir`, and start from there."""
        self._key = "working_dir"
        self._working_dir = message["working_dir"]
        os.makedirs(self._working_dir, exist_ok=True)
        return {}, []

    def _report_ready(self, launched: Launched) -> None:
        worker = os.pidfd_open(os.getpid())
        pids = {"pid1": launched.pid1, "worker": os.getpid()}
        wire.send(self._sock, {"ready": True, **pids}, [launched.pid1_fd, worker])
        os.close(worker)

    def _watch_children(self) -> int:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        return reading

    def _loop(self, children: int) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(children, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == children:
                    with contextlib.suppress(BlockingIOError):
                        os.read(children, 4096)
                    if not self._reap():
                        return
                elif not self._answer():
                    return

    def _reap(self) -> bool:
        """Report the commands that ended; False when bwrap, and so the sandbox, did."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._bwrap:
                return False
            if (message_id := self._commands.pop(pid, None)) is not None:
                code = os.waitstatus_to_exitcode(status)
                wire.send(self._sock, {"id": message_id, "exit": code})

    def _answer(self) -> bool:
        received = wire.receive(self._sock)
        if received is None:
            return False
        message, fds = received
        answer_fds: list[int] = []
        try:
            for name in _PATHS & message.keys():
                message[name] = os.path.join(self._working_dir, message[name])
            answer, answer_fds = self._operations[message["op"]](message, fds)
        except OSError as error:
            answer = {
                "errno": error.errno,
                "path": _text(error.filename),
                "kind": type(error).__name__,
            }
        except RecursionError:  # a chain of links that is longer than any file system follows
            answer = {"errno": errno.ELOOP, "path": None, "kind": "OSError"}
        except ValueError as error:  # a name that no file system takes
            detail = str(error)
            answer = {"errno": errno.EINVAL, "path": None, "kind": "OSError", "detail": detail}
        finally:
            for fd in fds:
                os.close(fd)
        wire.send(self._sock, {"id": message["id"], **answer}, answer_fds)
        for fd in answer_fds:
            os.close(fd)
        return True

    def _freeze(self, message: Message, fds: list[int]) -> tuple[Message, list[int]]:
        """Stop every process of the sandbox, all at once, so that nobody can fork away."""
        _, status = os.waitpid(_fork_into(_stop_everybody), 0)
        return {"frozen": status == 0}, []

    def _signal(self, message: Message, _: list[int]) -> tuple[Message, list[int]]:
        """Signal a command, if it is still there; until it is reaped its pid is its own."""
        if message["pid"] in self._commands:
            os.kill(message["pid"], message["number"])
        return {}, []

    def _open(self, message: Message, _: list[int]) -> tuple[Message, list[int]]:
        fd = files.open_for_reading(message["path"])
        if not made_up(fd):
            return {"copied": False}, [fd]
        try:
            return {"copied": True}, [copied(fd)]
        finally:
            os.close(fd)

    def _exec(self, message: Message, fds: list[int]) -> tuple[Message, list[int]]:
        os.chdir(os.path.join(self._working_dir, message["cwd"] or ""))
        try:
            if message["terminal"] is None:
                streams = fds if len(fds) == 3 else [self._null, *fds]
                return self._spawn(message, streams), []
            return self._exec_on_terminal(message)
        except WrongDirectoryError:
            raise
        except OSError as error:
            return {"errno": error.errno, "program": message["argv"][0]}, []

    def _exec_on_terminal(self, message: Message) -> tuple[Message, list[int]]:
        user = message["user"]
        owner = user["uid"] if user else None
        terminal = terminals.open_terminal(self._terminals, message["terminal"], owner)
        try:
            answer = self._spawn(message, [terminal.slave])
        except BaseException:
            os.close(terminal.master)
            raise
        finally:
            os.close(terminal.slave)
        return answer, [terminal.master]

    def _spawn(self, message: Message, streams: list[int]) -> Message:
        env: dict[str, str] = message["env"]
        user = message["user"]
        start = Start(
            argv=message["argv"],
            env=env,
            streams=streams,
            ignored=self._ignored,
            limits=self._limits,
            user=(user["uid"], user["gid"], user["groups"]) if user else None,
        )
        limits.set_score(self._score, limits.COMMAND_SCORE)  # which it is born with
        try:
            pid = spawn(start)
        finally:
            limits.set_score(self._score, limits.WORKER_SCORE)
        self._commands[pid] = message["id"]
        return {"pid": pid, "marker": env[MARKER]}


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except RecursionError:  # there is one for every level that is missing
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)) from None


def _ignore(number: int, frame: object) -> None:
    """A handler is what makes the wake-up descriptor work; it has nothing to do."""


def _fork_into(work: Callable[[], None]) -> int:
    """Run *work* in a child, which is inside, where the sandbox's processes may leave no room."""
    while True:
        try:
            pid = os.fork()
        except BlockingIOError:
            time.sleep(_ROOM_SECONDS)
            continue
        if pid:
            return pid
        try:
            work()
        finally:
            os._exit(0)


def _stop_everybody() -> None:
    # Not this process and not pid 1; nobody else may be there, or only what is not the user's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGSTOP)


def _kill(pidfd: int) -> None:
    # Where commands are not root, this process is not either; then pid 1 cannot be traced.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _text(filename: object) -> str | None:
    if isinstance(filename, bytes):
        return os.fsdecode(filename)
    return filename if isinstance(filename, str) else None
