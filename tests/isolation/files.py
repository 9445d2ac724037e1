"""The files of a sandbox, as tests ask an engine in another process for them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from lunette.server.engines.bubblewrap.engine import BubblewrapEngine
from lunette.server.engines.files import Bytes, FileReader, FileWriter
from lunette.server.engines.protocol import EngineError, Handle, NotARegularFileError

if TYPE_CHECKING:
    from .engines import Box

__all__ = ["EngineFailure", "Files", "Got", "Steps", "tar"]


class EngineFailure(Exception):
    """The engine raised an error about itself."""


@frozen(kw_only=True)
class Got:
    content: bytes
    size: int
    etag: str
    same: bool


class Files:
    """Those of *box*; OSErrors are raised again here.

    A transfer that is begun has a name, by which it goes on.
    """

    def __init__(self, box: Box) -> None:
        self._box = box

    def get(self, path: str, start: int = 0, stop: int | None = None) -> Got:
        answer = self._ask("get", path=path, start=start, stop=stop)
        return Got(
            content=base64.b64decode(answer["content"]),
            size=answer["size"],
            etag=answer["etag"],
            same=answer["same"],
        )

    def read(self, path: str) -> bytes:
        return self.get(path).content

    def put(self, path: str, content: bytes = b"", **more: Any) -> None:
        self.begin("put", "put", path, **more)
        self.write("put", content)
        self.commit("put")

    def unpack(self, path: str, archive: bytes) -> None:
        self.begin("unpack", "unpack", path)
        self.write("unpack", archive)
        self.commit("unpack")

    def begin(self, name: str, kind: str, path: str, **more: Any) -> None:
        """Begin a *kind* of transfer: put, unpack, pack, list or get."""
        self._ask("begin", name=name, kind=kind, path=path, **more)

    def write(self, name: str, content: bytes) -> None:
        self._then_abort(name, "write", content=base64.b64encode(content).decode())

    def fill(self, name: str, size: int) -> None:
        """Write *size* zeros."""
        self._then_abort(name, "fill", size=size)

    def commit(self, name: str) -> None:
        self._then_abort(name, "commit")

    def abort(self, name: str) -> None:
        self._ask("abort", name=name)

    def take(self, name: str, blocks: int | None = None) -> bytes:
        """Return so many blocks of what was begun, by default all that is left."""
        answer = self._ask("take", name=name, blocks=blocks)
        return base64.b64decode(answer["content"])

    def close(self, name: str) -> None:
        self._ask("close", name=name)

    def pack(
        self, path: str, rules: Sequence[tuple[str, bool]] = ()
    ) -> dict[str, tuple[tarfile.TarInfo, bytes | None]]:
        """Return the entries of an archive, with what is in them if they are files."""
        found = {}
        with tarfile.open(fileobj=io.BytesIO(self.packed(path, rules))) as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isreg() else None
                found[entry.name] = (entry, file.read() if file else None)
        return found

    def packed(self, path: str, rules: Sequence[tuple[str, bool]] = ()) -> bytes:
        self.begin("pack", "pack", path, rules=list(rules))
        try:
            return self.take("pack")
        finally:
            self.close("pack")

    def listing(self, path: str = ".", depth: int = 1) -> tuple[str, list[dict[str, Any]]]:
        """Return the real path of a directory and what is in it."""
        self.begin("list", "list", path, depth=depth)
        try:
            first, *lines = self.take("list").splitlines()
        finally:
            self.close("list")
        return json.loads(first), [json.loads(line) for line in lines]

    def names(self, path: str = ".", depth: int = 1) -> list[str]:
        return [entry["path"] for entry in self.listing(path, depth)[1]]

    def stat(self, path: str, *, follow_symlinks: bool = True) -> dict[str, Any]:
        return self._ask("stat", path=path, follow_symlinks=follow_symlinks)

    def mkdir(
        self, path: str, *, mode: int = 0o777, parents: bool = False, exist_ok: bool = False
    ) -> None:
        self._ask("mkdir", path=path, mode=mode, parents=parents, exist_ok=exist_ok)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        self._ask("remove", path=path, recursive=recursive)

    def move(self, source: str, target: str) -> None:
        self._ask("move", source=source, target=target)

    def race(self, path: str, count: int) -> list[str]:
        """Begin and commit so many new files of one name at once; return what became of each."""
        won: list[str] = self._ask("race", path=path, count=count)["won"]
        return won

    def storm(self, does: str, rounds: int, **more: Any) -> dict[str, Any]:
        """Do one thing many times over; return how often it worked, and what was read."""
        return self._ask("storm", doing=does, rounds=rounds, **more)

    def workers(self) -> list[int]:
        """The pids of the processes that work on files now."""
        pids: list[int] = self._ask("workers")["pids"]
        return pids

    def worker(self) -> int:
        """The pid of who does what takes no time."""
        pid: int = self._ask("worker")["pid"]
        return pid

    def _then_abort(self, name: str, does: str, **more: Any) -> None:
        """After an error only `abort` is left."""
        try:
            self._ask(does, name=name, **more)
        except BaseException:
            self.abort(name)
            raise

    def _ask(self, does: str, **more: Any) -> dict[str, Any]:
        answer = self._box.files(does, **more)
        if (error := answer.get("os_error")) is None:
            if "failure" in answer:
                raise EngineFailure(answer["failure"])
            return answer
        if error["irregular"]:
            raise NotARegularFileError(error["path"])
        raise OSError(error["errno"], error["text"], error["path"])


def tar(entries: Mapping[str, bytes | str | None], **more: Any) -> bytes:
    """Return an archive of files, of links by their targets, and of directories (None)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755 if content is None else 0o644
            entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            data = content if isinstance(content, bytes) else b""
            entry.size = len(data)
            for key, value in more.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


