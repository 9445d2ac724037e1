"""Who may ask, and what becomes of every error."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import logging
import os
from collections.abc import Iterable

from attrs import field, frozen
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lunette._version import API_VERSION
from lunette.server._access_log import entry, template
from lunette.server._load import Gate, body_gate, buffered_bytes
from lunette.server._problems import Problem, engine_problem

__all__ = ["Access", "Guard"]

logger = logging.getLogger(__name__)

_NOTHING = contextlib.nullcontext()
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_WILDCARDS = frozenset({"", "0.0.0.0", "[::]"})


@frozen
class Access:
    """What a request over TCP needs: the key, and a Host that is one of *names*.

    A page whose name was bound to this machine's address (DNS rebinding) sends its own name.
    *any_address* lets numeric hosts in, which no page can have been rebound to.
    """

    api_key: str = field(repr=False)
    names: frozenset[str] = _LOOPBACK_NAMES
    any_address: bool = False

    @classmethod
    def over_tcp(cls, api_key: str, host: str, names: Iterable[str] = ()) -> Access:
        """Return the access to a server that is bound to *host* and has more *names*."""
        bound = _bracketed(host.lower())
        allowed = {bound, *map(str.lower, names)} | _LOOPBACK_NAMES
        return cls(api_key, frozenset(allowed - _WILDCARDS), any_address=bound in _WILDCARDS)

    def allows_host(self, host: str) -> bool:
        """Say whether a Host header is one of ours."""
        name = _without_port(host.strip().lower())
        return name in self.names or (self.any_address and _is_address(name))

    def allows_key(self, key: bytes) -> bool:
        """Say whether the key is right, in a time that tells nothing."""
        return hmac.compare_digest(key, self.api_key.encode())


class Guard:
    """The outermost layer: access, the id of the request, and errors as problems.

    Without *access* it is a Unix socket, whose permissions are the key. Bodies that are held in
    memory are in *bodies*.
    """

    def __init__(self, app: ASGIApp, access: Access | None, bodies: Gate | None = None) -> None:
        self._app = app
        self._access = access
        self._bodies = bodies or body_gate()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = request_id = os.urandom(8).hex()
        line, status = entry(scope, request_id), None

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            self._check(scope)
            size = buffered_bytes(scope["headers"])
            with self._bodies.entered(size) if size else _NOTHING:
                await self._app(scope, receive, tagged)
        except ClientDisconnect:
            return
        except Exception as error:
            if status is not None:  # too late for an answer: uvicorn cuts the connection
                raise
            await _as_problem(error, scope, request_id).response(request_id)(scope, receive, tagged)
        finally:
            if line is not None:
                line.write(status)

    def _check(self, scope: Scope) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if any(name == b"origin" for name, _ in headers):
            raise Problem(403, "forbidden_origin", "requests of web pages are refused")
        self._check_access(scope, headers)
        _check_version(headers)

    def _check_access(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> None:
        if self._access is None:
            return
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._access.allows_host(hosts[0]):
            detail = f"this server does not answer to the host name {', '.join(hosts) or 'none'!r}"
            raise Problem(403, "forbidden_host", detail)
        if scope["path"] == "/health":
            return
        keys = [value for name, value in headers if name == b"x-api-key"]
        if len(keys) != 1 or not self._access.allows_key(keys[0]):
            raise Problem(401, "unauthorized", "X-API-Key is missing or wrong")


def _check_version(headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if name == b"lunette-api-version" and value.decode("latin-1") != API_VERSION:
            detail = (
                f"the client speaks version {value.decode('latin-1')!r} of the API, this server"
                f" {API_VERSION!r}: install versions of lunette that belong together"
            )
            raise Problem(400, "unsupported_api_version", detail)


def _as_problem(error: Exception, scope: Scope, request_id: str) -> Problem:
    problem = error if isinstance(error, Problem) else engine_problem(error)
    if problem is not None:
        return problem
    what = (request_id, scope["method"], template(scope))
    logger.error("request %s failed: %s %s", *what, exc_info=error)
    return Problem(500, "internal_error", f"the server failed; its log knows {request_id}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
