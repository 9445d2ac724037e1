from __future__ import annotations

import asyncio
import inspect
import json
import warnings
from collections.abc import Generator
from typing import Any

import anyio
import httpx
import pytest
import respx

from lunette import (
    APIError,
    AsyncLunetteClient,
    AsyncSandbox,
    AsyncUsageWarning,
    AuthenticationError,
    LunetteClient,
    RequestTimeoutError,
    RetryPolicy,
    Sandbox,
    SandboxNotFoundError,
    StopResult,
    TransportError,
)

from .conftest import speak_our_contract

URL = "http://lunette.test/api"
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def mocked() -> Generator[respx.MockRouter]:
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        router.delete(path__regex="/api/sandboxes/.*").respond(204)
        speak_our_contract(router)
        yield router


def here(level: int = 1) -> int:
    frame = inspect.stack()[level]
    return frame.lineno


def test_the_key_is_sent_and_the_path_of_the_url_kept(mocked: respx.MockRouter) -> None:
    route = mocked.get("/sandboxes").respond(json={"sandboxes": []})
    with LunetteClient("k3y", f"{URL}/") as client:
        assert client.list_sandboxes() == []
    assert route.calls[0].request.headers["X-API-Key"] == "k3y"
    assert str(route.calls[0].request.url) == f"{URL}/sandboxes"


def test_without_a_key_no_header(mocked: respx.MockRouter) -> None:
    route = mocked.get("/sandboxes").respond(json={"sandboxes": []})
    with LunetteClient(base_url=URL) as client:
        client.list_sandboxes()
    assert "X-API-Key" not in route.calls[0].request.headers


PAGE = httpx.Response(502, html="<html>Bad Gateway</html>")


@pytest.mark.parametrize(
    ("fault", "kind", "also"),
    [
        (PAGE, APIError, httpx.HTTPStatusError),
        (httpx.Response(301, headers={"Location": "/login"}), APIError, httpx.HTTPStatusError),
        (httpx.Response(401, text=""), AuthenticationError, APIError),
        (httpx.Response(200, text="<html>Log in</html>"), APIError, httpx.HTTPStatusError),
        (httpx.Response(200, json={"sandboxes": [{}]}), APIError, httpx.HTTPStatusError),
        (httpx.Response(200, content=b'{"sandboxes": ['), APIError, httpx.HTTPStatusError),
        (httpx.ConnectError, TransportError, httpx.ConnectError),
        (httpx.ConnectTimeout, RequestTimeoutError, httpx.ConnectTimeout),
        (httpx.ReadTimeout, RequestTimeoutError, httpx.TimeoutException),
        (httpx.RemoteProtocolError, TransportError, httpx.RemoteProtocolError),
        (
            httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=iter([b"no gzip"])),
            TransportError,
            httpx.DecodingError,
        ),
    ],
)
def test_faults_of_the_network(
    mocked: respx.MockRouter, fault: Any, kind: type[Exception], also: type[Exception]
) -> None:
    is_answer = isinstance(fault, httpx.Response)
    mocked.get("/sandboxes").mock(
        **({"return_value": fault} if is_answer else {"side_effect": fault})
    )
    once = RetryPolicy(attempts=1)
    with LunetteClient(base_url=URL, retry=once) as client, pytest.raises(kind) as caught:
        client.list_sandboxes()
    assert isinstance(caught.value, also)
    assert isinstance(caught.value, httpx.HTTPError)
    if isinstance(caught.value, APIError) and is_answer:
        assert caught.value.status_code == fault.status_code


def test_a_wrong_service_sends_nothing_and_starts_nothing() -> None:
    with LunetteClient(base_url="unix:///nowhere") as client:
        with pytest.raises(FileNotFoundError, match="an image is"):
            client.create_sandbox("python:3.11-slim")
        with pytest.raises(ValueError, match="did you mean 'image'"):
            client.create_sandbox({"imag": "host"})


def test_get_sandbox(mocked: respx.MockRouter, wire: Any) -> None:
    mocked.get("/sandboxes/nope").respond(404, json={"code": "sandbox_not_found"})
    with LunetteClient(base_url=URL) as client, pytest.raises(SandboxNotFoundError):
        client.get_sandbox("nope")


def test_the_plain_client_makes_plain_sandboxes(wire: Any) -> None:
    with LunetteClient(base_url=wire.url) as client:
        assert type(client) is LunetteClient
        assert type(client.create_sandbox({"image": "host"})) is Sandbox
        assert type(client.get_sandbox("s1")) is Sandbox
        assert client.stop_sandboxes(["s1"]) == StopResult(["s1"], [])


@BACKENDS
def test_the_async_client_makes_async_sandboxes(wire: Any, backend: str) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=wire.url) as client:
            assert type(client) is AsyncLunetteClient
            assert isinstance(client, LunetteClient)
            assert type(await client.create_sandbox({"image": "host"})) is AsyncSandbox
            assert type(await client.acreate_sandbox({"image": "host"})) is AsyncSandbox
            assert type(await client.aget_sandbox("s1")) is AsyncSandbox
            assert await client.stop_sandboxes(["s1"]) == StopResult(["s1"], [])
            assert len(await client.alist_sandboxes()) == 1

    anyio.run(main, backend=backend)


def test_the_async_client_by_its_name(wire: Any) -> None:
    async def main() -> None:
        async with (
            AsyncLunetteClient(base_url=wire.url) as client,
            await client.create_sandbox({"image": "host"}) as sandbox,
        ):
            assert type(sandbox) is AsyncSandbox
        other = AsyncLunetteClient(base_url=wire.url)
        await other.create_sandbox({"image": "host"})
        await other.close()

    asyncio.run(main())


