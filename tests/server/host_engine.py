"""An engine that isolates nothing: commands of this machine in a temporary directory, for tests."""

from __future__ import annotations

import asyncio
import contextlib
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
    NotSupportedError,
    Report,
    SandboxGoneError,
    SandboxSpec,
    State,
    Status,
    TerminalSize,
)
from lunette.server.images.image import Progress

_KEYS = "image command entrypoint working_dir environment hostname labels network_mode"


_STREAMS: tuple[Literal[1, 2], ...] = (1, 2)


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
        if command.terminal is not None:
            raise NotSupportedError("tty", "no terminals here")
        reading, writing = os.pipe2(os.O_CLOEXEC)
        outputs = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
        try:
            child = await asyncio.create_subprocess_exec(
                *command.argv,
                cwd=cwd,
                env={"PATH": os.environ["PATH"], **command.env},
                stdin=reading,
                # Not PIPE: asyncio tells of an end only when all output is taken.
                stdout=outputs[0][1],
                stderr=outputs[1][1],
                start_new_session=True,
            )
        except OSError as error:
            for fd in (writing, *(ends[0] for ends in outputs)):
                os.close(fd)
            if isinstance(error, FileNotFoundError):
                raise CommandNotRunnableError(127, f"{command.argv[0]}: not found") from None
            raise CommandNotRunnableError(126, f"{command.argv[0]}: not executable") from None
        finally:
            for fd in (reading, *(ends[1] for ends in outputs)):
                os.close(fd)
        process = HostProcess(
            handle.sandbox_id, child, HostInput(writing), [ends[0] for ends in outputs]
        )
        process.input.begin(command.stdin or b"", stays_open=command.interactive)
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


class HostInput:
    """The writing end of a command's standard input."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._beginning: asyncio.Task[None] | None = None

    def begin(self, data: bytes, *, stays_open: bool) -> None:
        self._beginning = asyncio.create_task(self._begin(data, stays_open))

    async def _begin(self, data: bytes, stays_open: bool) -> None:
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[await self._write(data) :]
        if not stays_open:
            self.close()

    async def drained(self) -> None:
        if self._beginning is not None and not self._beginning.done():
            await asyncio.wait([self._beginning])

    async def write(self, data: bytes) -> int:
        await self.drained()
        return await self._write(data)

    async def _write(self, data: bytes) -> int:
        while self._fd >= 0:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:
                await asyncio.sleep(0.001)
        raise BrokenPipeError

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class HostProcess:
    def __init__(
        self,
        sandbox_id: str,
        child: asyncio.subprocess.Process,
        stdin: HostInput,
        outputs: list[int],
    ) -> None:
        self._outputs = outputs
        self.sandbox_id = sandbox_id
        self.input = stdin
        self.signals: list[int] = []
        self.gone = False
        self.kills = 0
        self._child = child

    async def output(self) -> AsyncIterator[tuple[Literal[1, 2], bytes]]:
        queue: asyncio.Queue[tuple[Literal[1, 2], bytes] | None] = asyncio.Queue(4)
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as opened:
            for number, fd in zip(_STREAMS, self._outputs, strict=True):
                reader = asyncio.StreamReader()
                protocol = asyncio.StreamReaderProtocol(reader)
                file = os.fdopen(fd, "rb", 0)
                transport, _ = await loop.connect_read_pipe(lambda p=protocol: p, file)  # type: ignore[misc]
                opened.callback(transport.close)
                pump = asyncio.create_task(_pump(number, reader, queue))
                opened.callback(pump.cancel)
            for _ in _STREAMS:
                while (item := await queue.get()) is not None:
                    yield item

    async def wait(self) -> Exit:
        code = await self._child.wait()
        self.input.close()
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

    async def write(self, data: bytes) -> int:
        return await self.input.write(data)

    async def drained(self) -> None:
        await self.input.drained()

    async def close_input(self) -> None:
        self.input.close()

    async def signal(self, number: int) -> None:
        self.signals.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)

    async def resize(self, size: TerminalSize) -> None:
        raise NotSupportedError("tty", "no terminals here")


async def _pump(
    number: Literal[1, 2],
    stream: asyncio.StreamReader,
    queue: asyncio.Queue[tuple[Literal[1, 2], bytes] | None],
) -> None:
    while data := await stream.read(65536):
        await queue.put((number, data))
    await queue.put(None)
