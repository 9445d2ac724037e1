"""The token flow of registries: 401, a token for a scope, and again."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import threading
from collections.abc import Mapping
from typing import Literal, TypeAlias
from urllib.parse import parse_qs

from attrs import Factory, define, field, frozen

from .messages import Answer, Request, refusal

TokenField: TypeAlias = Literal["token", "access_token"]

REALM = "/token"
SERVICE = "registry.test"


@define
class _Grant:
    scopes: frozenset[str]
    uses: int | None


@frozen(kw_only=True)
class TokenGate:
    """Lets through who has a token for the repository.

    Anybody gets a token that is good for repositories which do not match the pattern *private*;
    the *users* (name to password) and who has a *refresh* token get one for all. Without
    *anonymous* nobody else gets one. A token is good for so many *uses*, and comes in *token_field*
    of the answer.
    """

    users: Mapping[str, str] = Factory(dict)
    refresh: frozenset[str] = frozenset()
    anonymous: bool = True
    private: str = "^private/"
    uses: int | None = None
    token_field: TokenField = "token"
    _grants: dict[str, _Grant] = field(factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False, eq=False)

    def answer(self, request: Request, url: str) -> Answer | None:
        """Answer what may not pass, and who asks for a token at the gate's *url*."""
        if request.route == REALM:
            return self._token(request)
        if not request.route.startswith("/v2/") or self._may_pass(request):
            return None
        return _challenge(request, url)

    def _may_pass(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        with self._lock:
            grant = self._grants.get(token)
            if scheme != "Bearer" or grant is None or grant.uses == 0:
                return False
            if request.repository is not None and _scope(request) not in grant.scopes:
                return False
            if grant.uses is not None:
                grant.uses -= 1
            return True

    def _token(self, request: Request) -> Answer:
        known = self._is_known(request)
        if known is False or (known is None and not self.anonymous):
            return refusal(401, "UNAUTHORIZED", "incorrect username or password")
        asked = _parameters(request).get("scope", [])
        scopes = {scope for line in asked for scope in line.split()}
        granted = frozenset(scope for scope in scopes if known or not self._is_private(scope))
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._grants[token] = _Grant(granted, self.uses)
        body = json.dumps({self.token_field: token, "expires_in": 300}).encode()
        return Answer(status=200, headers={"Content-Type": "application/json"}, body=body)

    def _is_known(self, request: Request) -> bool | None:
        """Whether the credentials are right; None where there are none."""
        if request.method == "POST":
            return self.refresh.issuperset(_parameters(request).get("refresh_token", [""]))
        if request.scheme is None:
            return None
        name, password = _basic(request)
        return self.users.get(name) == password

    def _is_private(self, scope: str) -> bool:
        return re.search(self.private, scope.split(":")[1]) is not None


def _challenge(request: Request, url: str) -> Answer:
    words = {"realm": f"{url}{REALM}", "service": SERVICE}
    if request.repository is not None:
        words["scope"] = _scope(request)
    if request.scheme == "Bearer":
        words["error"] = "invalid_token"
    listed = ",".join(f'{name}="{value}"' for name, value in words.items())
    return refusal(
        401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=f"Bearer {listed}"
    )


def _scope(request: Request) -> str:
    return f"repository:{request.repository}:pull"


def _parameters(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.body.decode()) if request.method == "POST" else request.query


def _basic(request: Request) -> tuple[str, str]:
    try:
        text = base64.b64decode(request.headers["authorization"].partition(" ")[2]).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    name, _, password = text.partition(":")
    return name, password
