"""The engine alone, in a process of its own, asked for what is to be done to its commands.

    with driving("root") as engine, engine.sandbox() as sandbox:
        result = sandbox.run("tty", terminal=(24, 80))

As a program it is that process: a line of JSON is a request, and a line its answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from lunette._scratch import remove_tree
from lunette.server.engines.bubblewrap.engine import BubblewrapEngine
from lunette.server.engines.protocol import (
    Command,
    CommandNotRunnableError,
    Handle,
    NoCapacityError,
    NotSupportedError,
    Process,
    SandboxPausedError,
    SandboxSpec,
    TerminalSize,
    Tmpfs,
)

__all__ = ["Box", "Engine", "Ran", "driving"]

_GUARD = 30.0
_REFUSALS = (CommandNotRunnableError, NotSupportedError, NoCapacityError, SandboxPausedError)


@frozen(kw_only=True)
class Ran:
    """What became of a command: *error* where nothing was started.

    *output* is both streams as they came, of which neither waits for the other.
    """

    output: str = ""
    stdout: str = ""
    stderr: str = ""
    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    error: str | None = None


class Box:
    """One sandbox of an engine."""

    def __init__(self, engine: Engine, sandbox_id: str) -> None:
        self._engine = engine
        self.id = sandbox_id

    def run(
        self,
        argv: str | Sequence[str],
        *steps: dict[str, Any],
        terminal: tuple[int, int] | None = None,
        user: str | None = None,
        background: bool = False,
        **more: Any,
    ) -> Ran:
        """Run a command to its end, through *steps* on the way, each of them one of

        * until: wait until the output has this in it, after what the step before waited for
        * write: type or send this
        * end: close standard input
        * signal: send it
        * resize: (rows, columns)
        * kill: end it
        * pause: pause the sandbox, or resume it
        * descriptors: leave the engine but so many; None gives back what is held
        * threads: hold all threads of the loop, or let go of them

        One in the *background* is let go after the steps.
        """
        words = ["sh", "-c", argv] if isinstance(argv, str) else list(argv)
        asked = {"argv": words, "steps": steps, "terminal": terminal, "user": user, **more}
        answer = self._engine.ask({"op": "run", "id": self.id, "background": background, **asked})
        return Ran(**answer)

    def files(self, does: str, **more: Any) -> dict[str, Any]:
        """See `Files`, beside this module."""
        return self._engine.ask({"op": "files", "id": self.id, "does": does, "more": more})

    def pause(self, paused: bool = True) -> str:
        """Pause or resume it, and return its state."""
        asked = {"op": "pause", "id": self.id, "paused": paused}
        return str(self._engine.ask(asked)["state"])

    def look(self) -> dict[str, Any]:
        return self._engine.ask({"op": "look", "id": self.id})

    def stats(self) -> dict[str, Any]:
        return self._engine.ask({"op": "stats", "id": self.id})

    def python(self, script: str, **more: Any) -> str:
        """Run *script* inside and return what it prints; one that breaks is a fault of the test."""
        ran = self.run(["python3", "-c", textwrap.dedent(script)], **more)
        assert ran.code == 0, ran
        return ran.output.replace("\r\n", "\n").strip()


class Engine:
    """An engine in another process, as the user of *mode*."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self._made = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @contextmanager
    def sandbox(self, **spec: Any) -> Generator[Box]:
        self._made += 1
        name = f"box{self._made}"
        self.ask({"op": "create", "id": name, "spec": spec})
        try:
            yield Box(self, name)
        finally:
            self.ask({"op": "destroy", "id": name})

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        answer: dict[str, Any] = json.loads(line)
        assert "fault" not in answer, answer["fault"]
        return answer


@contextmanager
def driving(mode: str, *weaknesses: str) -> Generator[Engine]:
    """Run an engine as `root` or an ordinary `user`, without the walls that *weaknesses* name."""
    import stage  # type: ignore[import-not-found, unused-ignore]

    directory = Path(tempfile.mkdtemp(prefix="test-isolation-"))
    directory.chmod(0o711)
    log = directory / "log"
    log.touch()
    command = [sys.executable, str(Path(__file__).resolve()), *weaknesses]
    if mode == "user" and stage.is_root():
        for path in (directory, log):
            os.chown(path, stage.ORDINARY, stage.ORDINARY)
        command = stage.as_user(command)
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory)}
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=directory,
            text=True,
        )
    try:
        with process:
            yield Engine(process, log)
    finally:
        remove_tree(directory)


# The other process


