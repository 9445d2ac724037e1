"""Who may do without https, over real TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette.server.images._hosts import InsecureHosts, is_loopback
from lunette.server.images._patience import PassingError
from lunette.server.images._web import Web
from lunette.server.images.errors import RegistryError
from lunette.server.images.reference import Reference
from lunette.server.images.registry import Registry

from .origin import Asked, Origin, Reply, serving
from .pulls import image_of

IMAGE = image_of(1000)
NAMES = ("registry.test", "storage.test")
_PLAIN = {"Authorization": "Basic c2VjcmV0OnNlY3JldA=="}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate, with its key, for NAMES and this machine."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    names = ",".join([*(f"DNS:{name}" for name in NAMES), "IP:127.0.0.1"])
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=tests", "-addext", f"subjectAltName={names}"]
    command += ["-days", "2", "-keyout", str(path), "-out", str(path.with_name("cert.pem"))]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_name("cert.pem").read_bytes())
    return path


@pytest.fixture
def secure(certificate: Path) -> Generator[Origin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(tls=context) as running:
        running.push(IMAGE)
        yield running


@pytest.fixture(autouse=True)
def names_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let NAMES lead to this machine, to which no public name does."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host in NAMES else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))


def named(origin: Origin) -> str:
    return f"registry.test:{origin.port}"


def digest_at(host: str, **options: Any) -> str:
    with contextlib.closing(Registry(Reference.parse(f"{host}/app"), **options)) as registry:
        return registry.manifest().digest


@pytest.mark.usefixtures("trusted")
def test_https(secure: Origin) -> None:
    assert digest_at(named(secure)) == IMAGE.digest


def test_a_certificate_that_is_not_trusted_is_told_at_once(secure: Origin) -> None:
    with pytest.raises(RegistryError, match=r"certificate of registry\.test is not trusted"):
        digest_at(named(secure))
    assert secure.asked == []


def test_insecure_hosts_need_no_certificate(secure: Origin) -> None:
    assert digest_at(named(secure), insecure=["registry.test"]) == IMAGE.digest
    assert digest_at(named(secure), insecure=[named(secure).upper()]) == IMAGE.digest
    assert digest_at(secure.host) == IMAGE.digest


def test_plain_http_is_for_loopback_and_insecure_hosts(origin: Origin) -> None:
    origin.push(IMAGE)
    assert digest_at(origin.host) == IMAGE.digest
    assert digest_at(named(origin), insecure=["registry.test"]) == IMAGE.digest
    origin.asked.clear()
    for insecure in ([], ["registry.test:1"], ["test"], ["storage.test"], [""]):
        with pytest.raises(PassingError, match=r"cannot reach registry\.test"):
            digest_at(named(origin), insecure=insecure)
    assert origin.asked == []


def test_a_server_of_https_that_breaks_is_not_asked_in_plain(secure: Origin) -> None:
    secure.bend = lambda asked, reply: Reply(body=b"x" * 100, cut=5)
    with pytest.raises(PassingError, match="broke"):
        digest_at(secure.host)
    assert len(secure.asked) == 1


def test_a_silent_server_is_spoken_to_in_plain(origin: Origin) -> None:
    """A server may take the greeting of TLS for half a line."""
    origin.push(IMAGE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Connections wait in the queue: nobody will ever greet back.
        url = httpx.URL(f"https://127.0.0.1:{listener.getsockname()[1]}/")
        web = Web(InsecureHosts())
        with pytest.raises(PassingError) as raised:
            web.send("GET", url, headers={}, is_probe=True)
        web.close()
    assert not raised.value.connected


@pytest.mark.usefixtures("trusted")
def test_no_redirect_from_https_to_http(secure: Origin, origin: Origin) -> None:
    """Not even to a host that is insecure by name."""
    for target in (origin.host, f"storage.test:{origin.port}"):
        location = {"Location": f"http://{target}/v2/app/manifests/latest"}
        secure.bend = partial(always, Reply(status=307, headers=location))
        with pytest.raises(RegistryError, match="which is not followed"):
            digest_at(named(secure), insecure=["storage.test"])
    assert origin.asked == []


def always(answer: Reply, asked: Asked, reply: Reply) -> Reply:
    return answer


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("other", [False, True])
def test_a_login_stays_with_its_host(secure: Origin, other: bool) -> None:
    host = "storage.test" if other else "registry.test"

    def bend(asked: Asked, reply: Reply) -> Reply:
        if asked.path != "/from":
            return Reply()
        location = f"https://{host}:{secure.port}/to"
        return Reply(status=307, headers={"Location": location})

    secure.bend = bend
    web = Web(InsecureHosts())
    url = httpx.URL(f"https://{named(secure)}/from")
    with contextlib.closing(web), contextlib.closing(web.send("GET", url, headers=_PLAIN)):
        pass
    first, second = secure.asked
    assert first.headers["authorization"] == _PLAIN["Authorization"]
    assert second.headers.get("authorization") == (None if other else _PLAIN["Authorization"])


@pytest.mark.usefixtures("trusted")
def test_a_token_server_without_https_is_refused(secure: Origin, origin: Origin) -> None:
    challenge = f'Bearer realm="http://{origin.host}/token"'
    secure.bend = lambda asked, reply: Reply(status=401, headers={"WWW-Authenticate": challenge})
    with pytest.raises(RegistryError, match="login to be sent without https"):
        digest_at(named(secure))
    assert origin.asked == []


def test_a_proxy_of_the_environment(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    origin.push(IMAGE)
    monkeypatch.setenv("http_proxy", f"http://{origin.host}")
    monkeypatch.setenv("https_proxy", f"http://{origin.host}")
    origin.bend = lambda asked, reply: (
        reply if asked.path.startswith("http://registry.test/") else Reply(status=404)
    )
    # Its tunnels are broken, so that this one is asked in plain.
    assert digest_at("registry.test", insecure=["registry.test"]) == IMAGE.digest
    origin.bend = lambda asked, reply: reply
    assert digest_at(origin.host) == IMAGE.digest
    assert origin.asked[-1].path.startswith("/v2/")


def test_a_proxy_that_is_none(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "gopher://127.0.0.1:1")
    with pytest.raises(RegistryError, match="proxies"):
        digest_at("registry.test")


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("LOCALHOST:5000", True),
        ("127.0.0.1", True),
        ("127.8.9.1:80", True),
        ("[::1]:5000", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("128.0.0.1", False),
        ("[::2]", False),
        ("0.0.0.0", False),
        ("127.1", False),
    ],
)
def test_loopback(host: str, is_here: bool) -> None:
    url = httpx.URL(f"https://{host}/")
    assert is_loopback(url) is is_here
    assert (url in InsecureHosts()) is is_here


@pytest.mark.parametrize("entry", ["[::2]", "::2", "[::2]:7", " [::2]:7/"])
def test_insecure_addresses(entry: str) -> None:
    assert httpx.URL("http://[::2]:7/") in InsecureHosts([entry])
    assert httpx.URL("http://[::3]:7/") not in InsecureHosts([entry])


def test_insecure_default_ports() -> None:
    assert httpx.URL("https://a.test/") in InsecureHosts(["a.test:443"])
    assert httpx.URL("https://a.test/") not in InsecureHosts(["a.test:80"])
