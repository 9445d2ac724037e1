"""What either transport does to requests and answers."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from .server import OK, Make, both_transports, client_over, serving


@both_transports
def test_over_a_unix_socket(make: Make, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "sock"
        async with serving(uds=path) as (server, url):
            async with client_over(make(uds=str(path))) as client:
                assert (await client.get(url)).text == "ok"
            assert b"host: localhost\r\n" in server.requests[0].lower()
        with pytest.raises(httpx.ConnectError):
            async with client_over(make(uds=str(tmp_path / "none"))) as client:
                await client.get(url)

    asyncio.run(main())


@both_transports
def test_plain_http_reads_no_certificate(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make()  # aiohttp reads certificates of its own when it is imported

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("certificates were read")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", refuse)
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", refuse)

    async def main() -> None:
        async with serving() as (_, url), client_over(make()) as client:
            assert (await client.get(url)).text == "ok"
        path = tmp_path / "sock"
        async with serving(uds=path) as (_, url), client_over(make(uds=str(path))) as client:
            assert (await client.get(url)).text == "ok"
        with pytest.raises(AssertionError, match="were read"):
            async with client_over(make()) as client:
                await client.get("https://127.0.0.1:1/")

    asyncio.run(main())


@both_transports
def test_a_body_is_decompressed_once_and_no_cookie_kept(make: Make) -> None:
    packed = gzip.compress(gzip.compress(b"twice"))
    head = (
        OK.removesuffix(b"2\r\n\r\nok") + b"%d\r\nContent-Encoding: gzip\r\nSet-Cookie: a=b\r\n\r\n"
    )

    async def reply(request: bytes) -> bytes:
        return head % len(packed) + packed

    async def main() -> None:
        async with serving(reply) as (server, url), make() as transport:
            for _ in range(2):
                response = await transport.handle_async_request(httpx.Request("GET", url))
                assert gzip.decompress(await response.aread()) == b"twice"
                await response.aclose()
            assert b"cookie" not in server.requests[1].lower()

    asyncio.run(main())
