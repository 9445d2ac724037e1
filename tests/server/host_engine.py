"""An engine that isolates nothing: commands of this machine in a temporary directory, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import stat
import tarfile
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from lunette.server.engines.files import BlockSource, FileStat, IfExists, IgnoreRule
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
    Stats,
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
        self.pause_gate = asyncio.Event()
        self.pause_gate.set()
        self.paused: list[str] = []
        self.resumed: list[str] = []
        self.created: list[str] = []
        self.destroyed: list[str] = []
        self.specs: dict[str, SandboxSpec] = {}
        self.processes: list[HostProcess] = []
        self.readers: list[HostReader] = []
        self.writers: list[HostWriter] = []
        self.made: list[HostBytes] = []
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

    async def stats(self, handle: Handle) -> Stats:
        return Stats(memory=1 << 20, cpu_seconds=0.5, processes=2, disk=4096, memory_peak=2 << 20)

    async def pause(self, handle: Handle) -> None:
        await self.pause_gate.wait()
        self._path(handle, ".")
        self.paused.append(handle.sandbox_id)

    async def resume(self, handle: Handle) -> None:
        self._path(handle, ".")
        self.resumed.append(handle.sandbox_id)

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
        self._check_files()
        found = self._path(handle, path)
        with _about(path):
            info = found.stat()
            if stat.S_ISDIR(info.st_mode):
                raise IsADirectoryError(21, "Is a directory")
            if not stat.S_ISREG(info.st_mode):
                raise NotARegularFileError(path)
            reader = HostReader(found)
        self.readers.append(reader)
        return reader

    async def begin_put(
        self,
        handle: Handle,
        path: str,
        *,
        mode: int | None = None,
        if_exists: IfExists = "replace",
    ) -> HostWriter:
        self._check_files()
        target = self._path(handle, path)
        with _about(path):
            if target.is_dir():
                raise IsADirectoryError(21, "Is a directory", path)
            if if_exists == "fail" and target.exists():
                raise FileExistsError(17, "File exists", path)
            target.parent.mkdir(parents=True, exist_ok=True)
            writer = HostFile(self, path, target, mode=mode, if_exists=if_exists)
        self.writers.append(writer)
        return writer

    async def begin_unpack(self, handle: Handle, path: str) -> HostWriter:
        self._check_files()
        target = self._path(handle, path)
        with _about(path):
            if target.exists() and not target.is_dir():
                raise NotADirectoryError(20, "Not a directory", path)
            target.parent.mkdir(parents=True, exist_ok=True)
            writer = HostDirectory(self, path, target)
        self.writers.append(writer)
        return writer

    async def pack(self, handle: Handle, path: str, rules: Sequence[IgnoreRule]) -> HostBytes:
        self._check_files()
        root = self._directory(handle, path)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for entry in _walk(root):
                name = entry.relative_to(root).as_posix()
                if not _ignored(name + "/" * (entry.is_dir() and not entry.is_symlink()), rules):
                    archive.add(entry, name, recursive=False)
        return self._bytes(content.getvalue())

    async def list_directory(self, handle: Handle, path: str, depth: int) -> HostBytes:
        self._check_files()
        root = self._directory(handle, path)
        lines = [json.dumps(self._shown(handle, root))]
        for entry in _walk(root):
            if not depth or len(entry.relative_to(root).parts) <= depth:
                lines.append(json.dumps(_described(entry, entry.relative_to(root).as_posix())))
        return self._bytes("".join(f"{line}\n" for line in lines).encode())

    async def stat(self, handle: Handle, path: str, *, follow_symlinks: bool) -> FileStat:
        self._check_files()
        found = self._path(handle, path)
        with _about(path):
            shown = found.resolve() if follow_symlinks else found
            return FileStat(**_described(shown, self._shown(handle, found)))

    async def mkdir(
        self, handle: Handle, path: str, *, mode: int, parents: bool, exist_ok: bool
    ) -> None:
        self._check_files()
        with _about(path):
            self._path(handle, path).mkdir(mode, parents, exist_ok)

    async def remove(self, handle: Handle, path: str, *, recursive: bool) -> None:
        self._check_files()
        found = self._path(handle, path)
        with _about(path):
            if not stat.S_ISDIR(found.lstat().st_mode):
                found.unlink()
            elif recursive:
                shutil.rmtree(found)
            else:
                found.rmdir()

    async def move(self, handle: Handle, source: str, target: str) -> None:
        self._check_files()
        with _about(source):
            self._path(handle, source).rename(self._path(handle, target))

    def _check_files(self) -> None:
        if self.file_error is not None:
            raise self.file_error

    def _bytes(self, content: bytes) -> HostBytes:
        self.made.append(HostBytes(content))
        return self.made[-1]

    def _directory(self, handle: Handle, path: str) -> Path:
        found = self._path(handle, path)
        with _about(path):
            next(found.iterdir(), None)
        return found

    def _shown(self, handle: Handle, path: Path) -> str:
        return str(Path("/workspace") / path.relative_to(self.root / handle.sandbox_id))

    def happen(self, sandbox_id: str, status: Status) -> None:
        """Let a sandbox go to another state by itself."""
        self.happening.put_nowait(Event(Handle(sandbox_id), status))

    def _path(self, handle: Handle, path: str) -> Path:
        spec = self.specs.get(handle.sandbox_id)
        if spec is None:
            raise SandboxGoneError(Status(state=State.LOST, reason="not here"))
        relative = path.removeprefix("/workspace").lstrip("/")
        return self.root / spec.id / relative


@contextlib.contextmanager
def _about(path: str) -> Generator[None]:
    """Errors are about the path that was asked for."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def _walk(root: Path) -> Iterator[Path]:
    for entry in sorted(root.iterdir()):
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)


