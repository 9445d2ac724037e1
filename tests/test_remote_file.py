from __future__ import annotations

import csv
import gc
import io
import json
import pickle
import random
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunette import SandboxDestroyedError
from lunette._file_modes import read_mode
from lunette._operations import _opening
from lunette._operations._opening import Readable
from lunette._remote_file import open_file

Arguments = list[tuple[int, ...]]

FIRST = 70


class Link:
    """A sandbox that has the bytes of one file in memory, and takes those of another."""

    sandbox_id = "s1"

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.sent = b""
        self.parts: list[tuple[int, int]] = []
        self.ended = ""
        self.error: BaseException | None = None

    def run(self, operation: Callable[..., Any], *args: Any) -> Any:
        if operation is _opening.open_to_read:
            return Readable("/w/a", len(self.data), '"1"', self.data[:FIRST])
        if operation is _opening.open_to_write:
            return self
        if operation is _opening.read_part:
            self.parts.append(args[2:])
            return self.data[args[2] : args[2] + args[3]]
        return operation(*args)

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.sent += data

    def commit(self) -> None:
        if isinstance(self.error, SandboxDestroyedError):
            raise self.error
        self.ended = "committed"

    def abort(self) -> None:
        self.ended = "aborted"


def opened(link: Any, mode: str = "r", **text: Any) -> Any:
    given = {"encoding": None, "errors": None, "newline": None} | text
    return open_file(link, read_mode("/w/a", mode, **given))


def ask(file: Any, verb: str, args: tuple[int, ...]) -> Any:
    try:
        return getattr(file, verb)(*args)
    except OSError as error:
        return type(error), error.errno


def test_bytes_are_read_as_python_reads_them(tmp_path: Path) -> None:
    for seed in range(200):
        rng = random.Random(seed)
        data = rng.randbytes(rng.choice([0, 1, FIRST, 500]))
        (tmp_path / "a").write_bytes(data)
        with opened(Link(data), "rb") as ours, (tmp_path / "a").open("rb") as theirs:
            for _ in range(30):
                verb = rng.choice(["read", "readline", "readlines", "seek", "tell"])
                sizes: Arguments = [(), (1,), (7,), (300,)]
                places: Arguments = [
                    (0,),
                    (5,),
                    (-3, 2),
                    (0, 2),
                    (10, 2),
                    (0, 1),
                    (rng.randrange(600),),
                ]
                nothing: Arguments = [()]
                args = rng.choice({"seek": places, "tell": nothing}.get(verb, sizes))
                assert ask(ours, verb, args) == ask(theirs, verb, args), (verb, args)


def test_readinto_and_whole_reads_are_few_requests() -> None:
    link = Link(bytes(range(256)) * 80_000)
    with opened(link, "rb") as file:
        assert file.read() == link.data
        assert len(link.parts) <= 4
        file.seek(0)
        buffer = bytearray(5_000_000)
        assert file.readinto(buffer) == 5_000_000
        assert buffer == link.data[:5_000_000]
        assert (file.name, file.mode, file.seekable(), file.writable()) == (
            "/w/a",
            "rb",
            True,
            False,
        )
    with pytest.raises(ValueError, match="closed"):
        file.read()
    with pytest.raises(ValueError, match="closed"):
        file.raw.readall()


def test_what_python_has_for_files_works_with_them() -> None:
    link = Link()
    with opened(link, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "hello" * 100)
        archive.writestr("b.bin", bytes(3_000_000))
    assert link.ended == "committed"
    with opened(Link(link.sent), "rb") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("a.txt") == b"hello" * 100
        assert archive.testzip() is None

    link = Link()
    with opened(link, "w", newline="") as file:
        csv.writer(file).writerows([["a", "b\nc"], ["ä", "2"]])
    with opened(Link(link.sent), newline="") as file:
        assert list(csv.reader(file)) == [["a", "b\nc"], ["ä", "2"]]

    link = Link()
    with opened(link, "w") as file:
        json.dump({"ä": [1, 2]}, file, ensure_ascii=False)
    with opened(Link(link.sent)) as file:
        assert json.load(file) == {"ä": [1, 2]}

    link, copy = Link(), io.BytesIO()
    with opened(link, "wb") as file:
        pickle.dump({"a": range(100_000)}, file)
    with opened(Link(link.sent), "rb") as file:
        assert pickle.load(file) == {"a": range(100_000)}
        file.seek(0)
        shutil.copyfileobj(file, copy)
    assert copy.getvalue() == link.sent


