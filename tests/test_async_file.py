from __future__ import annotations

import codecs
import gc
import io
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from lunette import _async_file
from lunette._async_file import AsyncFile
from lunette._file_modes import read_mode
from lunette._operations._opening import Readable

NEWLINES = [None, "", "\n", "\r", "\r\n"]
CODECS = [
    ("utf-8", "strict"),
    ("utf-8", "replace"),
    ("utf-8", "ignore"),
    ("utf-16", "strict"),
    ("latin-1", "strict"),
    ("cp1252", "backslashreplace"),
    ("iso2022_jp", "replace"),
    ("utf-7", "ignore"),
]
ALPHABETS = {"latin-1": "ab\r\n\n\ré", "cp1252": "ab\r\n\n\ré", "iso2022_jp": "ab\r\n\rあ漢"}
WIDE = "ab \r\n\n\réß€😀"


class Link:
    """A sandbox that has the bytes of one file in memory, and takes those of another."""

    sandbox_id = "s1"

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.sent = b""
        self.ended = ""
        self.error: BaseException | None = None

    async def arun(self, operation: Callable[..., Any], *args: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        if operation.__name__ == "read_part":
            _, _, start, count = args
            return self.data[start : start + count]
        return await operation(None, *args)

    def run(self, operation: Callable[..., Any], *args: Any) -> None:
        anyio.run(operation, None, *args)

    async def write(self, io: Any, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.sent += data

    async def commit(self, io: Any) -> None:
        self.ended = "committed"

    async def abort(self, io: Any) -> None:
        self.ended = "aborted"


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_async_file, "_STEP", 5)
    monkeypatch.setattr(_async_file, "_AHEAD", 64)
    monkeypatch.setattr(_async_file, "PART", 70)
    monkeypatch.setattr(_async_file, "LARGEST", 90)


def opened(link: Any, mode: str = "r", **text: Any) -> AsyncFile[Any]:
    opening = read_mode("/w/a", mode, text.get("encoding"), text.get("errors"), text.get("newline"))
    if opening.action != "r":
        return AsyncFile(link, opening, writes=link)
    readable = Readable("/w/a", len(link.data), '"1"', link.data[:70])
    return AsyncFile(link, opening, reads=readable)


def content(rng: random.Random, encoding: str) -> bytes:
    letters = rng.choices(ALPHABETS.get(encoding, WIDE), k=rng.choice([0, 5, 40, 400]))
    data = "".join(letters).encode(encoding)
    if rng.random() < 0.3:
        data = data[: len(data) // 2] + rng.randbytes(rng.choice([1, 300])) + data[len(data) // 2 :]
    return data


class Pair:
    """A file of ours and one of Python's, of which the same is asked."""

    def __init__(self, ours: AsyncFile[Any], theirs: Any) -> None:
        self.ours = ours
        self.theirs = theirs
        self.places: list[tuple[int, int]] = []

    async def ask(self, name: str, *args: Any) -> bool:
        """Say whether both gave an answer, which are the same."""
        try:
            expected = getattr(self.theirs, name)(*args)
        except UnicodeError:  # it may be in what Python's has read ahead
            with pytest.raises(UnicodeError):
                await self.ours.read()
            return False
        found = await getattr(self.ours, name)(*args)
        assert found == expected, (name, args)
        return True

    async def step(self, rng: random.Random) -> bool:
        name = rng.choice(["read", "readline", "readline", "readlines", "tell", "seek", "end"])
        if name == "tell":
            with suppress(OSError):  # after `readlines`, of Python's alone
                self.places.append((await self.ours.tell(), self.theirs.tell()))
            return True
        if name == "seek":
            ours, theirs = rng.choice([(0, 0), *self.places])
            await self.ours.seek(ours)
            self.theirs.seek(theirs)
            return True
        if name == "end":
            return await self.ask("seek", 0, 2) if rng.random() < 0.1 else True
        return await self.ask(name, *rng.choice([(), (-1,), (0,), (1,), (3,), (5,), (6,), (30,)]))


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize(("encoding", "errors"), CODECS)
@pytest.mark.usefixtures("small_steps")
def test_text_is_read_as_python_reads_it(encoding: str, errors: str, newline: str | None) -> None:
    async def main() -> None:
        for seed in range(60):
            rng = random.Random(seed)
            data = content(rng, encoding)
            text: Any = {"encoding": encoding, "errors": errors, "newline": newline}
            pair = Pair(opened(Link(data), **text), io.TextIOWrapper(io.BytesIO(data), **text))
            for _ in range(30):
                if not await pair.step(rng):
                    break

    anyio.run(main)


@pytest.mark.usefixtures("small_steps")
def test_bytes_are_read_as_python_reads_them() -> None:
    async def main() -> None:
        for seed in range(200):
            rng = random.Random(seed)
            data = content(rng, "utf-8")
            pair = Pair(opened(Link(data), "rb"), io.BufferedReader(io.BytesIO(data)))
            for _ in range(30):
                await pair.step(rng)

    anyio.run(main)


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.usefixtures("small_steps")
def test_a_loop_gives_every_line(newline: str | None) -> None:
    async def main() -> None:
        for seed in range(100):
            data = content(random.Random(seed), "latin-1")
            text: Any = {"encoding": "latin-1", "newline": newline}
            expected = list(io.TextIOWrapper(io.BytesIO(data), **text))
            async with opened(Link(data), **text) as file:
                assert [line async for line in file] == expected
            assert file.closed

    anyio.run(main)


def test_a_line_longer_than_a_step() -> None:
    async def main() -> None:
        data = b"x" * 3_000_000 + b"\r\n" + b"y" * 16_383 + b"\r\n" + b"z" * 16_384 + b"\r\n"
        for newline in NEWLINES:
            expected = list(io.TextIOWrapper(io.BytesIO(data), newline=newline))
            assert await opened(Link(data), newline=newline).readlines() == expected

    anyio.run(main)


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
@pytest.mark.usefixtures("small_steps")
def test_text_is_written_as_python_writes_it(encoding: str, newline: str | None) -> None:
    async def main() -> None:
        for seed in range(30):
            rng = random.Random(seed)
            link, python = Link(), io.BytesIO()
            ours = opened(link, "w", encoding=encoding, newline=newline)
            theirs = io.TextIOWrapper(python, encoding, newline=newline)
            for _ in range(10):
                text = "".join(rng.choices("ab\r\n\né", k=rng.choice([0, 1, 7, 300])))
                assert await ours.write(text) == theirs.write(text)
                if rng.random() < 0.2:
                    await ours.flush()
            await ours.writelines(["a\n", "b"])
            theirs.writelines(["a\n", "b"])
            theirs.flush()
            await ours.close()
            assert (link.sent, link.ended) == (python.getvalue(), "committed")

    anyio.run(main)


def test_bytes_are_written_whatever_they_are_in() -> None:
    async def main() -> None:
        link = Link()
        async with opened(link, "wb") as file:
            assert await file.write(b"a" * 5_000_000) == 5_000_000
            assert len(link.sent) >= 3_000_000
            assert await file.write(memoryview(b"bc")) == 2
            assert await file.write(bytearray(b"d")) == 1
            assert await file.tell() == 5_000_003
            with pytest.raises(TypeError):
                await file.write("text")
        assert link.sent[-4:] == b"abcd"
        async with opened(Link(), "w") as text:
            with pytest.raises(TypeError):
                await text.write(b"bytes")

    anyio.run(main)


def test_a_direction_is_kept() -> None:
    async def main() -> None:
        reads, writes = opened(Link(b"a")), opened(Link(), "w")
        with pytest.raises(io.UnsupportedOperation):
            await reads.write("a")
        for verb in (writes.read, writes.readline, writes.readlines):
            with pytest.raises(io.UnsupportedOperation):
                await verb()
        with pytest.raises(io.UnsupportedOperation):
            await writes.seek(0)
        await writes.close()
        await writes.close()
        await reads.close()
        late: Any
        for late in (reads.read, reads.readline, reads.tell):
            with pytest.raises(ValueError, match="closed"):
                await late()
        with pytest.raises(ValueError, match="closed"):
            await writes.write("a")
        with pytest.raises(ValueError, match="closed"):
            async with reads:
                pass

    anyio.run(main)


def test_after_an_error_nothing_arrives() -> None:
    async def main() -> None:
        link = Link()
        with pytest.raises(RuntimeError, match="mine"):
            async with opened(link, "w") as file:
                await file.write("a")
                raise RuntimeError("mine")
        assert (link.ended, link.sent) == ("aborted", b"")
        assert file.closed

    anyio.run(main)


def test_a_write_that_failed_is_not_forgotten() -> None:
    async def main() -> None:
        link = Link()
        link.error = OSError(28, "full")
        file = opened(link, "wb")
        await file.write(b"a")
        with pytest.raises(OSError, match="full"):
            await file.flush()
        link.error = None
        await file.write(b"b")
        with pytest.raises(OSError, match="full"):
            await file.close()
        assert (link.ended, link.sent) == ("aborted", b"")

    anyio.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_write_that_was_cancelled_is_no_part_of_a_file(backend: str) -> None:
    class Stuck(Link):
        async def write(self, io: Any, data: bytes) -> None:
            await anyio.sleep_forever()

    async def main() -> None:
        link = Stuck()
        file = opened(link, "w")
        await file.write("a")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(file.flush)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        with pytest.raises(OSError, match="a write was interrupted"):
            await file.close()
        assert link.ended == "aborted"

    anyio.run(main, backend=backend)


def test_one_that_nobody_closed_is_aborted() -> None:
    aborted = threading.Event()

    class Told(Link):
        async def abort(self, io: Any) -> None:
            aborted.set()

    async def main() -> None:
        file = opened(Told(), "w")
        await file.write("a")
        with pytest.warns(ResourceWarning, match="'/w/a' in the sandbox was not closed"):
            del file
            gc.collect()

    anyio.run(main)
    assert aborted.wait(30)


def test_every_alias_of_a_codec_is_known() -> None:
    known = {codecs.lookup(name).name for name in ("utf8", "UTF-16LE", "latin_1", "us-ascii")}
    assert known <= _async_file._ENCODINGS
