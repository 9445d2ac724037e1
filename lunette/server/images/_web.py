"""HTTP as registries need it: no credential goes where it was not meant for."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Generator, Mapping

import httpx

from ._hosts import InsecureHosts, is_loopback
from ._patience import PassingError
from .errors import RegistryError

__all__ = ["Web", "http_errors", "is_same_origin", "web_address"]

_TIMEOUT = httpx.Timeout(30.0, connect=10.0, pool=None)
# A server of plain HTTP may take a greeting of TLS for half a line, and wait for the rest.
_PROBE_TIMEOUT = httpx.Timeout(30.0, connect=1.0, pool=None)
_MOST_REDIRECTS = 5
# What is compressed on its way would have another digest, and no ranges.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "lunette"}


class Web:
    """Sends requests; threads may share it."""

    def __init__(self, insecure: InsecureHosts) -> None:
        self._insecure = insecure
        self._clients: dict[tuple[bool, bool], httpx.Client] = {}
        self._lock = threading.Lock()

    def send(
        self,
        method: str,
        url: httpx.URL,
        *,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None = None,
        is_probe: bool = False,
    ) -> httpx.Response:
        """Return the answer, to be closed, its body not read yet.

        Redirects are followed, without a login if it is to another host, and never from https to
        http, nor to an http that is not insecure by name. Raise as `http_errors` says; where it
        *is_probe*, for a server that does not connect soon, too.
        """
        timeout = _PROBE_TIMEOUT if is_probe else _TIMEOUT
        with http_errors(url):
            for _ in range(_MOST_REDIRECTS):
                client = self._client(url)
                content = None if form is None else dict(form)
                request = client.build_request(
                    method, url, headers=headers, data=content, timeout=timeout
                )
                response = client.send(request, stream=True)
                if not response.has_redirect_location or form is not None:
                    return response
                response.close()
                target = self._target(url, response)
                if not is_same_origin(url, target):
                    headers = {k: v for k, v in headers.items() if k != "Authorization"}
                url = target
        raise RegistryError(f"{url.host} redirects again and again")

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()

    def _target(self, url: httpx.URL, response: httpx.Response) -> httpx.URL:
        target = url.join(response.headers["location"])
        if target.scheme == "https" and target.host:
            return target
        if target.scheme == url.scheme == "http" and target in self._insecure:
            return target
        raise RegistryError(
            f"{url.host} redirects to {target.scheme}://{target.host}, which is not followed:"
            " only https is, and http on hosts that are insecure by configuration"
        )

    def _client(self, url: httpx.URL) -> httpx.Client:
        key = (url in self._insecure, is_loopback(url))
        with self._lock:
            if key not in self._clients:
                self._clients[key] = _new_client(verify=not key[0], trust_env=not key[1])
            return self._clients[key]


def _new_client(*, verify: bool, trust_env: bool) -> httpx.Client:
    try:
        return httpx.Client(verify=verify, trust_env=trust_env, headers=_HEADERS)
    except (ImportError, OSError, ValueError) as error:
        raise RegistryError(
            f"the proxies or the certificates that the environment names cannot be used: {error}"
        ) from error


def web_address(text: str, *, of: str) -> httpx.URL:
    """Read what must be a URL of http or https; *of* says whose it is."""
    with contextlib.suppress(httpx.InvalidURL):
        url = httpx.URL(text)
        if url.scheme in {"http", "https"} and url.host:
            return url
    raise RegistryError(f"{of} gave an address that is none")


def is_same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Say whether a login for *one* is good for *other*."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


@contextlib.contextmanager
def http_errors(url: httpx.URL) -> Generator[None]:
    """Make what httpx raises a PassingError, or a RegistryError if it will not pass."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        if (reason := _untrusted(error)) is not None:
            raise RegistryError(
                f"the certificate of {url.host} is not trusted: {reason};"
                " name its authority in SSL_CERT_FILE, or the host in LUNETTE_INSECURE_REGISTRIES"
            ) from error
        final = RegistryError(f"cannot reach {url.host}: {_reason(error)}; is it its right name?")
        raise PassingError(final, connected=False) from error
    except httpx.TransportError as error:
        final = RegistryError(f"the connection to {url.host} broke: {_reason(error)}")
        raise PassingError(final) from error
    except httpx.InvalidURL as error:
        raise RegistryError(f"{url.host} gave an address that is none") from error


def _untrusted(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__  # httpcore cuts the chain of causes
    return None


def _reason(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
