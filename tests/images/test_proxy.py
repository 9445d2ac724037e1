"""What the proxy does to a registry's answers, what it notes, and its tokens."""

from __future__ import annotations

import re
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from .catalogue import PYTHON, Images
from .faults import (
    BLOBS,
    MANIFESTS,
    Answered,
    Cut,
    Delayed,
    Dies,
    Fault,
    Held,
    Redirected,
    Truncated,
    WrongByte,
)
from .oci_image import MEDIA_TYPES, digest
from .proxy import RegistryProxy
from .registry import PASSWORD, USER, Registry
from .tokens import TokenGate

_ACCEPT = {"Accept": MEDIA_TYPES["oci"]["index"]}
_GONE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.ConnectError)


@pytest.fixture
def client() -> Generator[httpx.Client]:
    with httpx.Client(trust_env=False, verify=False, headers=_ACCEPT) as client:
        yield client


@pytest.fixture
def blob(images: Images) -> str:
    """Return the path of a blob of about 3 MB."""
    return f"/v2/library/big/blobs/{images['big'].image.layers[-1].digest}"


@pytest.fixture
def manifest(images: Images) -> str:
    return f"/v2/library/python/manifests/{images[PYTHON].digest}"


def test_without_a_fault_it_is_the_registry(
    client: httpx.Client, images: Images, local_registry: Registry, blob: str
) -> None:
    with RegistryProxy(local_registry.url) as proxy:
        assert proxy.mirror == f"docker.io={proxy.host}"
        whole = client.get(f"{proxy.url}{blob}")
        assert whole.content == images["big"].image.layers[-1].blob
        part = client.get(f"{proxy.url}{blob}", headers={"Range": "bytes=1000-"})
        assert (part.status_code, part.content) == (206, whole.content[1000:])
        head = client.head(f"{proxy.url}{blob}")
        assert head.headers["Content-Length"] == str(len(whole.content))
        assert client.get(f"{proxy.url}/v2/library/none/tags/list").status_code == 404
    assert [(s.method, s.status, s.range, s.sent) for s in proxy.diary[:3]] == [
        ("GET", 200, None, len(whole.content)),
        ("GET", 206, "bytes=1000-", len(part.content)),
        ("HEAD", 200, None, 0),
    ]
    assert not any(seen.authorized or seen.fault for seen in proxy.diary)


def test_a_status_for_the_first_requests_of_a_path(
    client: httpx.Client, local_registry: Registry, manifest: str, blob: str
) -> None:
    busy = Answered(path=MANIFESTS, status=429, times=2, headers={"Retry-After": "0"})
    with RegistryProxy(local_registry.url, busy) as proxy:
        answers = [client.get(f"{proxy.url}{manifest}") for _ in range(3)]
        assert client.get(f"{proxy.url}{blob}").status_code == 200
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "0"
    assert answers[0].json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert [seen.fault for seen in proxy.seen(MANIFESTS)] == ["Answered", "Answered", None]


def test_an_answer_of_ones_own(client: httpx.Client, local_registry: Registry) -> None:
    hostile = Answered(path="^/v2/a/", status=200, body=b"{}", headers={"Content-Type": "x/y"})
    with RegistryProxy(local_registry.url, hostile) as proxy:
        answer = client.get(f"{proxy.url}/v2/a/manifests/latest")
        head = client.head(f"{proxy.url}/v2/a/manifests/latest")
    assert (answer.content, answer.headers["Content-Type"]) == (b"{}", "x/y")
    assert (head.content, head.headers["Content-Length"]) == (b"", "2")


@pytest.mark.parametrize("at", [0, -1, None])
def test_a_wrong_byte(
    client: httpx.Client, local_registry: Registry, blob: str, at: int | None
) -> None:
    with RegistryProxy(local_registry.url, WrongByte(at=at, times=1)) as proxy:
        wrong, right = (client.get(f"{proxy.url}{blob}").content for _ in range(2))
    assert digest(right) == blob.rpartition("/")[2]
    assert len(wrong) == len(right)
    places = [n for n in range(len(right)) if wrong[n] != right[n]]
    assert len(places) == 1
    assert at is None or places == [at % len(right)]