class _Driver:
    def __init__(self) -> None:
        self._engine = BubblewrapEngine()
        self._handles: dict[str, Handle] = {}
        self._steps = import_module("files").Steps(self._engine)  # beside this program
        self._left: set[asyncio.Task[bytes]] = set()

    async def serve(self) -> None:
        await self._engine.start()
        try:
            async for request in _requests():
                try:
                    async with asyncio.timeout(_GUARD):
                        answer = await getattr(self, request.pop("op"))(**request)
                except Exception as error:
                    answer = {"fault": repr(error)}
                print(json.dumps(answer), flush=True)
        finally:
            await self._engine.aclose()

    async def create(self, id: str, spec: dict[str, Any]) -> dict[str, Any]:
        spec["tmpfs"] = tuple(Tmpfs(**entry) for entry in spec.get("tmpfs", ()))
        made = SandboxSpec(**{"id": id, "image": "host", **spec})
        self._handles[id] = await self._engine.create(made)
        return {}

    async def destroy(self, id: str, *, keeps: bool = False) -> dict[str, Any]:
        handle = self._handles[id] if keeps else self._handles.pop(id)
        await self._engine.destroy(handle)
        return {}

    async def pause(self, id: str, *, paused: bool) -> dict[str, Any]:
        change = self._engine.pause if paused else self._engine.resume
        await change(self._handles[id])
        return await self.look(id)

    async def look(self, id: str) -> dict[str, Any]:
        status = await self._engine.inspect(self._handles[id])
        return {"state": status.state, "reason": status.reason}

    async def stats(self, id: str) -> dict[str, Any]:
        return attrs.asdict(await self._engine.stats(self._handles[id]))

    async def files(self, id: str, does: str, more: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await self._steps.do(self._handles[id], does, more)
        return answer

    async def descriptors(self, free: int | None) -> dict[str, Any]:
        _descriptors.leave(free)
        return {}

    async def run(
        self,
        id: str,
        argv: list[str],
        steps: list[dict[str, Any]],
        terminal: list[int] | None,
        background: bool,
        stdin: str | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        command = Command(
            argv=tuple(argv),
            terminal=TerminalSize(*terminal) if terminal else None,
            interactive=bool(steps),
            stdin=stdin.encode() if stdin is not None else None,
            **more,
        )
        try:
            process = await self._engine.exec(self._handles[id], command)
        except (*_REFUSALS, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        seen = _Seen(process)
        following = asyncio.create_task(seen.follow())
        for step in steps:
            if "pause" in step:
                await self.pause(id, paused=step["pause"])
            else:
                await seen.do(step)
        if background:
            self._left.add(following)
            return seen.texts
        await following
        ended = await process.wait()
        return {
            **seen.texts,
            "code": ended.code,
            "signal": ended.signal,
            "out_of_memory": ended.out_of_memory,
        }


class _Seen:
    """What a process has written, and what is done to it by it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._bytes = b""
        self._apart = {1: b"", 2: b""}
        self._looked = 0
        self._more = asyncio.Condition()

    @property
    def texts(self) -> dict[str, str]:
        named = {"output": self._bytes, "stdout": self._apart[1], "stderr": self._apart[2]}
        return {name: text.decode(errors="replace") for name, text in named.items()}

    async def follow(self) -> bytes:
        async for stream, data in self._process.output():
            async with self._more:
                self._bytes += data
                self._apart[stream] += data
                self._more.notify_all()
        return self._bytes

    async def do(self, step: dict[str, Any]) -> None:
        ((what, value),) = step.items()
        match what:
            case "until":
                await self._until(value.encode())
            case "write":
                await self._write(value.encode())
            case "end":
                await self._process.close_input()
            case "signal":
                await self._process.signal(value)
            case "descriptors":
                _descriptors.leave(value)
            case "threads":
                _threads.hold(value)
            case "resize":
                await self._process.resize(TerminalSize(*value))
            case _:
                await self._process.kill()

    async def _until(self, wanted: bytes) -> None:
        async with self._more:
            try:
                async with asyncio.timeout(_GUARD / 2):
                    await self._more.wait_for(lambda: wanted in self._bytes[self._looked :])
            except TimeoutError:
                raise AssertionError(f"no {wanted!r} in {self._bytes!r}") from None
            self._looked = self._bytes.index(wanted, self._looked) + len(wanted)

    async def _write(self, data: bytes) -> None:
        while data:
            data = data[await self._process.write(data) :]


class _Descriptors:
    """Those of this process, held so that few are left to the engine."""

    _LIMIT = 256

    def __init__(self) -> None:
        self._held: list[int] = []

    def leave(self, free: int | None) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if free is None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            while self._held:
                os.close(self._held.pop())
            return
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, self._LIMIT), hard))
        try:
            while True:
                self._held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for _ in range(free):
            os.close(self._held.pop())


class _Threads:
    """Those in which a loop runs what blocks, unless it is told others."""

    _MOST = 40  # more than there are, on any machine

    def __init__(self) -> None:
        self._over = threading.Event()

    def hold(self, held: bool) -> None:
        self._over.set()
        if held:
            self._over = threading.Event()
            loop = asyncio.get_running_loop()
            for _ in range(self._MOST):
                loop.run_in_executor(None, self._over.wait, _GUARD)


_descriptors = _Descriptors()
_threads = _Threads()


async def _requests() -> AsyncIterator[dict[str, Any]]:
    reader = asyncio.StreamReader(limit=1 << 24)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


if __name__ == "__main__":
    if sys.argv[1:]:
        import_module("weakened").apply(sys.argv[1:])  # beside this program
    asyncio.run(_Driver().serve())
