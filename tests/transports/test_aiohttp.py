"""Over aiohttp a request is what it is over stock httpx."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
import anyio.abc
import httpx
import pytest

from lunette import errors
from lunette._transports import aiohttp_transport

from .server import client_over, serving


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "GET", "params": {"path": "/a b/ü+&%2F", "empty": ""}},
        {"method": "POST", "json": {"command": "true"}},
        {"method": "POST"},
        {"method": "PUT", "content": b"x" * 100_000},
        {"method": "GET", "headers": {"Accept-Encoding": "identity", "X-API-Key": "k"}},
        {"method": "POST", "data": {"a": "b"}},
        {"method": "POST", "files": {"f": ("name", b"content")}},
    ],
    ids=lambda request: str(request)[:30],
)
def test_aiohttp_sends_what_stock_httpx_sends(request_: dict[str, Any]) -> None:
    async def main() -> None:
        async with serving() as (server, url):
            for transport in (httpx.AsyncHTTPTransport(), aiohttp_transport()):
                async with client_over(transport) as client:
                    if "files" in request_:
                        client.headers["Content-Type"] = "multipart/form-data; boundary=b"
                    await client.request(url=f"{url}a%20b/%2f~%7E/ü", **request_)
            stock, ours = server.requests
            assert _meaning(ours) == _meaning(stock)

    asyncio.run(main())


def _meaning(request: bytes) -> tuple[Any, ...]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    method, target, version = first.split()
    url = urlsplit(target)  # aiohttp spells some escapes in another way
    query = parse_qsl(url.query, keep_blank_values=True)
    named = {name.lower(): value for name, _, value in (line.partition(":") for line in headers)}
    if named.get("content-length") == " 0":
        del named["content-length"]
    return method, unquote(url.path), query, version, named, body


def test_aiohttp_streams_a_body_in_chunks() -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"one"
        yield b"two"

    async def main() -> None:
        async with serving() as (server, url), client_over(aiohttp_transport()) as client:
            await client.put(url, content=body())
            await client.put(url, content=body(), headers={"Content-Length": "6"})
        head, _, chunks = server.requests[0].partition(b"\r\n\r\n")
        assert head.lower().count(b"transfer-encoding: chunked") == 1
        assert chunks == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        head, _, content = server.requests[1].partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert content == b"onetwo"

    asyncio.run(main())


def test_aiohttp_is_not_for_trio() -> None:
    async def main() -> None:
        async with client_over(aiohttp_transport()) as client:
            with pytest.raises(errors.ConfigError, match="leave out transport='aiohttp'"):
                await client.get("http://127.0.0.1:1/")

    anyio.run(main, backend="trio")


@pytest.mark.parametrize("missing", ["httpx_aiohttp", "aiohttp"])
def test_aiohttp_is_missing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(errors.ConfigError, match=r"pip install 'lunette-sandbox\[aiohttp\]'"):
        aiohttp_transport()
