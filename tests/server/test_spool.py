"""A disk that is full costs the oldest output, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .images.test_pulling import small_disk

GUARD = 60.0

_FULL = """
import asyncio, logging, sys
from pathlib import Path
from lunette.server import _readers
from lunette.server._log import Gap, Log
logging.basicConfig()
_readers._FIRST_SECONDS = 0

async def main():
    directory = Path(sys.argv[1])
    log = Log(directory, 64 << 20)
    sizes = [100_000] * 200
    if sys.argv[2] == "followed":
        with log.followed_from(0) as reader:
            writing = asyncio.create_task(write(log, sizes))
            seen = 0
            while not writing.done() or reader.offset < log.end:
                if reader.offset < log.end:
                    found = await log.find(reader.offset)
                    assert not isinstance(found, Gap), found
                    seen += found.end - reader.offset
                    log.read_until(reader, found.end)
                await asyncio.sleep(0)
            print(seen, 0)
    else:
        await write(log, sizes)
        log.finish()
        seen = lost = offset = 0
        while offset < log.end:
            found = await log.find(offset)
            if isinstance(found, Gap):
                lost += found.size
                offset += found.size
            else:
                assert set(found.data) == {120}
                seen += found.end - offset
                offset = found.end
        print(seen, lost)
        assert log.lost() == {1: lost, 2: 0}

async def write(log, sizes):
    for size in sizes:
        log.write(1, b"x" * size)
        await log.room()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a small disk is mounted")
@pytest.mark.parametrize("how", ["followed", "alone"])
def test_a_full_disk_loses_the_oldest_and_says_so_once(tmp_path: Path, how: str) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 4) as command:
        done = subprocess.run(
            [*command, sys.executable, "-c", _FULL, str(disk), how],
            capture_output=True,
            text=True,
            timeout=GUARD,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    seen, lost = map(int, done.stdout.split())
    assert seen + lost == 20_000_000
    if how == "alone":
        assert seen > 3_000_000
        assert done.stderr.count("No space left on device") == 1