@pytest.mark.parametrize("after", [0, 1000, None])
def test_a_truncated_blob_looks_whole(
    client: httpx.Client, local_registry: Registry, blob: str, after: int | None
) -> None:
    with RegistryProxy(local_registry.url, Truncated(after=after)) as proxy:
        answer = client.get(f"{proxy.url}{blob}")
    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers["Content-Length"]) < 3_000_000
    assert after is None or len(answer.content) == after


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("after", [-(10**6), -5, 0, 70_000])
def test_a_cut(
    client: httpx.Client, local_registry: Registry, blob: str, after: int, reset: bool
) -> None:
    received = 0
    with RegistryProxy(local_registry.url, Cut(after=after, reset=reset, times=1)) as proxy:
        with (
            pytest.raises(httpx.ReadError if reset else httpx.RemoteProtocolError),
            client.stream("GET", f"{proxy.url}{blob}") as answer,
        ):
            for piece in answer.iter_raw():
                received += len(piece)
        assert client.get(f"{proxy.url}{blob}").status_code == 200
    assert proxy.diary[0].sent == max(0, after)
    assert received <= max(0, after)  # a RST may overtake what was sent
    assert reset or received == max(0, after)


def test_a_seed_repeats_chance_in_any_order(
    client: httpx.Client, local_registry: Registry, blob: str, manifest: str
) -> None:
    def run(seed: int, paths: list[str]) -> set[tuple[str, str | None, int]]:
        faults = [Cut(path=".", rate=0.5), Truncated(path=".", rate=0.5)]
        with RegistryProxy(local_registry.url, *faults, seed=seed) as proxy:
            for path in paths:
                try:
                    client.get(f"{proxy.url}{path}")
                except httpx.TransportError:
                    continue
            assert repr(proxy) == f"RegistryProxy(seed={seed}, requests=12)"
        return {(seen.path, seen.fault, seen.sent) for seen in proxy.diary}

    first = run(5, [blob, manifest] * 6)
    assert first == run(5, [manifest] * 6 + [blob] * 6)
    assert first != run(6, [blob, manifest] * 6)
    assert {fault for _, fault, _ in first} == {"Cut", "Truncated", None}


def test_a_registry_that_dies_comes_back_at_its_place(
    client: httpx.Client, local_registry: Registry, blob: str
) -> None:
    with RegistryProxy(local_registry.url, Dies(after=70_000, times=1)) as proxy:
        assert client.get(f"{proxy.url}/v2/").status_code == 200
        with pytest.raises(_GONE):
            client.get(f"{proxy.url}{blob}")
        assert proxy.dead.wait(30)
        with pytest.raises(httpx.ConnectError):
            client.get(f"{proxy.url}{blob}")
        proxy.come_back()
        rest = client.get(f"{proxy.url}{blob}", headers={"Range": "bytes=70000-"})
        assert rest.status_code == 206
    assert [seen.sent for seen in proxy.seen(BLOBS)] == [70_000, len(rest.content)]


def test_one_that_dies_ends_the_answers_to_others(
    client: httpx.Client, local_registry: Registry, blob: str
) -> None:
    faults = [Held(after=10, times=1), Dies(after=0, times=1)]
    with RegistryProxy(local_registry.url, *faults) as proxy, ThreadPoolExecutor(1) as others:
        held = others.submit(client.get, f"{proxy.url}{blob}")
        assert proxy.holding.wait(30)
        with pytest.raises(_GONE):
            client.get(f"{proxy.url}{blob}")
        assert isinstance(held.exception(30), _GONE)


def test_an_answer_is_held_until_the_test_says_so(
    client: httpx.Client, local_registry: Registry, blob: str
) -> None:
    with (
        RegistryProxy(local_registry.url, Held(after=1000)) as proxy,
        ThreadPoolExecutor(1) as others,
    ):
        held = others.submit(client.get, f"{proxy.url}{blob}")
        proxy.wait_for(re.escape(blob))
        assert proxy.holding.wait(30)
        assert proxy.diary[0].sent == 1000
        proxy.release()
        assert digest(held.result(30).content) == blob.rpartition("/")[2]
        with pytest.raises(TimeoutError, match="not 2 requests"):
            proxy.wait_for(BLOBS, 2, seconds=0)


def test_a_delay_is_only_that(client: httpx.Client, local_registry: Registry) -> None:
    with RegistryProxy(local_registry.url, Delayed(path="", seconds=0.01)) as proxy:
        assert client.get(f"{proxy.url}/v2/").status_code == 200
    assert proxy.diary[0].fault == "Delayed"


