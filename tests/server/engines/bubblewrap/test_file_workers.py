"""Processes for files that do not do what they are asked for."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from lunette.server.engines.bubblewrap import _file_workers
from lunette.server.engines.bubblewrap._file_workers import FileWorker
from lunette.server.engines.bubblewrap._worker import Worker
from lunette.server.engines.bubblewrap.inside import filejobs, listing, wire
from lunette.server.trees import LISTING


def _sleeping() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"])


@asynccontextmanager
async def silent() -> AsyncIterator[FileWorker]:
    """One that never says a word, and does not hear that nobody listens either."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, _sleeping() as process:
        try:
            async with asyncio.timeout(30):
                yield FileWorker(cast(Worker, None), ours, os.pidfd_open(process.pid))
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL


def test_one_that_does_not_begin_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_file_workers, "_BEGIN_SECONDS", 0.01)

    async def main() -> None:
        async with silent() as one:
            with pytest.raises(_file_workers.NoCapacityError, match="in time"):
                await one.begun()
            assert one.ended.done()

    asyncio.run(main())


def test_one_that_has_not_begun_can_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_file_workers, "_NOT_BEGUN_SECONDS", 0.01)

    async def main() -> None:
        async with silent() as one:
            beginning = asyncio.create_task(one.begun())
            await asyncio.sleep(0)
            beginning.cancel()
            await asyncio.wait([beginning])
            assert beginning.cancelled()
            assert one.ended.done()

    asyncio.run(main())


def test_what_takes_too_much_memory_is_told() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        one = filejobs.FileWorker(theirs)
        one._jobs["list"] = lambda *_: cast(None, bytes(1 << 62))
        one._do({"op": "list", "path": "d", "working_dir": "/"}, [])
        received = wire.receive(ours)
        assert received is not None
        assert (received[0]["errno"], received[0]["path"]) == (errno.EOVERFLOW, "d")


def test_of_too_many_names_not_all_are_sorted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert listing._SORTED > LISTING
    monkeypatch.setattr(listing, "_SORTED", 5)
    for number in range(20):
        (tmp_path / f"n{number:02}").touch()
    names = [entry.name for entry in os.scandir(tmp_path)]
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    here = Path.cwd()
    try:
        lines = b"".join(listing.listed(fd, 1)).splitlines()[1:]
    finally:
        os.chdir(here)
        os.close(fd)
    seen = [line.split(b'"')[3].decode() for line in lines]
    assert seen == [*sorted(names[:5]), *names[5:]]
