"""What is in a sandbox: files that come and go, and what its worker says and does about them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from lunette.server.engines.bubblewrap._file_workers import FileWorkers
from lunette.server.engines.bubblewrap._files import OpenFile, os_error, write
from lunette.server.engines.bubblewrap._held import HeldFiles
from lunette.server.engines.bubblewrap._threads import to_the_end
from lunette.server.engines.bubblewrap._transfers import PipedBytes, PipedWriter
from lunette.server.engines.bubblewrap._worker import Worker
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.files import (
    BlockSource,
    Bytes,
    FileStat,
    FileWriter,
    IfExists,
    IgnoreRule,
)
from lunette.server.engines.protocol import NoCapacityError, SandboxGoneError

__all__ = ["FileSystem"]


class FileSystem:
    """The files of the sandbox of *worker*; *workers* do what may take long, *spawn* runs something
    until the sandbox goes.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        workers: FileWorkers,
        held: HeldFiles,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._worker = worker
        self._workers = workers
        self._held = held
        self._spawn = spawn

    async def open(self, path: str) -> OpenFile:
        answer, fds = await self._ask({"op": "open", "path": path}, path)
        return OpenFile(fds[0], path, self._held, copied=answer["copied"])

    async def begin_put(self, path: str, *, mode: int | None, if_exists: IfExists) -> FileWriter:
        asked = {"op": "begin", "path": path, "mode": mode, "if_exists": if_exists}
        answer, fds = await self._ask(asked, path)
        begun = answer["id"] if "begun" in answer else None
        return _Upload(self._worker, self._held, fds[0], path, begun)

    async def begin_unpack(self, path: str) -> FileWriter:
        return await PipedWriter.begin(self._workers, {"op": "unpack", "path": path})

    async def pack(self, path: str, rules: Sequence[IgnoreRule]) -> Bytes:
        asked = {"op": "pack", "path": path, "rules": list(rules)}
        return await PipedBytes.begin(self._workers, asked)

    async def list_directory(self, path: str, depth: int) -> Bytes:
        asked = {"op": "list", "path": path, "depth": depth}
        return await PipedBytes.begin(self._workers, asked)

    async def stat(self, path: str, *, follow_symlinks: bool) -> FileStat:
        asked = {"op": "stat", "path": path, "follow_symlinks": follow_symlinks}
        answer, _ = await self._ask(asked, path)
        return FileStat(**answer["found"])

    async def mkdir(self, path: str, *, mode: int, parents: bool, exist_ok: bool) -> None:
        more = {"mode": mode, "parents": parents, "exist_ok": exist_ok}
        await self._ask({"op": "mkdir", "path": path, **more}, path)

    async def remove(self, path: str, *, recursive: bool) -> None:
        asked = {"op": "remove", "path": path}
        if recursive:
            await self._work(asked)
        else:
            await self._ask(asked, path)

    async def move(self, source: str, target: str) -> None:
        asked = {"op": "move", "source": source, "target": target}
        answer, _ = await self._worker.ask(asked)
        if answer.get("errno") == errno.EXDEV:
            await self._work({"op": "move", "path": source, "target": target})
        elif "errno" in answer:
            raise os_error(answer, target if answer.get("at_target") else source)

    async def _work(self, message: Message) -> None:
        """Have a process of its own do what *message* says."""
        await to_the_end(self._workers.finish(message))

    async def _ask(self, message: Message, path: str) -> tuple[Message, list[int]]:
        answer, fds = await self._worker.ask(message)
        if "errno" not in answer:
            return answer, fds
        if "begun" in answer:  # its descriptor found no room here
            self.give_up(answer)
        raise os_error(answer, path)

    def give_up(self, answer: Message) -> None:
        """Remove what was begun for nobody."""
        self._spawn(_abort(self._worker, answer["id"]))


class _Upload:
    """A file that gets its name at the end; one that is appended to has it, and was not *begun*."""

    def __init__(
        self, worker: Worker, held: HeldFiles, fd: int, path: str, begun: int | None
    ) -> None:
        held.hold(fd)
        self._worker = worker
        self._held = held
        self._fd = fd
        self._path = path
        self._begun = begun

    async def write(self, data: bytes | memoryview) -> None:
        given = iter([data])
        await self.write_from(lambda: next(given, b""))

    async def write_from(self, blocks: BlockSource) -> None:
        await write(self._held, self._fd, blocks, self._path)

    async def commit(self) -> None:
        if self._begun is not None:
            asked = {"op": "commit", "begun": self._begun}
            done, _ = await to_the_end(self._worker.ask(asked))
            if "errno" in done:
                raise os_error(done, self._path)
            self._begun = None
        self._close()

    async def abort(self) -> None:
        self._close()
        if self._begun is not None:
            begun, self._begun = self._begun, None
            await to_the_end(_abort(self._worker, begun))

    def _close(self) -> None:
        if self._fd >= 0:
            self._held.close(self._fd)
            self._fd = -1


async def _abort(worker: Worker, begun: int) -> None:
    with contextlib.suppress(SandboxGoneError, NoCapacityError):
        await worker.ask({"op": "abort", "begun": begun})
