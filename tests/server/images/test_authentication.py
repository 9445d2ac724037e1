"""Logins over real sockets, and where they must not go."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from attrs import define, evolve, field

from lunette.server.images._credentials import Credentials
from lunette.server.images.errors import RegistryDeniedError, RegistryError
from lunette.server.images.reference import Reference
from lunette.server.images.registry import Registry

from .origin import Asked, Origin, Reply, serving
from .pulls import fetch, image_of, order, verify

IMAGE = image_of(1000)
SECRET = "pa:ss wörd"


def log_in(directory: Path, host: str, **login: str) -> None:
    (directory / "config.json").write_text(json.dumps({"auths": {host: login}}))


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def without(*parts: str) -> Callable[[str], bool]:
    return lambda text: not any(part in text for part in parts)


@define
class Gate:
    """A registry with a token server; *uses* is for how many requests a token is good."""

    origin: Origin
    user: str | None = None
    refresh: str | None = None
    uses: int = 10**6
    realm: str = ""
    token_field: str = "token"
    left: dict[str, int] = field(factory=dict[str, int])
    lock: threading.Lock = field(factory=threading.Lock)

    def __call__(self, asked: Asked, reply: Reply) -> Reply:
        with self.lock:
            if asked.path.startswith("/token"):
                return self._token(asked)
            if self._passes(asked):
                return reply
        realm = self.realm or f"http://{self.origin.host}/token"
        challenge = f'Bearer realm="{realm}",service="a \\"b\\"",scope="repository:other:push,pull"'
        return Reply(status=401, headers={"WWW-Authenticate": challenge})

    def _passes(self, asked: Asked) -> bool:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        self.left[token] = self.left.get(token, 0) - 1
        return self.left[token] >= 0

    def _token(self, asked: Asked) -> Reply:
        text = asked.body.decode() if asked.method == "POST" else urlsplit(asked.path).query
        found = parse_qs(text)
        assert found["scope"] == ["repository:app:pull"]
        assert found["service"] == ['a "b"']
        if self.refresh and found.get("refresh_token") != [self.refresh]:
            return Reply(status=401)
        wanted = f"Basic {basic(self.user, SECRET)}" if self.user else None
        if self.user and asked.headers.get("authorization") != wanted:
            return Reply(status=401)
        token = f"t{len(self.left)}"
        self.left[token] = self.uses
        return Reply(body=json.dumps({self.token_field: token}).encode())


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_an_anonymous_token_is_fetched_once_for_all_threads(
    origin: Origin, root: Path, field: str
) -> None:
    origin.bend = Gate(origin, token_field=field)
    fetch(order(root, origin.push(image_of(1, 2, 3, 4, 5, 6))))
    assert len(origin.paths("/token")) == 1


def test_threads_that_come_together_fetch_one_token(origin: Origin) -> None:
    origin.bend = Gate(origin)
    registry = Registry(Reference.parse(origin.push(IMAGE)))
    start = threading.Barrier(8)

    def work(_: int) -> str:
        start.wait()
        return registry.manifest().digest

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(work, range(8))) == {IMAGE.digest}
    registry.close()
    assert len(origin.paths("/token")) == 1


def test_a_token_that_expires_is_renewed(origin: Origin, root: Path) -> None:
    origin.bend = Gate(origin, uses=2)
    # The manifest and the config have the first, the layer has the second.
    fetch(order(root, origin.push(image_of(1))))
    assert len(origin.paths("/token")) == 2


def test_a_token_that_is_never_good_is_denied(origin: Origin, root: Path) -> None:
    origin.bend = Gate(origin, uses=0)
    with pytest.raises(RegistryDeniedError, match="docker login"):
        fetch(order(root, origin.push(IMAGE)))
    assert len(origin.paths("/token")) == 1


def test_a_login_for_tokens(origin: Origin, root: Path, docker_config: Path) -> None:
    origin.bend = Gate(origin, user="ann")
    log_in(docker_config, origin.host, auth=basic("ann", SECRET))
    fetch(order(root, origin.push(IMAGE)))
    # It goes nowhere but to the token server.
    sent = [a for a in origin.asked if a.headers.get("authorization", "").startswith("Basic")]
    assert [urlsplit(a.path).path for a in sent] == ["/token"]


def test_a_wrong_login_for_tokens(origin: Origin, root: Path, docker_config: Path) -> None:
    origin.bend = Gate(origin, user="ann")
    log_in(docker_config, origin.host, auth=basic("ann", "other-pass"))
    with pytest.raises(RegistryDeniedError) as raised:
        fetch(order(root, origin.push(IMAGE)))
    assert without("other-pass", "ann", basic("ann", "other-pass"))(str(raised.value))


def test_an_identity_token(origin: Origin, root: Path, docker_config: Path) -> None:
    origin.bend = Gate(origin, refresh="r3fresh&=")
    log_in(docker_config, origin.host, identitytoken="r3fresh&=")
    fetch(order(root, origin.push(IMAGE)))
    (asked,) = [asked for asked in origin.asked if asked.path.startswith("/token")]
    assert asked.method == "POST"
    assert "r3fresh" not in asked.path


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"[]", b'{"token": 1}', b'{"token": "a b"}', b'{"token": "a\\r\\nX: y"}'],
)
def test_no_token(origin: Origin, root: Path, answer: bytes) -> None:
    gate = Gate(origin)
    origin.bend = lambda asked, reply: (
        Reply(body=answer) if asked.path.startswith("/token") else gate(asked, reply)
    )
    with pytest.raises(RegistryError, match="token"):
        fetch(order(root, origin.push(IMAGE)))


def test_a_token_server_that_stumbles_is_asked_again(origin: Origin, root: Path) -> None:
    gate = Gate(origin)
    stumbles = iter([Reply(status=500), Reply(status=429), Reply(body=b"{}", cut=1)])

    def bend(asked: Asked, reply: Reply) -> Reply:
        other = next(stumbles, None) if asked.path.startswith("/token") else None
        return other or gate(asked, reply)

    origin.bend = bend
    fetch(order(root, origin.push(IMAGE)))


@pytest.mark.parametrize("realm", ["", "ftp://a/b", "/token", "http://a:x", "https://"])
def test_a_token_server_that_is_no_address(origin: Origin, root: Path, realm: str) -> None:
    challenge = f'Bearer realm="{realm}"'
    origin.bend = lambda asked, reply: Reply(status=401, headers={"WWW-Authenticate": challenge})
    with pytest.raises(RegistryError, match="address"):
        fetch(order(root, origin.push(IMAGE)))


@pytest.mark.parametrize(
    "challenge", ['Basic realm="x, y"', "Negotiate, basic realm=x", 'Digest a=b, Basic realm="x"']
)
def test_basic(origin: Origin, root: Path, docker_config: Path, challenge: str) -> None:
    wanted = f"Basic {basic('ann', SECRET)}"
    origin.bend = lambda asked, reply: (
        reply
        if asked.headers.get("authorization") == wanted
        else Reply(status=401, headers={"WWW-Authenticate": challenge})
    )
    log_in(docker_config, origin.host, username="ann", password=SECRET)
    fetch(order(root, origin.push(IMAGE)))
    assert len([a for a in origin.asked if "authorization" not in a.headers]) == 1


@pytest.mark.parametrize("login", [None, "other-pass"])
def test_basic_denied(origin: Origin, root: Path, docker_config: Path, login: str | None) -> None:
    if login is not None:
        log_in(docker_config, origin.host, auth=basic("ann", login))
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    origin.bend = lambda asked, reply: Reply(status=401, headers=challenge)
    with pytest.raises(RegistryDeniedError, match="docker login") as raised:
        fetch(order(root, origin.push(IMAGE)))
    assert "other-pass" not in str(raised.value)
    assert len(origin.asked) <= 2


@pytest.mark.parametrize("header", [None, "", "Unknown x=y", "=,=", '"'])
def test_a_401_that_asks_for_nothing(origin: Origin, root: Path, header: str | None) -> None:
    headers = {} if header is None else {"WWW-Authenticate": header}
    origin.bend = lambda asked, reply: Reply(status=401, headers=headers)
    with pytest.raises(RegistryDeniedError):
        fetch(order(root, origin.push(IMAGE)))


def test_a_registry_that_quotes_the_login_is_not_quoted(
    origin: Origin, root: Path, docker_config: Path
) -> None:
    log_in(docker_config, origin.host, auth=basic("ann", SECRET))

    def bend(asked: Asked, reply: Reply) -> Reply:
        if "authorization" not in asked.headers:
            return Reply(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
        for text in (asked.headers["authorization"], SECRET):
            error = {"errors": [{"code": "DENIED", "message": f"bad: {text}"}]}
        return Reply(status=403, body=json.dumps(error).encode())

    origin.bend = bend
    with pytest.raises(RegistryDeniedError) as raised:
        fetch(order(root, origin.push(IMAGE)))
    assert without(SECRET, basic("ann", SECRET))(str(raised.value))


def test_a_broken_docker_configuration_is_no_anonymous_pull(
    origin: Origin, root: Path, docker_config: Path
) -> None:
    origin.bend = Gate(origin)
    (docker_config / "config.json").write_text("{")
    with pytest.raises(RegistryError, match=str(docker_config)):
        fetch(order(root, origin.push(IMAGE)))


def test_a_mirror_is_asked_instead(origin: Origin, root: Path, docker_config: Path) -> None:
    origin.push(IMAGE)
    wanted: list[str] = []

    def find(host: str) -> Credentials | None:
        wanted.append(host)
        return None

    origin.bend = lambda asked, reply: (
        reply
        if "authorization" in asked.headers
        else Reply(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
    )
    mirrors = {"docker.io": origin.host}
    registry = Registry(Reference.parse("app"), mirrors=mirrors, credentials=find)
    with pytest.raises(RegistryDeniedError):
        registry.manifest()
    registry.close()
    assert wanted == [origin.host]
    assert origin.paths() == ["GET /v2/library/app/manifests/latest"]


# Redirects


def redirected(to: str, *, status: int = 307) -> Callable[[Asked, Reply], Reply]:
    def bend(asked: Asked, reply: Reply) -> Reply:
        if "authorization" not in asked.headers:
            return Reply(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
        if "/blobs/" in asked.path:
            return Reply(status=status, headers={"Location": f"{to}{asked.path}"})
        return reply

    return bend


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_login_follows_a_redirect_to_another_host(
    origin: Origin, root: Path, docker_config: Path, status: int
) -> None:
    log_in(docker_config, origin.host, auth=basic("ann", SECRET))
    with serving() as other:
        other.push(IMAGE)
        origin.bend = redirected(f"http://{other.host}", status=status)
        fetch(order(root, origin.push(IMAGE)))
        assert len(other.asked) == 2
        assert not [asked for asked in other.asked if "authorization" in asked.headers]
    verify(root)


def test_a_range_follows_a_redirect(origin: Origin, root: Path, docker_config: Path) -> None:
    log_in(docker_config, origin.host, auth=basic("ann", SECRET))
    image = image_of(300_000)
    with serving() as other:
        other.push(image)
        cuts = iter([None, 100_000])  # the config comes first
        other.bend = lambda asked, reply: evolve(reply, cut=next(cuts, None))
        origin.bend = redirected(f"http://{other.host}")
        fetch(order(root, origin.push(image)))
        assert [asked.start for asked in other.asked] == [0, 0, 100_000]


def test_a_login_that_the_target_of_a_redirect_asks_for_is_not_given(
    origin: Origin, root: Path, docker_config: Path
) -> None:
    log_in(docker_config, origin.host, auth=basic("ann", SECRET))
    with serving() as other:
        challenge = f'Bearer realm="http://{other.host}/token"'
        other.bend = lambda asked, reply: Reply(status=401, headers={"WWW-Authenticate": challenge})
        origin.bend = redirected(f"http://{other.host}")
        with pytest.raises(RegistryError):
            fetch(order(root, origin.push(IMAGE)))
        assert other.paths("/token") == []
        assert not [asked for asked in other.asked if "authorization" in asked.headers]


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("http://example.test", "not followed"),
        ("file://", "not followed"),
        ("https://", "not followed"),
        ("http://a:x", "Invalid URL"),
        ("", "again and again"),
    ],
)
def test_where_no_redirect_is_followed_to(
    origin: Origin, root: Path, docker_config: Path, to: str, why: str
) -> None:
    log_in(docker_config, origin.host, auth=basic("ann", SECRET))
    origin.bend = redirected(to)
    with pytest.raises(RegistryError, match=why):
        fetch(order(root, origin.push(IMAGE)))
