"""A sandbox and its verbs, blocking and async."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from datetime import datetime
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from . import _leftovers
from ._connector import Link
from ._io import DONE
from ._loops import warn_awaited
from ._operations import commands, pauses, processes, sandboxes, transfers
from ._operations._sources import refuse_awaited
from .errors import LunetteError, SandboxDestroyedError
from .files import Files
from .process import Process
from .results import ExecResult

if TYPE_CHECKING:
    from ._operations._paths import RemotePath
    from ._operations._sources import LocalSource
    from ._operations._targets import LocalTarget
    from ._progress import ShowTransfer
    from .client import LunetteClient
    from .process import Pipe
    from .results import ProcessInfo, SandboxStats

__all__ = ["AsyncSandbox", "ExecResult", "Sandbox", "SandboxDestroyedError"]

logger = logging.getLogger(__name__)


class Sandbox:
    """A place where untrusted code runs.

    Each verb comes in two spellings: `exec` blocks, `aexec` is awaited. Made by
    `client.create_sandbox`, or from the id of a sandbox that exists.

    *files* is a `Files`: it lists, reads, writes, opens, moves and removes what is in the sandbox.
    *sandbox_id* is its id; *service* what it was made from, where that is known.
    """

    sandbox_id: str
    service: Mapping[str, Any] | None
    files: Files

    def __new__(
        cls, client: LunetteClient, sandbox_id: str, service: Mapping[str, Any] | None = None
    ) -> Self:
        from .client import AsyncLunetteClient

        awaited = cls is Sandbox and isinstance(client, AsyncLunetteClient)
        return super().__new__(cast("type[Self]", AsyncSandbox) if awaited else cls)

    def __init__(
        self, client: LunetteClient, sandbox_id: str, service: Mapping[str, Any] | None = None
    ) -> None:
        self.sandbox_id = str(sandbox_id)
        self.service = service
        self._link = Link(
            client._connector,  # pyright: ignore[reportPrivateUsage] - they are one unit
            self.sandbox_id,
            awaited=isinstance(self, AsyncSandbox),
        )
        self._detached = False
        self.files = Files(self._link)

    def __reduce__(self) -> tuple[Any, ...]:
        # Where it is, and no key: the one who unpickles it goes by a configuration of their own.
        return _thaw, (type(self), self._link.base_url, self.sandbox_id)

    def __repr__(self) -> str:
        status = "destroyed" if self._link.destroyed else "active"
        return f"Sandbox(sandbox_id={self.sandbox_id}, status={status})"

    def exec(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: float | None = None,
        input: str | bytes | None = None,
        output_limit: int | None = None,
        check: bool = False,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
    ) -> ExecResult:
        """Run a command to its end.

        A string runs by `/bin/sh -c`, a sequence without a shell. A failed command is a result,
        unless *check* is set: then it is an `ExecFailedError`. After *timeout* seconds the command
        and all that it started is killed, and `ExecTimeoutError` has the output so far. Of each
        stream *output_limit* bytes are kept (10 MiB, and at most 16), half from its beginning and
        half from its end; `truncated` counts the others.

        *user* is another one of the sandbox's, such as `nobody` or `1000:1000`; it needs a
        directory that it may write, since `/workspace` belongs to the sandbox's user. *on_stdout*
        and *on_stderr* are told the text as it comes; one that is asynchronous is awaited by
        `aexec`, and one that fails kills the command. With either the command is a process like
        those of `start`.

        However long it takes and whatever the network does, the command runs once. Interrupted or
        cancelled, it is killed.
        """
        return self._link.run(
            commands.execute,
            self.sandbox_id,
            command,
            cwd=cwd,
            env=env,
            user=user,
            timeout=timeout,
            input=input,
            output_limit=output_limit,
            check=check,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )

    async def aexec(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server keeps it
        input: str | bytes | None = None,
        output_limit: int | None = None,
        check: bool = False,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
    ) -> ExecResult:
        """Run a command to its end.

        A string runs by `/bin/sh -c`, a sequence without a shell. A failed command is a result,
        unless *check* is set: then it is an `ExecFailedError`. After *timeout* seconds the command
        and all that it started is killed, and `ExecTimeoutError` has the output so far. Of each
        stream *output_limit* bytes are kept (10 MiB, and at most 16), half from its beginning and
        half from its end; `truncated` counts the others.

        *user* is another one of the sandbox's, such as `nobody` or `1000:1000`; it needs a
        directory that it may write, since `/workspace` belongs to the sandbox's user. *on_stdout*
        and *on_stderr* are told the text as it comes; one that is asynchronous is awaited by
        `aexec`, and one that fails kills the command. With either the command is a process like
        those of `start`.

        However long it takes and whatever the network does, the command runs once. Interrupted or
        cancelled, it is killed.
        """
        return await self._link.arun(
            commands.execute,
            self.sandbox_id,
            command,
            cwd=cwd,
            env=env,
            user=user,
            timeout=timeout,
            input=input,
            output_limit=output_limit,
            check=check,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )

    def start(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        input: str | bytes | Pipe | None = None,
        tty: bool | tuple[int, int] | None = None,
        timeout: float | None = None,
        name: str | None = None,
    ) -> Process:
        """Start a command that lives on by itself, and return when it has started.

        It runs as by `exec`, but is followed, written to and signalled while it does. *input* is
        what it reads on its standard input, at most 32 MiB; with `PIPE` it is written by
        `process.write`. With *tty* it has a terminal, of 24 rows and 80 columns or of (rows,
        columns), which stays open behind the *input*: `process.close_input` types ^D, which a
        program that has not yet begun to read its terminal may lose. After *timeout* seconds it is
        killed. *user* is as of `exec`. *name* is for people.
        """
        started = self._link.run(
            processes.start,
            self.sandbox_id,
            command,
            cwd=cwd,
            env=env,
            user=user,
            input=input,
            tty=tty,
            timeout=timeout,
            name=name,
        )
        return Process(self._link, started)

    async def astart(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        input: str | bytes | Pipe | None = None,
        tty: bool | tuple[int, int] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server keeps it
        name: str | None = None,
    ) -> Process:
        """Start a command that lives on by itself, and return when it has started.

        It runs as by `exec`, but is followed, written to and signalled while it does. *input* is
        what it reads on its standard input, at most 32 MiB; with `PIPE` it is written by
        `process.write`. With *tty* it has a terminal, of 24 rows and 80 columns or of (rows,
        columns), which stays open behind the *input*: `process.close_input` types ^D, which a
        program that has not yet begun to read its terminal may lose. After *timeout* seconds it is
        killed. *user* is as of `exec`. *name* is for people.
        """
        started = await self._link.arun(
            processes.start,
            self.sandbox_id,
            command,
            cwd=cwd,
            env=env,
            user=user,
            input=input,
            tty=tty,
            timeout=timeout,
            name=name,
        )
        return Process(self._link, started)

    def processes(self) -> list[ProcessInfo]:
        """Look at the commands that run and the processes that were started, the oldest first."""
        return self._link.run(processes.list_all, self.sandbox_id)

    async def aprocesses(self) -> list[ProcessInfo]:
        """Look at the commands that run and the processes that were started, the oldest first."""
        return await self._link.arun(processes.list_all, self.sandbox_id)

    def process(self, process_id: str) -> Process:
        """Find a process by its id, to follow it from its beginning."""
        started = self._link.run(processes.find, self.sandbox_id, process_id)
        return Process(self._link, started)

    async def aprocess(self, process_id: str) -> Process:
        """Find a process by its id, to follow it from its beginning."""
        started = await self._link.arun(processes.find, self.sandbox_id, process_id)
        return Process(self._link, started)

    def upload(
        self,
        local_path: LocalSource,
        remote_path: RemotePath,
        *,
        mode: int | None = None,
        ignore: str | Sequence[str] | None = None,
        progress: ShowTransfer = False,
    ) -> None:
        """Copy a file or a directory of this machine into the sandbox, whole or not at all.

        *local_path* is a path, a binary file that is open (what comes from where it is), bytes, or
        an iterator of bytes; for `aupload` also an asynchronous one. Missing directories are made,
        and a file that is there is replaced at once. Of a directory, what is in it comes into
        *remote_path*, with what is there already: as `shutil.copytree` with `symlinks=True` and
        `dirs_exist_ok=True`. FIFOs, sockets and devices are left out, and the log has a warning of
        it. A `~` is a name like any other, on either side.

        *mode* are the permissions of a file, such as 0o755. Without it, a program stays one, a file
        that is there keeps its own, and a new one has 0644. *ignore* are lines of a `.gitignore`
        that say what of a directory stays here, such as `Path("job/.gitignore").read_text()`; no
        such file is read by itself. *progress* is True for a bar (which needs the extra
        `progress`), or a plain function that is called with the bytes done and in all. Those of a
        directory are of its archive, and in all they are None until the end.

        It goes on after a connection was cut, as often as the client's `RetryPolicy` allows without
        anything having come. A file that changes while it is read is an OSError (ESTALE).
        """
        refuse_awaited(local_path)
        self._link.run(
            transfers.upload,
            self.sandbox_id,
            local_path,
            remote_path,
            mode=mode,
            ignore=ignore,
            progress=progress,
        )

    async def aupload(
        self,
        local_path: LocalSource,
        remote_path: RemotePath,
        *,
        mode: int | None = None,
        ignore: str | Sequence[str] | None = None,
        progress: ShowTransfer = False,
    ) -> None:
        """Copy a file or a directory of this machine into the sandbox, whole or not at all.

        *local_path* is a path, a binary file that is open (what comes from where it is), bytes, or
        an iterator of bytes; for `aupload` also an asynchronous one. Missing directories are made,
        and a file that is there is replaced at once. Of a directory, what is in it comes into
        *remote_path*, with what is there already: as `shutil.copytree` with `symlinks=True` and
        `dirs_exist_ok=True`. FIFOs, sockets and devices are left out, and the log has a warning of
        it. A `~` is a name like any other, on either side.

        *mode* are the permissions of a file, such as 0o755. Without it, a program stays one, a file
        that is there keeps its own, and a new one has 0644. *ignore* are lines of a `.gitignore`
        that say what of a directory stays here, such as `Path("job/.gitignore").read_text()`; no
        such file is read by itself. *progress* is True for a bar (which needs the extra
        `progress`), or a plain function that is called with the bytes done and in all. Those of a
        directory are of its archive, and in all they are None until the end.

        It goes on after a connection was cut, as often as the client's `RetryPolicy` allows without
        anything having come. A file that changes while it is read is an OSError (ESTALE).
        """
        await self._link.arun(
            transfers.upload,
            self.sandbox_id,
            local_path,
            remote_path,
            mode=mode,
            ignore=ignore,
            progress=progress,
        )

    def download(
        self,
        remote_path: RemotePath,
        local_path: LocalTarget,
        *,
        mode: int | None = None,
        ignore: str | Sequence[str] | None = None,
        progress: ShowTransfer = False,
    ) -> None:
        """Copy a file or a directory of the sandbox to this machine, whole or not at all.

        *local_path* is a path, or a binary file that is open, which is written to from where it is.
        Missing directories are made, and a file that is there is replaced at once. Of a directory,
        what is in it comes into *local_path*, with what is there already: as `shutil.copytree` with
        `symlinks=True` and `dirs_exist_ok=True`. FIFOs, sockets and devices are left out, and links
        that lead out of it, of which the log has a warning. A `~` is a name like any other, on
        either side.

        *mode* are the permissions of a file, such as 0o644. Without it, one that is there keeps its
        own, and the umask decides those of a new one; what is in a directory keeps modes and times.
        *ignore* are lines of a `.gitignore` that say what of a directory stays there. *progress* is
        True for a bar (which needs the extra `progress`), or a plain function that is called with
        the bytes done and in all. Those of a directory are of its archive, and in all they are None
        until the end.

        It goes on after a connection was cut, as often as the client's `RetryPolicy` allows without
        anything having come. A file that changes meanwhile is read again from its beginning, where
        it can be written so; else, or if it never rests, it is an OSError (ESTALE).
        """
        self._link.run(
            transfers.download,
            self.sandbox_id,
            remote_path,
            local_path,
            mode=mode,
            ignore=ignore,
            progress=progress,
        )

    async def adownload(
        self,
        remote_path: RemotePath,
        local_path: LocalTarget,
        *,
        mode: int | None = None,
        ignore: str | Sequence[str] | None = None,
        progress: ShowTransfer = False,
    ) -> None:
        """Copy a file or a directory of the sandbox to this machine, whole or not at all.

        *local_path* is a path, or a binary file that is open, which is written to from where it is.
        Missing directories are made, and a file that is there is replaced at once. Of a directory,
        what is in it comes into *local_path*, with what is there already: as `shutil.copytree` with
        `symlinks=True` and `dirs_exist_ok=True`. FIFOs, sockets and devices are left out, and links
        that lead out of it, of which the log has a warning. A `~` is a name like any other, on
        either side.

        *mode* are the permissions of a file, such as 0o644. Without it, one that is there keeps its
        own, and the umask decides those of a new one; what is in a directory keeps modes and times.
        *ignore* are lines of a `.gitignore` that say what of a directory stays there. *progress* is
        True for a bar (which needs the extra `progress`), or a plain function that is called with
        the bytes done and in all. Those of a directory are of its archive, and in all they are None
        until the end.

        It goes on after a connection was cut, as often as the client's `RetryPolicy` allows without
        anything having come. A file that changes meanwhile is read again from its beginning, where
        it can be written so; else, or if it never rests, it is an OSError (ESTALE).
        """
        await self._link.arun(
            transfers.download,
            self.sandbox_id,
            remote_path,
            local_path,
            mode=mode,
            ignore=ignore,
            progress=progress,
        )

    def pause(self) -> None:
        """Freeze all that runs in the sandbox until `resume`; once more is no error.

        What runs keeps its memory and knows nothing of it. Until then, whatever would begin
        something in the sandbox is a `SandboxPausedError`; its processes can be killed, and it can
        be destroyed. Its time, and the timeouts of its commands, run on.
        """
        self._link.run(pauses.pause, self.sandbox_id)

    async def apause(self) -> None:
        """Freeze all that runs in the sandbox until `resume`; once more is no error.

        What runs keeps its memory and knows nothing of it. Until then, whatever would begin
        something in the sandbox is a `SandboxPausedError`; its processes can be killed, and it can
        be destroyed. Its time, and the timeouts of its commands, run on.
        """
        await self._link.arun(pauses.pause, self.sandbox_id)

    def resume(self) -> None:
        """Let a paused sandbox go on; one that is not is no error."""
        self._link.run(pauses.resume, self.sandbox_id)

    async def aresume(self) -> None:
        """Let a paused sandbox go on; one that is not is no error."""
        await self._link.arun(pauses.resume, self.sandbox_id)

    def stats(self) -> SandboxStats:
        """Say what the sandbox uses now: memory, processor time, processes and disk."""
        return self._link.run(pauses.stats, self.sandbox_id)

    async def astats(self) -> SandboxStats:
        """Say what the sandbox uses now: memory, processor time, processes and disk."""
        return await self._link.arun(pauses.stats, self.sandbox_id)

    def extend(self, seconds: float) -> datetime | None:
        """Let the sandbox live *seconds* from now at least, and return when it will expire, which
        is None for never.

        It makes its life longer than a `ttl` or an `idle_timeout` does, and never shorter.
        """
        return self._link.run(sandboxes.extend, self.sandbox_id, seconds)

    async def aextend(self, seconds: float) -> datetime | None:
        """Let the sandbox live *seconds* from now at least, and return when it will expire, which
        is None for never.

        It makes its life longer than a `ttl` or an `idle_timeout` does, and never shorter.
        """
        return await self._link.arun(sandboxes.extend, self.sandbox_id, seconds)

    def detach(self) -> None:
        """Let it live on after the `with` around it, and after this process.

        One of the embedded server ends with the process all the same.
        """
        self._detached = True
        _leftovers.forget(self.sandbox_id)

    def destroy(self) -> Awaitable[None]:
        """Destroy the sandbox with all that is in it; once more is no error."""
        self._destroy()
        return DONE

    async def adestroy(self) -> None:
        """Destroy the sandbox with all that is in it; once more is no error."""
        if self._link.destroyed:
            return
        await self._link.arun(sandboxes.destroy, self.sandbox_id)
        self._link.destroyed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._detached:
            return
        # Not `destroy`, which an AsyncSandbox makes a coroutine that nobody here would await.
        try:
            self._destroy()
        except LunetteError as failure:
            self._keep(error, failure)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._link.destroyed or self._detached:
            return
        try:
            await self.adestroy()
        except LunetteError as failure:
            self._keep(error, failure)

    if not TYPE_CHECKING:
        # For type checkers a plain client's sandbox is no awaitable; at run time it is forgiven.
        def __await__(self) -> Generator[Any, Any, Self]:
            warn_awaited("create_sandbox")
            return self
            yield

    def _destroy(self) -> None:
        if self._link.destroyed:
            return
        self._link.run(sandboxes.destroy, self.sandbox_id)
        self._link.destroyed = True

    def _keep(self, error: BaseException | None, failure: LunetteError) -> None:
        """Raise the *failure* to destroy, unless it would hide the *error* that led here."""
        if error is None:
            raise failure
        logger.warning("[%s] could not be destroyed: %s", self.sandbox_id, failure)


class AsyncSandbox(Sandbox):
    """A `Sandbox` of an asynchronous client: `destroy` is awaited too."""

    async def destroy(self) -> None:
        """Destroy the sandbox with all that is in it; once more is no error."""
        await self.adestroy()


def _thaw(kind: type[Sandbox], base_url: str, sandbox_id: str) -> Sandbox:
    return kind(_client(issubclass(kind, AsyncSandbox), base_url), sandbox_id)


@cache
def _client(awaited: bool, base_url: str) -> LunetteClient:
    """Return the one client of this process for the sandboxes that were pickled elsewhere."""
    from .client import AsyncLunetteClient, LunetteClient

    kind = AsyncLunetteClient if awaited else LunetteClient
    client = kind(base_url=base_url)
    # Nobody else can: it is not theirs.
    atexit.register(client._connector.close)  # pyright: ignore[reportPrivateUsage] - they are one unit
    return client
