from __future__ import annotations

import array
import asyncio
import errno
import io as streams
import os
import socket
import tempfile
import zipfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from lunette._io import run
from lunette._operations import _sources
from lunette._operations._sources import SMALL, opened, refuse_awaited

SIZES = [0, 1, SMALL, SMALL + 1, (4 << 20) + 1]


def content(scripted: Any, source: Any) -> bytes:
    made = opened(source)
    try:
        return run(made.all(scripted()))
    finally:
        made.close()


def some(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
def test_all_kinds_give_their_bytes(scripted: Any, tmp_path: Path, size: int) -> None:
    data = some(size)
    path = tmp_path / "a"
    path.write_bytes(data)
    with path.open("rb") as buffered, path.open("rb", buffering=0) as raw:
        kinds: list[Any] = [path, str(path), buffered, raw, data, bytearray(data)]
        kinds += [memoryview(data), iter([data]), [data[:7], data[7:]], streams.BytesIO(data)]
        for kind in kinds:
            assert content(scripted, kind) == data


@pytest.mark.parametrize("size", SIZES)
def test_an_asynchronous_iterator_gives_its_bytes(scripted: Any, size: int) -> None:
    data = some(size)

    async def items() -> AsyncGenerator[bytes]:
        for start in range(0, size, 100_003):
            await asyncio.sleep(0)
            yield data[start : start + 100_003]

    async def main() -> bytes:
        return await opened(items()).all(scripted())

    assert asyncio.run(main()) == data
    with pytest.raises(TypeError, match="only be sent by a call that is awaited"):
        refuse_awaited(items())
    refuse_awaited([data])


def test_files_are_sent_from_where_they_are(scripted: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with (tmp_path / "a").open("rb") as file:
        file.seek(4)
        assert content(scripted, file) == b"456789"
        assert content(scripted, file) == b""
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(b"abc")
        spooled.seek(1)
        assert content(scripted, spooled) == b"bc"
    with zipfile.ZipFile(tmp_path / "z", "w") as written:
        written.writestr("a", some(3 << 20))
    with zipfile.ZipFile(tmp_path / "z") as read, read.open("a") as member:
        assert content(scripted, member) == some(3 << 20)


def test_pipes_are_sent_to_their_end(scripted: Any) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as file:
        os.write(write, b"in a pipe")
        os.close(write)
        assert content(scripted, file) == b"in a pipe"


def test_a_pipe_that_does_not_wait_is_an_error(scripted: Any) -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    with (
        os.fdopen(read, "rb", buffering=0) as file,
        os.fdopen(write),
        pytest.raises(BlockingIOError, match="open it so that reads wait"),
    ):
        content(scripted, file)


def test_buffers_of_any_shape_are_their_bytes(scripted: Any) -> None:
    numbers = array.array("i", range(10))
    assert content(scripted, memoryview(numbers)) == numbers.tobytes()
    assert content(scripted, memoryview(b"0123456789")[::2]) == b"02468"
    assert content(scripted, iter([memoryview(b"0123")[::2], bytearray(b"x")])) == b"02x"


def test_an_iterator_may_use_one_buffer_for_all_it_gives(scripted: Any) -> None:
    def items() -> Generator[bytearray]:
        buffer = bytearray(100_000)
        for n in range(60):
            buffer[:] = bytes([n]) * len(buffer)
            yield buffer

    assert content(scripted, items()) == b"".join(bytes([n]) * 100_000 for n in range(60))


def test_a_slow_iterator_is_not_held_back_for_ever(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sources, "_PIECE_SECONDS", 0)

    async def sizes() -> list[int]:
        source = opened(iter([b"x"] * 3))
        assert await source.small(scripted()) is None
        return [piece.size async for piece in source.pieces(scripted())]

    assert run(sizes()) == [1, 1, 1]


@pytest.mark.parametrize("wrong", [7, None, object()])
def test_what_is_nothing_to_send_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="must be a path, a binary file, bytes or an iterator"):
        opened(wrong)


@pytest.mark.parametrize("item", ["text", 7, None])
def test_iterators_give_bytes(scripted: Any, item: Any) -> None:
    with pytest.raises(TypeError, match=f"must give bytes, not {type(item).__name__}"):
        content(scripted, iter([b"x", item]))


def test_text_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with (tmp_path / "a").open() as file, pytest.raises(TypeError, match="binary mode"):
        opened(file)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="binary mode"):
        opened(streams.StringIO("x"))  # type: ignore[arg-type]


def test_files_that_are_only_written_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file, pytest.raises(ValueError, match="open for reading"):
        opened(file)


@pytest.mark.parametrize("content", ["hello\nworld", "x" * 5000, "x\n" * 100_000])
def test_content_is_no_path(content: str) -> None:
    with pytest.raises(FileNotFoundError, match="content goes as bytes") as caught:
        opened(content)
    assert len(str(caught.value)) < 300


def test_a_path_may_have_a_newline(tmp_path: Path) -> None:
    (tmp_path / "a\nb").touch()
    opened(tmp_path / "a\nb").close()
    with pytest.raises(FileNotFoundError) as caught:
        opened("nope")
    assert caught.value.strerror == "No such file or directory"


def test_paths_of_no_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "fifo", tmp_path / "socket", "/dev/zero"):
            with pytest.raises(OSError, match="not a regular file") as caught:
                opened(path)
            assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, str(path))
    with pytest.raises(FileNotFoundError, match="nope"):
        opened(tmp_path / "nope")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        opened(tmp_path)