# The other process


class Steps:
    """What `Files` asks for."""

    def __init__(self, engine: BubblewrapEngine) -> None:
        self._engine = engine
        self._open: dict[tuple[str, str], Any] = {}

    async def do(self, handle: Handle, does: str, more: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] | None = await getattr(self, f"_{does}")(handle, **more)
        except OSError as error:
            irregular = isinstance(error, NotARegularFileError)
            told = {"errno": error.errno, "text": error.strerror, "path": error.filename}
            return {"os_error": {**told, "irregular": irregular}}
        except EngineError as error:
            return {"failure": f"{type(error).__name__}: {error}"}
        return answer or {}

    async def _get(self, handle: Handle, path: str, start: int, stop: int | None) -> Any:
        reader = await self._engine.get(handle, path)
        try:
            content = b"".join([block async for block in reader.chunks(start, stop)])
            same = await reader.is_as_opened()
        finally:
            await reader.aclose()
        shown = base64.b64encode(content).decode()
        return {"content": shown, "size": reader.size, "etag": reader.etag, "same": same}

    async def _begin(self, handle: Handle, name: str, kind: str, path: str, **more: Any) -> None:
        kinds: dict[str, Callable[..., Any]] = {
            "put": self._engine.begin_put,
            "unpack": self._engine.begin_unpack,
            "pack": self._engine.pack,
            "list": self._engine.list_directory,
            "get": self._engine.get,
        }
        self._open[handle.sandbox_id, name] = await kinds[kind](handle, path, **more)

    async def _write(self, handle: Handle, name: str, content: str) -> None:
        writer: FileWriter = self._open[handle.sandbox_id, name]
        await writer.write(base64.b64decode(content))

    async def _fill(self, handle: Handle, name: str, size: int) -> None:
        writer: FileWriter = self._open[handle.sandbox_id, name]
        block = bytes(1 << 20)
        for start in range(0, size, len(block)):
            await writer.write(block[: size - start])

    async def _commit(self, handle: Handle, name: str) -> None:
        await self._open[handle.sandbox_id, name].commit()

    async def _abort(self, handle: Handle, name: str) -> None:
        await self._open[handle.sandbox_id, name].abort()

    async def _take(self, handle: Handle, name: str, blocks: int | None) -> Any:
        source: Bytes | FileReader = self._open[handle.sandbox_id, name]
        found: list[bytes] = []
        async for block in source.chunks():
            found.append(block)
            if blocks is not None and len(found) == blocks:
                break
        assert all(len(block) >= 64 * 1024 for block in found[:-1])
        return {"content": base64.b64encode(b"".join(found)).decode()}

    async def _close(self, handle: Handle, name: str) -> None:
        await self._open[handle.sandbox_id, name].aclose()

    async def _stat(self, handle: Handle, path: str, follow_symlinks: bool) -> Any:
        return asdict(await self._engine.stat(handle, path, follow_symlinks=follow_symlinks))

    async def _mkdir(self, handle: Handle, **more: Any) -> None:
        await self._engine.mkdir(handle, **more)

    async def _remove(self, handle: Handle, **more: Any) -> None:
        await self._engine.remove(handle, **more)

    async def _move(self, handle: Handle, **more: Any) -> None:
        await self._engine.move(handle, **more)

    async def _race(self, handle: Handle, path: str, count: int) -> Any:
        async def one(number: int) -> str:
            try:
                writer = await self._engine.begin_put(handle, path, if_exists="fail")
            except FileExistsError:
                return "late"
            try:
                await writer.write(str(number).encode())
                await writer.commit()
            except FileExistsError:
                return "lost"
            finally:
                await writer.abort()
            return str(number)

        return {"won": await asyncio.gather(*map(one, range(count)))}

    async def _storm(self, handle: Handle, doing: str, rounds: int, **more: Any) -> Any:
        worked, seen = 0, set[str]()
        for number in range(rounds):
            try:
                found = await getattr(self, f"_storm_{doing}")(handle, number, **more)
            except OSError:
                continue
            worked += 1
            if found is not None:
                seen.add(found.decode(errors="replace"))
        return {"worked": worked, "seen": sorted(seen)}

    async def _storm_put(self, handle: Handle, number: int, path: str) -> None:
        writer = await self._engine.begin_put(handle, path)
        try:
            await writer.write(b"ours")
            await writer.commit()
        finally:
            await writer.abort()

    async def _storm_get(self, handle: Handle, number: int, path: str) -> bytes:
        reader = await self._engine.get(handle, path)
        try:
            return b"".join([block async for block in reader.chunks()])
        finally:
            await reader.aclose()

    async def _storm_unpack(self, handle: Handle, number: int, path: str, archive: str) -> None:
        writer = await self._engine.begin_unpack(handle, path)
        try:
            await writer.write(base64.b64decode(archive))
            await writer.commit()
        finally:
            await writer.abort()

    async def _storm_pack(self, handle: Handle, number: int, path: str) -> bytes:
        packed = await self._engine.pack(handle, path, ())
        try:
            content = b"".join([block async for block in packed.chunks()])
        finally:
            await packed.aclose()
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            files = [archive.extractfile(entry) for entry in archive if entry.isreg()]
            return b"\n".join(file.read() for file in files if file)

    async def _storm_list(self, handle: Handle, number: int, path: str) -> bytes:
        listed = await self._engine.list_directory(handle, path, 0)
        try:
            content = b"".join([block async for block in listed.chunks()])
        finally:
            await listed.aclose()
        return b"\n".join(json.loads(line)["path"].encode() for line in content.splitlines()[1:])

    async def _storm_remove(self, handle: Handle, number: int, path: str) -> None:
        await self._engine.remove(handle, path, recursive=True)

    async def _storm_move(self, handle: Handle, number: int, source: str, target: str) -> None:
        there, back = (source, target) if number % 2 else (target, source)
        await self._engine.move(handle, there, back)

    async def _workers(self, handle: Handle) -> Any:
        running = self._engine._sandboxes[handle.sandbox_id]._file_workers._running
        return {"pids": [_pid_of(worker._pidfd) for worker in running]}

    async def _worker(self, handle: Handle) -> Any:
        return {"pid": self._engine._sandboxes[handle.sandbox_id]._worker.pid}

    async def _descriptors(self, handle: Handle) -> Any:
        """How many are open here, in the fork server, and where it can be seen in the worker."""
        sandbox = self._engine._sandboxes[handle.sandbox_id]
        forkserver = self._engine._forkserver
        assert forkserver is not None
        counts = []
        for pid in (os.getpid(), forkserver._process.pid, sandbox._worker.pid):
            with contextlib.suppress(PermissionError):
                counts.append(_open_in(pid))
        return {"counts": counts}


def _open_in(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _pid_of(pidfd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    pid = int(found["Pid"])
    if pid < 0:
        raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
    return pid
