"""Writing to a process: beside its readers, by several at once, and after a write that failed."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from lunette import PIPE, APIError, LunetteClient, Process, Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")

HOST = {"image": "host"}
GUARD = 60.0
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
# More than all the pipes and logs on its way hold.
MUCH = bytes(range(250)) * (1 << 17)


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    with LunetteClient() as client, client.create_sandbox(HOST) as sandbox:
        yield sandbox


def digest(process: Process) -> str:
    found = hashlib.sha256()
    for _, data in process:
        found.update(data)
    return found.hexdigest()


def test_a_thread_writes_while_another_reads(sandbox: Sandbox) -> None:
    process = sandbox.start("cat", input=PIPE)
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(digest, process)
        process.write(MUCH)
        process.close_input()
        assert reading.result(GUARD) == hashlib.sha256(MUCH).hexdigest()


@BACKENDS
def test_a_task_writes_while_another_reads(sandbox: Sandbox, backend: str) -> None:
    process = sandbox.start("cat", input=PIPE)
    found = hashlib.sha256()

    async def write() -> None:
        await process.awrite(MUCH)
        await process.aclose_input()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(write)
            async for _, data in process:
                found.update(data)

    anyio.run(main, backend=backend)
    assert found.hexdigest() == hashlib.sha256(MUCH).hexdigest()


def test_threads_take_turns(sandbox: Sandbox) -> None:
    process = sandbox.start("sort -n", input=PIPE)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(process.write, [f"{n}\n" for n in range(100)]))
    process.close_input()
    assert process.result().stdout == "".join(f"{n}\n" for n in range(100))


@BACKENDS
def test_tasks_take_turns(sandbox: Sandbox, backend: str) -> None:
    process = sandbox.start("sort -n", input=PIPE)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for n in range(50):
                group.start_soon(process.awrite, f"{n}\n")

    anyio.run(main, backend=backend)
    process.close_input()
    assert process.result().stdout == "".join(f"{n}\n" for n in range(50))


def test_a_write_that_was_given_up_does_not_spoil_the_next(sandbox: Sandbox) -> None:
    process = sandbox.start("read go; wc -c", input=PIPE)

    async def main() -> None:
        with anyio.move_on_after(0.2):
            await process.awrite(b"go" + bytes(1 << 20))
        await process.awrite(b"\n" + b"x" * 5)

    asyncio.run(main())
    process.close_input()
    # What had been taken of the first is a part of the line that was thrown away.
    assert process.result().stdout.strip() == "5"


def test_somebody_else_who_writes_is_found(sandbox: Sandbox) -> None:
    process = sandbox.start("cat", input=PIPE)
    other = sandbox.process(process.id)
    other.write("more than one")
    with pytest.raises(APIError, match="somebody else writes to it too"):
        process.write("one")
