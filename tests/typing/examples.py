"""Both examples of the README, and what type checkers make of them; checked, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping
from io import BufferedReader, BufferedWriter, TextIOWrapper
from pathlib import Path, PurePosixPath
from signal import SIGINT
from typing import Any, Literal, assert_type

import httpx

from lunette import (
    PIPE,
    AsyncFile,
    AsyncLunetteClient,
    AsyncSandbox,
    ComposeService,
    ExecResult,
    FileInfo,
    LunetteClient,
    Process,
    ProcessInfo,
    RateLimitError,
    RetryPolicy,
    Sandbox,
    SandboxInfo,
    SandboxStats,
    StopResult,
)


async def asynchronous() -> None:
    async with LunetteClient() as client:
        assert_type(client, AsyncLunetteClient)
        sandbox = await client.create_sandbox({"image": "python:3.11-slim"})
        assert_type(sandbox, AsyncSandbox)
        result = await sandbox.aexec("echo 'hello'")
        assert_type(result, ExecResult)
        print(result.stdout)
        await sandbox.aupload("./script.py", "/workspace/script.py")
        result = await sandbox.aexec("python /workspace/script.py")
        assert_type(await sandbox.destroy(), None)


def blocking() -> None:
    with LunetteClient() as client:
        assert_type(client, LunetteClient)
        with client.create_sandbox({"image": "python:3.11-slim"}) as sandbox:
            assert_type(sandbox, Sandbox)
            assert_type(sandbox.exec("echo 'hello'"), ExecResult)
            print(sandbox.exec("echo 'hello'").stdout)
            sandbox.upload("./script.py", "/workspace/script.py")
            sandbox.exec("python /workspace/script.py > /workspace/out.txt")
            sandbox.download("/workspace/out.txt", "out.txt")
            assert_type(sandbox.files.read_text("out.txt"), str)
            assert_type(sandbox.files.read_bytes("out.txt"), bytes)
        assert_type(client.list_sandboxes(), list[SandboxInfo])
        assert_type(client.stop_sandboxes(["id"]), StopResult)
        assert_type(client.get_sandbox("id"), Sandbox)


async def more_of_the_async_client() -> None:
    async with AsyncLunetteClient() as client:
        assert_type(client, AsyncLunetteClient)
        async with await client.create_sandbox({"image": "host"}) as sandbox:
            assert_type(sandbox, AsyncSandbox)
        assert_type(await client.acreate_sandbox({"image": "host"}), AsyncSandbox)
        assert_type(await client.aget_sandbox("id"), AsyncSandbox)
        assert_type(await client.stop_sandboxes(["id"]), StopResult)
        assert_type(await client.alist_sandboxes(), list[SandboxInfo])
        await client.close()


async def a_plain_client_in_a_notebook(sandbox: Sandbox, any_client: LunetteClient) -> None:
    assert_type(sandbox.destroy(), Awaitable[None])
    await sandbox.destroy()
    await any_client.close()
    assert_type(await any_client.acreate_sandbox({"image": "host"}), Sandbox)


async def options(transport: httpx.MockTransport) -> None:
    policy = RetryPolicy(attempts=3, deadline=10.0, first_delay=0.1, longest_delay=1.0)
    LunetteClient("key", "https://x", 1.0, retry=policy, transport="aiohttp")
    async with LunetteClient(transport=transport) as client:
        sandbox = await client.create_sandbox({"image": "host"})
        result = await sandbox.aexec("true", output_limit=1024)
        assert_type(result.duration, float | None)
        assert_type(result.stdout_bytes, bytes)
        assert_type(result.truncated, int)


def services(client: LunetteClient, mapping: Mapping[str, Any], plain: dict[str, str]) -> None:
    both: list[ComposeService] = [
        {"image": "a", "command": "b c", "environment": {"A": "1", "B": 2, "C": None, "D": True}},
        {"image": "a", "command": ["b"], "entrypoint": None, "environment": ["A=1"]},
        {"image": "a", "env_file": "e", "tmpfs": "/t", "cpus": 0.5, "mem_limit": "1g", "user": 0},
        {"image": "a", "env_file": ["e", {"path": "f", "required": False, "format": "raw"}]},
        {"image": "a", "tmpfs": ["/t"], "cpus": "0.5", "mem_limit": 1024, "user": "a:b"},
        {"build": ".", "ulimits": {"nofile": 1024}, "extra_hosts": ["a:1.1.1.1"]},
        {
            "build": {"context": ".", "args": {"A": "1"}},
            "ulimits": {"core": {"soft": 0, "hard": 0}},
        },
        {"image": "a", "deploy": {"resources": {"limits": {"cpus": "0.5", "pids": 9}}}},
        {"image": "a", "extra_hosts": {"a": ["1.1.1.1"]}, "init": True, "read_only": "true"},
    ]
    service: ComposeService = {"image": "host"}
    service["hostname"] = "h"
    assert_type(client.create_sandbox(service), Sandbox)
    for one in both:
        client.create_sandbox(one)
    client.create_sandbox(mapping)
    client.create_sandbox(plain)
    client.create_sandbox({"image": "host", "x-mine": 1})
    client.create_sandbox("compose.yaml", service="web")
    client.create_sandbox(Path("folder"))


async def services_of_both(client: AsyncLunetteClient) -> None:
    assert_type(await client.create_sandbox(Path("a"), service="web"), AsyncSandbox)
    assert_type(await client.acreate_sandbox("a", service="web"), AsyncSandbox)


def files(sandbox: Sandbox, mode: str) -> None:
    here = PurePosixPath("/w")
    assert_type(sandbox.files.list(), list[FileInfo])
    assert_type(sandbox.files.list(here, depth=None), list[FileInfo])
    info = sandbox.files.stat("a", follow_symlinks=False)
    assert_type(info.type, Literal["file", "directory", "symlink", "other"])
    assert_type((info.name, info.mtime, info.target), tuple[str, float, str | None])
    assert_type(sandbox.files.exists(here / "a"), bool)
    sandbox.files.mkdir(here / "d", mode=0o700, parents=True, exist_ok=True)
    sandbox.files.move("d", here / "e")
    sandbox.files.remove("e", recursive=True)
    assert_type(sandbox.files.iter_bytes("a"), Generator[bytes, None, None])
    with sandbox.files.open("a", "w", encoding="utf-16", newline="") as text:
        assert_type(text, TextIOWrapper)
        text.write("text")
    assert_type(sandbox.files.open("a").readline(), str)
    assert_type(sandbox.files.open("a", "rb"), BufferedReader)
    assert_type(sandbox.files.open("a", "ab"), BufferedWriter)
    with sandbox.files.open("a", mode) as any_file:
        any_file.read()


async def files_awaited(sandbox: AsyncSandbox) -> None:
    assert_type(await sandbox.files.alist(), list[FileInfo])
    assert_type(sandbox.files.aiter_bytes("a"), AsyncGenerator[bytes, None])
    async with await sandbox.files.aopen("a") as text:
        assert_type(text, AsyncFile[str])
        async for line in text:
            assert_type(line, str)
        assert_type(await text.readlines(), list[str])
    async with await sandbox.files.aopen("a", "wb") as binary:
        assert_type(binary, AsyncFile[bytes])
        assert_type(await binary.write(b"bytes"), int)


Stream = Literal["stdout", "stderr"]


def processes(sandbox: Sandbox) -> None:
    with sandbox.start("cat", input=PIPE, name="cat", user="nobody") as process:
        assert_type(process, Process)
        process.write("text")
        process.write(b"bytes")
        process.close_input()
        for stream, data in process:
            assert_type(stream, Stream)
            assert_type(data, bytes)
        for line in process.lines("stderr"):
            assert_type(line, str)
        assert_type(process.chunks(follow=False), Generator[tuple[Stream, bytes], None, None])
        assert_type(process.poll(), int | None)
        assert_type(process.result(timeout=1, check=True), ExecResult)
        process.signal(SIGINT)
        process.signal("INT")
        process.signal(2)
        process.detach()
    sandbox.start(["sh"], tty=True, timeout=9.5).resize(24, 80)
    sandbox.start(["sh"], tty=(24, 80), input=b"exit\n", cwd="/", env={"A": "1"}).kill()
    assert_type(sandbox.processes(), list[ProcessInfo])
    assert_type(sandbox.stats(), SandboxStats)
    assert_type(sandbox.process("id"), Process)
    sandbox.exec("true", user="nobody", on_stdout=print, on_stderr=lambda text: text.upper())


async def awaited_processes(sandbox: AsyncSandbox) -> None:
    async def told(text: str) -> None:
        print(text)

    async with await sandbox.astart("cat", input=PIPE) as process:
        assert_type(process, Process)
        await process.awrite("text")
        await process.aclose_input()
        async for stream, data in process:
            assert_type(stream, Stream)
            assert_type(data, bytes)
        async for line in process.alines():
            assert_type(line, str)
        assert_type(process.achunks(), AsyncGenerator[tuple[Stream, bytes], None])
        assert_type(await process.apoll(), int | None)
        assert_type(await process.aresult(), ExecResult)
        await process.asignal("INT")
        await process.aterminate()
        await process.aresize(24, 80)
        await process.akill()
    assert_type(await sandbox.aprocesses(), list[ProcessInfo])
    assert_type(await sandbox.astats(), SandboxStats)
    await sandbox.apause()
    assert_type(await sandbox.aprocess("id"), Process)
    await sandbox.aexec("true", on_stdout=told, on_stderr=print)


def errors(error: RateLimitError) -> None:
    assert_type(error.retry_after, float | None)
    assert_type(error.request_id, str | None)


def one_for_both(client: LunetteClient) -> Sandbox:
    return Sandbox(client, "id", {"image": "host"})


def an_async_sandbox_is_a_sandbox(sandbox: AsyncSandbox) -> Sandbox:
    return sandbox
