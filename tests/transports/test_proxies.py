"""Requests through a proxy, and which one the environment names."""

from __future__ import annotations

import asyncio
import itertools

import httpx
import pytest

from lunette import errors
from lunette._transports import aiohttp_transport, environment_proxy

from .server import Make, both_transports, client_over, serving


@both_transports
def test_through_a_proxy(make: Make) -> None:
    async def main() -> None:
        async with serving() as (server, url):
            proxy = url.replace("http://", "http://user:word@").rstrip("/")
            async with client_over(make(proxy=proxy)) as client:
                assert (await client.get("http://elsewhere.invalid/path")).text == "ok"
        assert server.requests[0].startswith(b"GET http://elsewhere.invalid/path HTTP/1.1\r\n")
        assert b"Basic dXNlcjp3b3Jk" in server.requests[0]
        async with client_over(make(proxy="http://127.0.0.1:1")) as client:
            with pytest.raises((httpx.ProxyError, httpx.ConnectError)):
                await client.get("http://elsewhere.invalid/path")

    asyncio.run(main())


def test_aiohttp_knows_no_socks() -> None:
    with pytest.raises(errors.ConfigError, match="socks5://proxy:1"):
        aiohttp_transport(proxy="socks5://proxy:1")


URLS = [
    *("http://example.com", "https://example.com", "http://www.example.com:8080"),
    *("http://notexample.com", "http://localhost", "http://127.0.0.1:8080", "http://[::1]:80"),
    *("https://[::1]:1234", "http://a.localhost", "http://EXAMPLE.com"),
]
EXCEPTIONS = [
    *("", "*", "example.com", ".example.com", "example.com:8080", "localhost, example.org"),
    *("127.0.0.1", "::1", "127.0.0.1:8080", "x,*", "http://example.com", "Example.COM"),
    *("localhost:8080", "10.0.0.0/8", "https://example.com", "com", " , "),
]
PROXIES: list[dict[str, str]] = [
    {"HTTP_PROXY": "http://proxy:1", "HTTPS_PROXY": "secure:2"},
    {"ALL_PROXY": "http://all:3"},
    {"ALL_PROXY": "http://all:3", "https_proxy": "http://secure:2"},
    {},
]


def test_the_environments_proxy_is_the_one_of_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    wrong = []
    for url, no_proxy, proxies in itertools.product(URLS, EXCEPTIONS, PROXIES):
        variables = proxies | {"NO_PROXY": no_proxy}
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            ours, theirs = environment_proxy(url), _proxy_of_httpx(url)
        if ours != theirs:
            wrong.append(f"{url} with {variables}: {ours}, but httpx says {theirs}")
    assert not wrong, "\n".join(wrong)


def _proxy_of_httpx(url: str) -> str | None:
    from httpx._utils import URLPattern, get_environment_proxies

    patterns = {URLPattern(key): proxy for key, proxy in get_environment_proxies().items()}
    matching = (p for key, p in sorted(patterns.items()) if key.matches(httpx.URL(url)))
    return next(matching, None)