def test_text_has_lines_places_and_a_mode() -> None:
    with opened(Link("ä\r\nb\nc".encode())) as file:
        assert (file.mode, file.encoding, file.name) == ("r", "utf-8", "/w/a")
        assert file.readline() == "ä\n"
        place = file.tell()
        assert list(file) == ["b\n", "c"]
        file.seek(place)
        assert file.read() == "b\nc"


def test_only_the_beginning_of_a_file_has_a_mark() -> None:
    for mode, marked in [("w", True), ("x", True), ("a", False)]:
        link = Link()
        with opened(link, mode, encoding="utf-16") as file:
            file.write("ab")
            assert not file.seekable()
            with pytest.raises(io.UnsupportedOperation):
                file.seek(0)
        assert link.sent == "ab".encode("utf-16")[0 if marked else 2 :]


def test_what_is_written_knows_its_place() -> None:
    link = Link()
    with opened(link, "wb") as file:
        file.write(b"x" * 20_000_000)
        assert file.tell() == 20_000_000
        with pytest.raises(io.UnsupportedOperation):
            file.read()
        with pytest.raises(io.UnsupportedOperation):
            file.truncate(0)
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()
    assert len(link.sent) == 20_000_000
    with opened(Link(), "ab") as file, pytest.raises(io.UnsupportedOperation, match="appended"):
        file.tell()


@pytest.mark.parametrize("mode", ["w", "wb", "x", "a"])
def test_after_an_error_nothing_arrives(mode: str) -> None:
    link = Link()
    data: Any = b"a" if "b" in mode else "a"
    with pytest.raises(RuntimeError, match="mine"), opened(link, mode) as file:
        file.write(data)
        raise RuntimeError("mine")
    assert (link.ended, link.sent) == ("aborted", b"")
    assert file.closed


@pytest.mark.parametrize("fault", [OSError(28, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_write_that_failed_is_not_forgotten(mode: str, fault: BaseException) -> None:
    link = Link()
    link.error = fault
    file = opened(link, mode)
    data: Any = b"a" if "b" in mode else "a"
    file.write(data)
    with pytest.raises(type(fault)):
        file.flush()
    link.error = None
    with pytest.raises(type(fault)):
        file.close()
    assert (link.ended, link.sent, file.closed) == ("aborted", b"", True)


def test_a_writer_of_a_destroyed_sandbox_says_so() -> None:
    link = Link()
    file = opened(link, "w")
    link.error = SandboxDestroyedError("gone")
    with pytest.raises(SandboxDestroyedError):
        file.close()
    assert file.closed
    file.close()


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_one_that_nobody_closed_is_aborted(mode: str) -> None:
    aborted = threading.Event()

    class Told(Link):
        def abort(self) -> None:
            aborted.set()

    link = Told()
    file = opened(link, mode)
    file.write(b"a" if "b" in mode else "a")
    with pytest.warns(ResourceWarning, match="'/w/a' in the sandbox was not closed"):
        del file
        gc.collect()
    assert aborted.wait(30)
    assert link.sent == b""


def test_one_that_is_read_may_be_forgotten() -> None:
    file = opened(Link(b"a"))
    file.read()
    del file
    gc.collect()


def test_a_detached_buffer_is_closed_by_itself() -> None:
    link = Link()
    file = opened(link, "w")
    file.write("a")
    buffer = file.detach()
    buffer.write(b"b")
    buffer.close()
    del file
    gc.collect()
    assert (link.sent, link.ended) == (b"ab", "committed")
