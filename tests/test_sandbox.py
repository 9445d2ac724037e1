from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import threading
from collections.abc import Awaitable
from typing import Any

import anyio
import httpx
import pytest
import respx

from lunette import (
    APIError,
    AsyncLunetteClient,
    AsyncSandbox,
    LunetteClient,
    RetryPolicy,
    Sandbox,
    SandboxDestroyedError,
)

from .conftest import speak_our_contract

URL = "http://lunette.test"
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def test_a_sandbox_from_its_id(wire: Any) -> None:
    with LunetteClient(base_url=wire.url) as client:
        sandbox = Sandbox(client, "s1", {"image": "host"})
        assert type(sandbox) is Sandbox
        assert (sandbox.sandbox_id, sandbox.service) == ("s1", {"image": "host"})
        assert sandbox.exec("hello").stdout == "hello"


def test_the_class_follows_the_client() -> None:
    assert type(Sandbox(AsyncLunetteClient(), "s1")) is AsyncSandbox
    assert type(AsyncSandbox(LunetteClient(), "s1")) is AsyncSandbox


def test_repr_is_the_published_one(wire: Any) -> None:
    with LunetteClient(base_url=wire.url) as client:
        sandbox = Sandbox(client, "s1")
        assert repr(sandbox) == "Sandbox(sandbox_id=s1, status=active)"
        assert repr(AsyncSandbox(client, "s1")) == repr(sandbox)
        sandbox.destroy()
        assert repr(sandbox) == "Sandbox(sandbox_id=s1, status=destroyed)"


def test_after_destroy_no_verb_works(wire: Any) -> None:
    with LunetteClient(base_url=wire.url) as client:
        with client.create_sandbox({"image": "host"}) as sandbox:
            pass
        sandbox.destroy()
        assert [line for line in wire.diary if "DELETE" in line] == [wire.diary[-1]]
        with pytest.raises(SandboxDestroyedError, match=sandbox.sandbox_id):
            sandbox.exec("true")
        with pytest.raises(SandboxDestroyedError):
            sandbox.files.read_text("/a")
        with pytest.raises(SandboxDestroyedError):
            sandbox.upload(__file__, "/a")
        with pytest.raises(SandboxDestroyedError):
            asyncio.run(sandbox.aexec("true"))


@BACKENDS
def test_destroy_is_awaitable_on_any_sandbox(wire: Any, backend: str) -> None:
    async def main() -> None:
        with LunetteClient(base_url=wire.url) as client:
            for kind in (Sandbox, AsyncSandbox):
                done: Awaitable[None] = kind(client, "s1").destroy()
                await done
                sandbox = kind(client, "s1")
                await sandbox.adestroy()
                await sandbox.adestroy()
                await sandbox.destroy()

    anyio.run(main, backend=backend)
    assert wire.diary == ["GET /capabilities", *["DELETE /sandboxes/s1"] * 4]


def test_a_destroy_that_failed_can_be_repeated() -> None:
    once = RetryPolicy(attempts=1)
    with respx.mock(base_url=URL) as router, LunetteClient(base_url=URL, retry=once) as client:
        speak_our_contract(router)
        route = router.delete("/sandboxes/s1").mock(side_effect=httpx.ReadError)
        sandbox = Sandbox(client, "s1")
        with pytest.raises(httpx.ReadError):
            sandbox.destroy()
        route.side_effect = None
        route.respond(204)
        sandbox.destroy()
        assert "destroyed" in repr(sandbox)


def test_failing_to_destroy_does_not_hide_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=URL) as client:
            with pytest.raises(ZeroDivisionError):
                async with AsyncSandbox(client, "s1"):
                    raise ZeroDivisionError
            with pytest.raises(APIError):
                async with AsyncSandbox(client, "s1"):
                    pass

    with respx.mock(base_url=URL) as router, LunetteClient(base_url=URL) as client:
        speak_our_contract(router)
        router.delete("/sandboxes/s1").respond(500)
        with pytest.raises(ZeroDivisionError), Sandbox(client, "s1"):
            raise ZeroDivisionError
        with pytest.raises(APIError), Sandbox(client, "s1"):
            pass
        asyncio.run(main())
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 2
    assert all(message.startswith("[s1] could not be destroyed: 500") for message in warned)


@BACKENDS
def test_cancelling_kills_the_command_and_destroys_the_sandbox(wire: Any, backend: str) -> None:
    running, released = threading.Event(), threading.Event()

    def hang(body: dict[str, Any]) -> None:
        running.set()
        released.wait(30)

    wire.on_exec = hang

    async def main() -> None:
        async with LunetteClient(base_url=wire.url) as client:

            async def work() -> None:
                async with await client.create_sandbox({"image": "host"}) as sandbox:
                    await sandbox.aexec("sleep 60")

            async with anyio.create_task_group() as group:
                group.start_soon(work)
                await anyio.to_thread.run_sync(running.wait, 30)
                group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    released.set()
    verbs = [
        line.split("/")[0] + line.split("/")[3] if line.count("/") > 2 else line
        for line in wire.diary
    ]
    assert verbs[2] == "POST exec"
    assert verbs[3] == "DELETE processes"
    assert wire.diary[4].startswith("DELETE /sandboxes/")


def test_a_cancelled_asyncio_task_stays_cancelled(wire: Any) -> None:
    running, released = threading.Event(), threading.Event()

    def hold(body: object) -> None:
        running.set()
        released.wait(30)

    wire.on_exec = hold

    async def main() -> None:
        async with LunetteClient(base_url=wire.url) as client:
            sandbox = await client.create_sandbox({"image": "host"})
            task = asyncio.create_task(sandbox.aexec("sleep 60"))
            await asyncio.to_thread(running.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert wire.killed.is_set()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await sandbox.aexec("sleep 60")

    asyncio.run(main())
    released.set()
    assert sum("/processes/" in line for line in wire.diary) == 2


def test_ctrl_c_kills_the_command(wire: Any) -> None:
    released = threading.Event()

    def interrupt(body: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        released.wait(30)

    wire.on_exec = interrupt
    with LunetteClient(base_url=wire.url) as client:
        sandbox = client.create_sandbox({"image": "host"})
        with pytest.raises(KeyboardInterrupt):
            sandbox.exec("sleep 60")
        assert wire.killed.is_set()
        released.set()
        wire.on_exec = lambda body: None
        assert sandbox.exec("after").stdout == "after"


@pytest.mark.parametrize("kind", [Sandbox, AsyncSandbox])
def test_a_sandbox_pickles_as_its_address_and_never_with_a_secret(
    wire: Any, kind: type[Sandbox]
) -> None:
    with LunetteClient("s3cret", wire.url) as client:
        frozen = pickle.dumps(kind(client, "s1", {"image": "host", "environment": {"P": "s3cret"}}))
    assert b"s3cret" not in frozen

    copy = pickle.loads(frozen)
    assert type(copy) is kind
    assert copy.sandbox_id == "s1"
    assert copy.exec("hello").stdout == "hello"
    copy._link.connector.close()
