"""An engine that isolates nothing: commands of this machine in a temporary directory, for tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Literal

from lunette.server.engines.protocol import (
    Capabilities,
    Command,
    CommandNotRunnableError,
    Event,
    Exit,
    Handle,
    Images,
    NotARegularFileError,
    Report,
    SandboxGoneError,
    SandboxSpec,
    State,
    Status,
)
from lunette.server.images.image import Progress

_KEYS = "image command entrypoint working_dir environment hostname labels network_mode"


class HostEngine:
    """Sandboxes are directories; a test may set the attributes below to make it misbehave."""

    name = "host"
    images: Images | None = None

    def __init__(self) -> None:
        self.capabilities = Capabilities(
            isolation="none", images=("host",), service_keys=frozenset(_KEYS.split())
        )
        self.root = Path(tempfile.mkdtemp(prefix="host-engine-"))
        self.started = asyncio.Event()
        self.start_error: Exception | None = None
        self.create_error: Exception | None = None
        self.exec_error: Exception | None = None
        self.file_error: Exception | None = None
        self.preparing: list[Progress] = []
        self.prepare_gate = asyncio.Event()
        self.prepare_gate.set()
        self.create_gate = asyncio.Event()
        self.create_gate.set()
        self.start_gate = asyncio.Event()
        self.start_gate.set()
        self.exec_gate = asyncio.Event()
        self.exec_gate.set()
        self.created: list[str] = []
        self.destroyed: list[str] = []
        self.specs: dict[str, SandboxSpec] = {}
        self.processes: list[HostProcess] = []
        self.readers: list[HostReader] = []
        self.put_errors: list[BaseException] = []
        self.happening: asyncio.Queue[Event | None] = asyncio.Queue()

    async def start(self) -> None:
        await self.start_gate.wait()
        if self.start_error is not None:
            raise self.start_error
        self.started.set()

    async def aclose(self) -> None:
        for name in list(self.specs):
            await self.destroy(Handle(name))
        await self.happening.put(None)
        shutil.rmtree(self.root, ignore_errors=True)

    async def prepare(self, spec: SandboxSpec, report: Report) -> None:
        for progress in self.preparing:
            report(progress)
        await self.prepare_gate.wait()

    async def create(self, spec: SandboxSpec) -> Handle:
        self.created.append(spec.id)
        await self.create_gate.wait()
        if self.create_error is not None:
            raise self.create_error
        (self.root / spec.id).mkdir()
        self.specs[spec.id] = spec
        return Handle(spec.id)

    async def inspect(self, handle: Handle) -> Status:
        known = handle.sandbox_id in self.specs
        return Status(state=State.RUNNING if known else State.LOST)

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self.happening.get()) is not None:
            yield event

    async def destroy(self, handle: Handle) -> None:
        self.destroyed.append(handle.sandbox_id)
        self.specs.pop(handle.sandbox_id, None)
        for process in self.processes:
            if process.sandbox_id == handle.sandbox_id:
                process.gone = True
                await process.kill()
        shutil.rmtree(self.root / handle.sandbox_id, ignore_errors=True)

    async def exec(self, handle: Handle, command: Command) -> HostProcess:
        await self.exec_gate.wait()
        if self.exec_error is not None:
            raise self.exec_error
        cwd = self._path(handle, command.cwd or ".")
        if not cwd.is_dir():
            raise FileNotFoundError(2, "No such file or directory", command.cwd)
        try:
            child = await asyncio.create_subprocess_exec(
                *command.argv,
                cwd=cwd,
                env={"PATH": os.environ["PATH"], **command.env},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise CommandNotRunnableError(127, f"{command.argv[0]}: not found") from None
        except PermissionError:
            raise CommandNotRunnableError(126, f"{command.argv[0]}: not executable") from None
        process = HostProcess(handle.sandbox_id, child, command.stdin)
        self.processes.append(process)
        return process

    async def get(self, handle: Handle, path: str) -> HostReader:
        if self.file_error is not None:
            raise self.file_error
        found = self._path(handle, path)
        try:
            info = found.stat()
            if stat.S_ISDIR(info.st_mode):
                raise IsADirectoryError(21, "Is a directory")
            if not stat.S_ISREG(info.st_mode):
                raise NotARegularFileError(path)
            reader = HostReader(found, info.st_size)
        except OSError as error:
            error.filename = path
            raise
        self.readers.append(reader)
        return reader

    async def put(self, handle: Handle, path: str, data: AsyncIterable[bytes]) -> None:
        if self.file_error is not None:
            raise self.file_error
        target = self._path(handle, path)
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory", path)
        part = target.with_name(target.name + ".part")
        try:
            with part.open("wb") as file:
                async for chunk in data:
                    file.write(chunk)
            part.rename(target)
        except BaseException as error:
            part.unlink(missing_ok=True)
            self.put_errors.append(error)
            raise

    def happen(self, sandbox_id: str, status: Status) -> None:
        """Let a sandbox go to another state by itself."""
        self.happening.put_nowait(Event(Handle(sandbox_id), status))

    def _path(self, handle: Handle, path: str) -> Path:
        spec = self.specs.get(handle.sandbox_id)
        if spec is None:
            raise SandboxGoneError(Status(state=State.LOST, reason="not here"))
        relative = path.removeprefix("/workspace").lstrip("/")
        return self.root / spec.id / relative


class HostReader:
    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self.closed = asyncio.Event()
        self._file = path.open("rb")

    async def chunks(self) -> AsyncIterator[bytes]:
        left = self.size
        while left and (chunk := self._file.read(min(left, 256 * 1024))):
            left -= len(chunk)
            yield chunk

    async def aclose(self) -> None:
        self._file.close()
        self.closed.set()


class HostProcess:
    def __init__(
        self, sandbox_id: str, child: asyncio.subprocess.Process, stdin: bytes | None
    ) -> None:
        self.sandbox_id = sandbox_id
        self.gone = False
        self.kills = 0
        self._child = child
        self._feeding = asyncio.create_task(_feed(child, stdin))

    async def output(self) -> AsyncIterator[tuple[Literal[1, 2], bytes]]:
        queue: asyncio.Queue[tuple[Literal[1, 2], bytes] | None] = asyncio.Queue(4)
        assert self._child.stdout is not None and self._child.stderr is not None
        readers = [
            asyncio.create_task(_pump(1, self._child.stdout, queue)),
            asyncio.create_task(_pump(2, self._child.stderr, queue)),
        ]
        for _ in readers:
            while (item := await queue.get()) is not None:
                yield item

    async def wait(self) -> Exit:
        code = await self._child.wait()
        if self.gone:
            raise SandboxGoneError(Status(state=State.LOST, reason="destroyed meanwhile"))
        return Exit(code=code) if code >= 0 else Exit(code=128 - code, signal=-code)

    async def kill(self) -> None:
        self.kills += 1
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        await self._child.wait()


async def _feed(child: asyncio.subprocess.Process, stdin: bytes | None) -> None:
    assert child.stdin is not None
    try:
        if stdin:
            child.stdin.write(stdin)
            await child.stdin.drain()
    except ConnectionError:
        pass
    finally:
        child.stdin.close()


async def _pump(
    number: Literal[1, 2],
    stream: asyncio.StreamReader,
    queue: asyncio.Queue[tuple[Literal[1, 2], bytes] | None],
) -> None:
    while data := await stream.read(65536):
        await queue.put((number, data))
    await queue.put(None)