def test_a_redirect_to_another_host(
    client: httpx.Client, local_registry: Registry, blob: str
) -> None:
    with (
        RegistryProxy(local_registry.url) as cloud,
        RegistryProxy(local_registry.url, Redirected(to=cloud.url)) as proxy,
    ):
        answer = client.get(
            f"{proxy.url}{blob}", headers={"Authorization": "Bearer x"}, follow_redirects=True
        )
    assert digest(answer.content) == blob.rpartition("/")[2]
    assert [proxy.diary[0].status, cloud.diary[0].status] == [307, 200]
    assert [proxy.diary[0].scheme, cloud.diary[0].scheme] == ["Bearer", None]


def test_an_error_of_a_fault_is_not_lost(
    client: httpx.Client, local_registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Fault):
        def answer(self, request: object) -> None:
            raise ZeroDivisionError

    proxy = RegistryProxy(local_registry.url, Broken(path=""))
    with pytest.raises(ExceptionGroup) as raised, proxy, pytest.raises(_GONE):
        client.get(f"{proxy.url}/v2/")
    assert raised.group_contains(ZeroDivisionError)
    with pytest.raises(KeyError), RegistryProxy(local_registry.url, seed=77):
        raise KeyError
    assert "RegistryProxy(seed=77, requests=0)" in capsys.readouterr().out


def test_closing_leaves_no_thread(client: httpx.Client, local_registry: Registry) -> None:
    before = threading.active_count()
    with RegistryProxy(local_registry.url, Held(path=BLOBS)) as proxy:
        client.get(f"{proxy.url}/v2/")
        assert threading.active_count() > before
    assert threading.active_count() == before
    proxy.close()


def _token(client: httpx.Client, answer: httpx.Response, **settings: object) -> httpx.Response:
    """Ask for the token that an answer demands."""
    scheme, _, words = answer.headers["WWW-Authenticate"].partition(" ")
    assert (answer.status_code, scheme) == (401, "Bearer")
    asked = dict(re.findall(r'(\w+)="([^"]*)"', words))
    realm = asked.pop("realm")
    return client.get(realm, params=asked, **settings)  # type: ignore[arg-type]


def _bearer(token: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.raise_for_status().json()['token']}"}


def test_anybody_gets_a_token_for_what_is_public(
    client: httpx.Client, token_registry: RegistryProxy, manifest: str, blob: str
) -> None:
    url = token_registry.url
    assert client.get(f"{url}/v2/").status_code == 401
    headers = _bearer(_token(client, client.get(f"{url}{manifest}")))
    assert client.get(f"{url}{manifest}", headers=headers).status_code == 200
    assert client.get(f"{url}{blob}", headers=headers).status_code == 401  # another repository
    refused = client.get(f"{url}{blob}")
    assert client.get(f"{url}{blob}", headers=_bearer(_token(client, refused))).status_code == 401
    assert _token(client, refused, auth=(USER, "wrong")).status_code == 401
    headers = _bearer(_token(client, refused, auth=(USER, PASSWORD)))
    assert client.get(f"{url}{blob}", headers=headers).status_code == 200
    assert [seen.scheme for seen in token_registry.seen("/token")] == [
        *(None, None, "Basic", "Basic"),
    ]


def test_tokens_end_and_come_for_refresh_tokens(
    client: httpx.Client, local_registry: Registry, manifest: str
) -> None:
    gate = TokenGate(refresh=frozenset({"right"}), anonymous=False, uses=2)
    with RegistryProxy(local_registry.url, gate=gate) as proxy:
        refused = client.get(f"{proxy.url}{manifest}")
        assert _token(client, refused).status_code == 401
        form = {"grant_type": "refresh_token", "scope": "repository:library/python:pull"}
        wrong = client.post(f"{proxy.url}/token", data={**form, "refresh_token": "wrong"})
        assert wrong.status_code == 401
        right = client.post(f"{proxy.url}/token", data={**form, "refresh_token": "right"})
        answers = [client.get(f"{proxy.url}{manifest}", headers=_bearer(right)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 401]
    assert 'error="invalid_token"' in answers[2].headers["WWW-Authenticate"]


def test_faults_strike_tokens_and_what_they_let_through(
    client: httpx.Client, local_registry: Registry, manifest: str
) -> None:
    faults = [
        Answered(path="/token", status=503, times=1),
        Answered(path=MANIFESTS, status=500, times=1),
    ]
    with RegistryProxy(
        local_registry.url, *faults, gate=TokenGate(token_field="access_token")
    ) as proxy:
        refused = client.get(f"{proxy.url}{manifest}")
        assert _token(client, refused).status_code == 503
        token = _token(client, refused).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        answers = [client.get(f"{proxy.url}{manifest}", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 200]