def _ignored(name: str, rules: Sequence[IgnoreRule]) -> bool:
    """Whether a file, or a directory that it is in, is ignored."""
    parts = name.rstrip("/").split("/")
    whole = [*("/".join(parts[:n]) + "/" for n in range(1, len(parts))), name]
    return any(_last_match(one, rules) for one in whole)


def _last_match(name: str, rules: Sequence[IgnoreRule]) -> bool:
    return next((ignored for regex, ignored in reversed(rules) if re.match(regex, name)), False)


def _described(path: Path, name: str) -> dict[str, Any]:
    found = path.lstat()
    kinds: dict[int, str] = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "symlink",
    }
    described = {
        "path": name,
        "type": kinds.get(stat.S_IFMT(found.st_mode), "other"),
        "size": found.st_size,
        "mode": stat.S_IMODE(found.st_mode),
        "mtime": found.st_mtime,
        "uid": found.st_uid,
        "gid": found.st_gid,
    }
    return {**described, "target": str(path.readlink())} if path.is_symlink() else described


class HostReader:
    def __init__(self, path: Path) -> None:
        self.closed = asyncio.Event()
        self._file = path.open("rb")
        self.size = os.fstat(self._file.fileno()).st_size
        self.etag = self._etag()

    def _etag(self) -> str:
        found = os.fstat(self._file.fileno())
        return f'"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ctime_ns:x}"'

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = self.size if stop is None else stop
        while start < stop:
            chunk = os.pread(self._file.fileno(), min(stop - start, 256 * 1024), start)
            if not chunk:
                return
            start += len(chunk)
            yield chunk

    async def is_as_opened(self) -> bool:
        return self._etag() == self.etag

    async def aclose(self) -> None:
        self._file.close()
        self.closed.set()


class HostBytes:
    def __init__(self, content: bytes) -> None:
        self.closed = asyncio.Event()
        self._content = content

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), 64 * 1024):
            yield self._content[start : start + 64 * 1024]

    async def aclose(self) -> None:
        self.closed.set()


class HostWriter(ABC):
    """A test may look at how it ended: *committed*, *aborted*."""

    def __init__(self, engine: HostEngine, path: str) -> None:
        self.committed = False
        self.aborted = asyncio.Event()
        self._engine = engine
        self._asked = path

    async def write(self, data: bytes | memoryview) -> None:
        self._engine._check_files()
        with _about(self._asked):
            self._write(data)

    async def write_from(self, blocks: BlockSource) -> None:
        while block := blocks():
            await self.write(block)

    async def commit(self) -> None:
        self._engine._check_files()
        with _about(self._asked):
            self._commit()
        self.committed = True

    async def abort(self) -> None:
        if not self.committed and not self.aborted.is_set():
            self._drop()
            self.aborted.set()

    @abstractmethod
    def _write(self, data: bytes | memoryview) -> None: ...

    @abstractmethod
    def _commit(self) -> None: ...

    @abstractmethod
    def _drop(self) -> None: ...


class HostFile(HostWriter):
    def __init__(
        self,
        engine: HostEngine,
        path: str,
        target: Path,
        *,
        mode: int | None,
        if_exists: IfExists,
    ) -> None:
        super().__init__(engine, path)
        self._target = target
        self._mode = mode if mode is not None else _mode_of(target)
        self._new = if_exists == "fail"
        appends = if_exists == "append"
        self._part = target if appends else _part_of(target)
        self._file = self._part.open("ab" if appends else "xb", buffering=0)

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)

    def _commit(self) -> None:
        self._file.close()
        self._part.chmod(self._mode)
        if self._new:
            self._target.hardlink_to(self._part)
            self._part.unlink()
        elif self._part != self._target:
            self._part.rename(self._target)

    def _drop(self) -> None:
        self._file.close()
        if self._part != self._target:
            self._part.unlink(missing_ok=True)


class HostDirectory(HostWriter):
    def __init__(self, engine: HostEngine, path: str, target: Path) -> None:
        super().__init__(engine, path)
        self._target = target
        self._content = bytearray()

    def _write(self, data: bytes | memoryview) -> None:
        self._content += data

    def _commit(self) -> None:
        try:
            with tarfile.open(fileobj=io.BytesIO(self._content)) as archive:
                self._target.mkdir(exist_ok=True)
                archive.extraction_filter = lambda member, _: member  # Debian's Python lacks others
                archive.extractall(self._target)
        except tarfile.TarError as error:
            raise OSError(errno.EINVAL, f"not a tar archive: {error}") from error

    def _drop(self) -> None:
        self._content.clear()


def _part_of(target: Path) -> Path:
    return target.with_name(f".lunette-{uuid.uuid4().hex[:16]}.part")


def _mode_of(target: Path) -> int:
    return stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644


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

    async def write(self, data: bytes | memoryview) -> int:
        await self.drained()
        return await self._write(data)

    async def _write(self, data: bytes | memoryview) -> int:
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

    async def write(self, data: bytes | memoryview) -> int:
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
