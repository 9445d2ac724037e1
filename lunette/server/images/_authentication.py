"""Logging in at a registry, as it asks for it: by password, or by a token of its token server."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Container, Mapping, Sequence

import httpx

from ._answers import read_bounded, refusal
from ._credentials import Credentials
from ._documents import read_object
from ._web import Web, http_errors, web_address
from .errors import ImageNotFoundError, RegistryDeniedError, RegistryError

__all__ = ["Login"]

_LARGEST_TOKEN = 2**20
_CLIENT = "lunette"
_WORD = re.compile(
    r"(?P<key>[A-Za-z0-9!#$%&'*+.^_`|~-]+)"
    r"(?:\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^\s,\"]+)))?"
)

Challenge = tuple[str, Mapping[str, str]]


class Login:
    """What is sent to a registry for one *repository*; threads may share it, and ask once.

    *find* is called when the registry wants to know who asks. A token server without https must be
    in *plain*.
    """

    def __init__(
        self,
        registry: str,
        repository: str,
        *,
        web: Web,
        find: Callable[[], Credentials | None],
        plain: Container[httpx.URL],
    ) -> None:
        self._registry = registry
        # Whatever the challenge asks for: no more than this is needed.
        self._scope = f"repository:{repository}:pull"
        self._web = web
        self._find = find
        self._plain = plain
        self._lock = threading.Lock()
        self._header: str | None = None
        self._credentials: Credentials | None = None
        self._looked = False

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of a request."""
        header = self._header
        return {} if header is None else {"Authorization": header}

    @property
    def secrets(self) -> Sequence[str]:
        """What no message may have in it."""
        found = self._credentials
        texts = [] if found is None else [found.password, found.identity_token or "", found.basic]
        header = self._header or ""
        return [text for text in (*texts, header.partition(" ")[2]) if text]

    def renew(self, challenges: Sequence[str], *, rejected: Mapping[str, str]) -> bool:
        """Do what the registry asks for that *rejected* these headers.

        Say whether that was done now; False: it was done by another thread meanwhile. Raise
        RegistryDeniedError if there is nothing to be done.
        """
        with self._lock:
            if self.headers != rejected:
                return False
            self._header = self._answer(_read_challenges(challenges))
            return True

    def _answer(self, challenges: Sequence[Challenge]) -> str:
        by_scheme = dict(reversed(challenges))
        if "bearer" in by_scheme:
            return f"Bearer {self._fetch_token(by_scheme['bearer'])}"
        found = self._login()
        if "basic" in by_scheme and found is not None and self._header is None:
            return found.basic
        raise self._denied()

    def _login(self) -> Credentials | None:
        if not self._looked:
            self._credentials = self._find()
            self._looked = True
        return self._credentials

    def _fetch_token(self, challenge: Mapping[str, str]) -> str:
        owner = f"the token server of {self._registry}"
        realm = web_address(challenge.get("realm", ""), of=owner)
        if realm.scheme != "https" and realm not in self._plain:
            raise RegistryError(
                f"{self._registry} wants a login to be sent without https, to {realm.host}:"
                " if that is meant so, name the registry in LUNETTE_INSECURE_REGISTRIES"
            )
        wanted = {"scope": self._scope}
        if service := challenge.get("service"):
            wanted["service"] = service
        with http_errors(realm), contextlib.closing(self._ask(realm, wanted)) as response:
            return self._read_token(response)

    def _ask(self, realm: httpx.URL, wanted: Mapping[str, str]) -> httpx.Response:
        found = self._login()
        if found is not None and found.identity_token is not None:
            form = {**wanted, "grant_type": "refresh_token", "client_id": _CLIENT}
            form["refresh_token"] = found.identity_token
            return self._web.send("POST", realm, headers={}, form=form)
        headers = {} if found is None else {"Authorization": found.basic}
        return self._web.send("GET", realm.copy_merge_params(wanted), headers=headers)

    def _read_token(self, response: httpx.Response) -> str:
        if response.status_code != 200:
            error = refusal(response, f"a token for {self._scope}", secrets=self.secrets)
            raise self._denied() if isinstance(error, ImageNotFoundError) else error
        content = read_bounded(response, _LARGEST_TOKEN) or b""
        found = read_object(
            content, lambda why: RegistryError(f"the token of {self._registry} {why}")
        )
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise RegistryError(f"the token server of {self._registry} gave no token")
        return token

    def _denied(self) -> RegistryDeniedError:
        what = "does not accept the login that Docker has" if self._credentials else "wants a login"
        return RegistryDeniedError(
            f"{self._registry} {what}: run `docker login` for it as the user of this server"
        )


def _read_challenges(headers: Sequence[str]) -> list[Challenge]:
    """Read all of WWW-Authenticate: a word without a value begins the next challenge."""
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        for word in _WORD.finditer(header):
            key, quoted, plain = word["key"].lower(), word["quoted"], word["plain"]
            if quoted is None and plain is None:
                found.append((key, {}))
            elif found:
                text = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                found[-1][1].setdefault(key, text)
    return list(found)
