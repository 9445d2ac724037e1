"""What the proxy reads and what it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from attrs import Factory, define, frozen


@frozen(kw_only=True)
class Request:
    """A request; the names of its *headers* are in lower case, *path* has the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def route(self) -> str:
        """Return the path without the query."""
        return urlsplit(self.path).path

    @property
    def query(self) -> dict[str, list[str]]:
        """Return the parameters of the path."""
        return parse_qs(urlsplit(self.path).query)

    @property
    def repository(self) -> str | None:
        """Return the repository that it is about, if any."""
        found = re.match(r"/v2/(.+)/(?:manifests|blobs|tags)/", self.route)
        return found and found[1]

    @property
    def scheme(self) -> str | None:
        """Return how it is authorized: `Basic`, `Bearer` or, not at all, None."""
        return self.headers.get("authorization", "").partition(" ")[0] or None


@frozen(kw_only=True)
class Answer:
    """An answer; *length* is the Content-Length where that is not the size of the body."""

    status: int
    headers: Mapping[str, str] = Factory(dict)
    body: bytes = b""
    length: int | None = None

    def head(self) -> bytes:
        """Return everything before the body."""
        length = len(self.body) if self.length is None else self.length
        lines = [f"HTTP/1.1 {self.status} {self.status}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode("latin-1")


@define(kw_only=True)
class Seen:
    """A line of the diary: a request, and what became of it."""

    number: int
    method: str
    path: str
    range: str | None
    scheme: str | None
    """How it was authorized; never by which credentials."""
    status: int = 0
    """0 while nothing is answered."""
    sent: int = 0
    """Bytes of the body that were passed on."""
    fault: str | None = None

    @property
    def authorized(self) -> bool:
        """Whether it had an Authorization."""
        return self.scheme is not None


def refusal(status: int, code: str, message: str, **headers: str) -> Answer:
    """Answer with an error as the specification has it; `_` in a header stands for `-`."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    found = {"Content-Type": "application/json"}
    found |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=found, body=body)
