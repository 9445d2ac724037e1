"""A registry, as OCI's distribution spec and Docker before it have it.

Own code, since what it needs is the part that `python-dxf` 12.1 and `oras` 0.2.43 leave out (read
in their sources): neither takes up a cut download, tries anything again or reports a pull's
progress, and python-dxf knows no credential helpers. Both would add requests beside httpx.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Generator, Mapping
from typing import NoReturn

import httpx
from attrs import frozen

from ._answers import read_bounded, refusal
from ._authentication import Login
from ._credentials import Credentials, find_credentials
from ._hosts import InsecureHosts
from ._manifests import ACCEPTED, LARGEST_MANIFEST, Descriptor
from ._patience import PassingError
from ._web import Web, http_errors, is_same_origin, web_address
from .errors import ImageError, ImageNotFoundError, InvalidImageError, RegistryError
from .reference import DOCKER_HUB, Reference

__all__ = ["Found", "Registry"]

_HUB_ADDRESS = "registry-1.docker.io"
_MOST_LOGINS = 3  # a token may expire while a request waits for another thread's
_DIGEST_HEADER = "docker-content-digest"

FindCredentials = Callable[[str], Credentials | None]


@frozen
class Found:
    """A manifest or an index as it came; *digest* is its own."""

    content: bytes
    media_type: str | None
    digest: str


class Registry:
    """The registry of *reference*, asked for that repository alone; threads may share it.

    *mirrors* says which HOST or HOST:PORT is asked instead of a registry. Hosts in *insecure* (HOST
    or HOST:PORT) and those on this machine need no certificate, and may speak plain HTTP if they
    do not speak https. Logins are Docker's. Every method makes one attempt; it raises PassingError
    where another may succeed.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        insecure: Collection[str] = (),
        mirrors: Mapping[str, str] | None = None,
        credentials: FindCredentials = find_credentials,
    ) -> None:
        self._reference = reference
        host = (mirrors or {}).get(reference.registry, reference.registry)
        address = _HUB_ADDRESS if host == DOCKER_HUB else host
        hosts = InsecureHosts(insecure)
        base = web_address(f"https://{address}/v2/{reference.repository}/", of=f"{host!r}")
        self._bases = [base]
        if base in hosts:
            self._bases.append(base.copy_with(scheme="http"))
        self._web = Web(hosts)
        self._login = Login(
            host,
            reference.repository,
            web=self._web,
            find=lambda: credentials(host),
            plain=hosts if base in hosts else (),
        )

    def close(self) -> None:
        """Close all connections."""
        self._web.close()

    def current_digest(self) -> str | None:
        """Return the digest of what the reference means now, None if the registry does not say.

        Docker Hub does not count this as a pull.
        """
        headers = {"Accept": ACCEPTED}
        with self._open("HEAD", f"manifests/{self._reference.wanted}", headers) as response:
            return response.headers.get(_DIGEST_HEADER) if response.status_code == 200 else None

    def manifest(self, blob: Descriptor | None = None) -> Found:
        """Return what the reference means, or the manifest *blob* of an index; digest checked."""
        wanted = self._reference.wanted if blob is None else blob.digest
        what = str(self._reference) if blob is None else f"the manifest {wanted}"
        with self._open("GET", f"manifests/{wanted}", {"Accept": ACCEPTED}) as response:
            if response.status_code != 200:
                self._refuse(response, what)
            content = read_bounded(response, LARGEST_MANIFEST)
            if content is None:
                raise InvalidImageError(f"{what} has over {LARGEST_MANIFEST} bytes of manifest")
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            said = response.headers.get(_DIGEST_HEADER, "")
        expected = wanted if wanted.startswith("sha256:") else said
        if expected.startswith("sha256:") and digest != expected:
            raise RegistryError(
                f"{what} came with the wrong digest: it is {digest}, not {expected}"
            )
        if blob is not None and len(content) != blob.size:
            raise RegistryError(f"{what} came with {len(content)} bytes, not {blob.size}")
        return Found(content, response.headers.get("content-type"), digest)

    @contextlib.contextmanager
    def blob(self, digest: str, *, start: int = 0) -> Generator[httpx.Response]:
        """Open a blob, from byte *start* on if the registry will: its status is 200, 206 or 416."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._open("GET", f"blobs/{digest}", headers) as response:
            if response.status_code not in ({200, 206, 416} if start else {200}):
                self._refuse(response, f"the blob {digest}", is_part=True)
            yield response

    @contextlib.contextmanager
    def _open(
        self, method: str, path: str, headers: Mapping[str, str]
    ) -> Generator[httpx.Response]:
        with (
            http_errors(self._bases[0]),
            contextlib.closing(self._send(method, path, headers)) as response,
        ):
            yield response

    def _send(self, method: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
        """Send a request, and again with a login if the registry asks for one."""
        is_fresh, logins = False, 0
        while True:
            sent = self._login.headers
            response = self._send_once(method, path, {**headers, **sent})
            # Where a blob's redirect leads, nobody has to know our login, and can ask for it.
            is_asked = response.status_code == 401 and self._is_own(response)
            if not is_asked or is_fresh or logins == _MOST_LOGINS:
                return response
            challenges = response.headers.get_list("www-authenticate")
            response.close()
            is_fresh = self._login.renew(challenges, rejected=sent)
            logins += 1

    def _send_once(self, method: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
        """Send over https, or where that is allowed and there is no https, over http."""
        *probed, last = self._bases
        was_slow = False
        for base in probed:
            try:
                response = self._web.send(method, base.join(path), headers=headers, is_probe=True)
            except PassingError as error:
                if error.connected:
                    raise
                was_slow = isinstance(error.__cause__, httpx.ConnectTimeout)
                continue
            self._bases = [base]
            return response
        response = self._web.send(method, last.join(path), headers=headers)
        if was_slow and response.status_code == 400:  # what a server of https says to this
            response.close()
            raise PassingError(RegistryError(f"{last.host} is too slow for https"))
        self._bases = [last]
        return response

    def _is_own(self, response: httpx.Response) -> bool:
        return is_same_origin(response.url, self._bases[0])

    def _refuse(self, response: httpx.Response, what: str, *, is_part: bool = False) -> NoReturn:
        error = refusal(response, what, secrets=self._login.secrets)
        if isinstance(error, ImageError) and not self._is_own(response):
            # The address that it was redirected to may have expired.
            raise PassingError(RegistryError(str(error)))
        if isinstance(error, ImageNotFoundError) and is_part:  # the image itself was found
            raise RegistryError(str(error))
        raise error
