"""Processes that write more than anybody reads, or many at once: memory is bounded, and what is
promised comes.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys

import pytest

from lunette import LunetteClient, Process, ProcessInfo, Sandbox

from .embedded import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")

HOST = {"image": "host"}
LOG = 64 << 20  # what is kept to be followed
SLACK = 4 << 20  # pipes, sockets and what is in memory: files go whole

NUMBERS = """
import sys
write = sys.stdout.buffer.write
for n in range(int(sys.argv[1]) // 10):
    write(b"%09d\\n" % n)
"""


def numbers(size: int) -> list[str]:
    return ["python3", "-c", NUMBERS, str(size)]


def pattern(begin: int, end: int) -> bytes:
    lines = range(begin // 10, -(-end // 10))
    skipped = begin % 10
    return b"".join(b"%09d\n" % n for n in lines)[skipped : skipped + end - begin]


def info(sandbox: Sandbox, process: Process) -> ProcessInfo:
    [found] = [one for one in sandbox.processes() if one.id == process.id]
    return found


@pytest.mark.timeout(300)
def test_a_gibibyte_that_nobody_reads_holds_up_nothing_and_is_counted() -> None:
    size = 1 << 30
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        process = sandbox.start(["head", "-c", str(size), "/dev/zero"])
        result = process.result()
        kept = sum(len(data) for _, data in process)
        assert process.offset == kept + process.gaps == size
        assert LOG * 7 // 8 - SLACK < kept <= LOG
        assert len(result.stdout_bytes) == 10 << 20
        assert result.truncated == size - (10 << 20)


def test_what_was_dropped_is_between_the_beginning_and_the_end() -> None:
    size = 160_000_000
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        process = sandbox.start(numbers(size))
        process.result()
        for _, data in process:
            assert data == pattern(process.offset - len(data), process.offset)
        assert process.offset == size
        assert process.gaps >= size - LOG


def test_who_reads_slowly_holds_the_process_up_and_misses_nothing() -> None:
    size = 160_000_000
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        process = sandbox.start(numbers(size))
        chunks = process.chunks()
        found = hashlib.sha256(next(chunks)[1])
        offsets = [-1, 0]

        def stands_still() -> bool:
            offsets.append(info(sandbox, process).output_offset)
            return offsets[-1] == offsets[-2] > 0

        until(stands_still)
        assert info(sandbox, process).state == "running"
        assert offsets[-1] < LOG + SLACK
        for _, data in chunks:
            found.update(data)
        assert process.gaps == 0
        assert found.digest() == hashlib.sha256(pattern(0, size)).digest()


def test_a_million_writes_of_a_byte_come_whole() -> None:
    writes = "import os\nfor n in range(1_000_000): os.write(1, bytes([n % 251]))"
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        process = sandbox.start(["python3", "-c", writes])
        found = b"".join(data for _, data in process)
        assert found == bytes(n % 251 for n in range(1_000_000))


def test_two_hundred_processes_have_two_hundred_readers() -> None:
    size = 48_000

    async def follow(sandbox: Sandbox, number: int) -> None:
        process = await sandbox.astart(f"sleep 0.{number % 7}; seq 1000000 | head -c {size}")
        found = b"".join([data async for _, data in process])
        assert found == b"".join(b"%d\n" % n for n in range(1, size))[:size]
        assert (await process.aresult()).exit_code == 0

    async def follow_all() -> None:
        async with LunetteClient() as client, await client.create_sandbox(HOST) as sandbox:
            async with asyncio.TaskGroup() as group:
                for number in range(200):
                    group.create_task(follow(sandbox, number))
            assert len(await sandbox.aprocesses()) == 200

    asyncio.run(follow_all())