def test_both_forms_share_one_connection(wire: Any) -> None:
    async def main() -> None:
        plain = LunetteClient(base_url=wire.url)
        async with plain as client:
            sandbox = await client.create_sandbox({"image": "host"})
            await sandbox.destroy()
        with pytest.raises(RuntimeError, match="closed"):
            plain.list_sandboxes()

    asyncio.run(main())


def test_async_with_without_as_fails_before_anything_is_made(wire: Any) -> None:
    async def main() -> None:
        client: Any = LunetteClient(base_url=wire.url)
        async with client:
            with pytest.raises(RuntimeError, match="`async with LunetteClient\\(\\) as client`"):
                await client.create_sandbox({"image": "host"})
            with pytest.raises(RuntimeError, match="`async with LunetteClient\\(\\) as client`"):
                await client.stop_sandboxes(["s1"])

    asyncio.run(main())
    assert wire.diary == []


@BACKENDS
def test_awaiting_a_plain_client_works_and_warns(wire: Any, backend: str) -> None:
    async def main() -> None:
        client: Any = LunetteClient(base_url=wire.url)
        with pytest.warns(AsyncUsageWarning, match=r"await client.acreate_sandbox\(\)") as caught:
            sandbox = await client.create_sandbox({"image": "host"})
        assert (caught[0].filename, caught[0].lineno) == (__file__, here() - 1)
        with pytest.warns(AsyncUsageWarning, match=r"await client.astop_sandboxes\(\)"):
            assert (await client.stop_sandboxes(["s1"])).stopped == ["s1"]
        assert (await sandbox.aexec("hello")).stdout == "hello"
        await sandbox.destroy()
        await client.close()

    anyio.run(main, backend=backend)


@BACKENDS
def test_blocking_verbs_of_async_objects_warn_in_a_loop(
    wire: Any, backend: str, tmp_path: Any
) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=wire.url) as client:
            sandbox = await client.create_sandbox({"image": "host"})
            with pytest.warns(
                AsyncUsageWarning, match=r"^exec\(\) blocks .* await aexec\(\)"
            ) as caught:
                sandbox.exec("true")
            assert (caught[0].filename, caught[0].lineno) == (__file__, here() - 1)
            with pytest.warns(AsyncUsageWarning, match=r"await aread_bytes\(\) instead"):
                sandbox.files.read_bytes("/a")
            with pytest.warns(AsyncUsageWarning, match="alist_sandboxes"):
                client.list_sandboxes()
            with pytest.warns(AsyncUsageWarning, match="aget_sandbox"):
                client.get_sandbox("s1")
            match = r"^a file of open\(\) blocks .* await aopen\(\) instead"
            with pytest.warns(AsyncUsageWarning, match=r"^open\(\) blocks .* await aopen\(\) "):
                file = sandbox.files.open("/x", "w")
            with pytest.warns(AsyncUsageWarning, match=match), file:
                pass
            match = "`with` blocks the event loop; write `async with`"
            with pytest.warns(AsyncUsageWarning, match=match), sandbox:
                pass

    anyio.run(main, backend=backend)


def test_a_line_warns_once(wire: Any) -> None:
    async def main() -> None:
        async with LunetteClient(base_url=wire.url) as client:
            sandbox = await client.create_sandbox({"image": "host"})
            with warnings.catch_warnings(record=True) as caught:
                warnings.resetwarnings()
                for _ in range(3):
                    sandbox.exec("true")
                sandbox.exec("true")
            assert len(caught) == 2

    asyncio.run(main())


def test_blocking_verbs_outside_of_a_loop_never_warn(wire: Any) -> None:
    client = AsyncLunetteClient(base_url=wire.url)
    assert len(client.list_sandboxes()) == 1
    asyncio.run(client.aclose())


@BACKENDS
def test_plain_verbs_in_a_loop_never_warn(wire: Any, backend: str) -> None:
    async def notebook() -> str:
        with (
            LunetteClient(base_url=wire.url) as client,
            client.create_sandbox({"image": "host"}) as sandbox,
        ):
            return sandbox.exec("in a notebook").stdout

    assert anyio.run(notebook, backend=backend) == "in a notebook"


def test_close_may_be_awaited_on_any_client(wire: Any) -> None:
    async def main() -> None:
        await LunetteClient(base_url=wire.url).close()
        await AsyncLunetteClient(base_url=wire.url).close()

    asyncio.run(main())


def test_the_timeout_of_the_client_is_that_of_a_request(mocked: respx.MockRouter) -> None:
    answer = {"stdout": "", "stderr": "", "exit_code": 0}
    route = mocked.post("/sandboxes/s1/exec").respond(json=answer)
    for timeout, wait in ((None, 20), (5, 2)):
        with LunetteClient(base_url=URL, timeout=timeout) as client:
            Sandbox(client, "s1").exec("true")
        request = route.calls[-1].request
        assert set(request.extensions["timeout"].values()) == {timeout or 60}
        # The server answers long before that, if only to say that the command still runs.
        assert request.headers["Prefer"] == f"respond-async, wait={wait}"
        assert "timeout" not in json.loads(request.content)


def test_no_error_shows_the_key(mocked: respx.MockRouter) -> None:
    mocked.get("/sandboxes").mock(return_value=PAGE)
    once = RetryPolicy(attempts=1)
    with LunetteClient("s3cret", URL, retry=once) as client, pytest.raises(APIError) as caught:
        client.list_sandboxes()
    assert "s3cret" not in str(caught.value) + repr(caught.value) + repr(client)
