"""What a registry, or the way to it, does wrong.

    Fault
    ├── Answered     another answer than the registry's: 404, 429, a hostile manifest
    ├── Redirected   to another server, as registries do that keep blobs in a cloud
    ├── WrongByte    one byte of the body is another one
    ├── Truncated    the body ends early, and the head says nothing of it
    ├── Delayed      the answer comes late
    └── Stopped      something happens in the middle of the answer:
        ├── Cut      the connection ends
        ├── Held     nothing more comes until the test says so
        └── Dies     the registry is gone until the test says so

Each strikes the requests whose method and path match; the first one that strikes is the only one,
and those after it do not count that request. What a `TokenGate` refuses is struck by none.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from attrs import Factory, evolve, frozen

from .messages import Answer, Request, refusal

BLOBS = "/blobs/"
MANIFESTS = "/manifests/"

_CODES = {
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "MANIFEST_UNKNOWN",
    429: "TOOMANYREQUESTS",
    503: "UNAVAILABLE",
}


@frozen(kw_only=True, eq=False)
class Fault:
    """Strikes requests whose path matches the pattern *path* and whose method matches *method*.

    After the first *skip* of them it strikes the next *times* (None: all that come), each by the
    chance *rate*. As two alike are two, they are compared by identity.
    """

    path: str = "^/v2/."
    method: str = "^(GET|HEAD)$"
    skip: int = 0
    times: int | None = None
    rate: float = 1.0

    def matches(self, request: Request) -> bool:
        """Whether it is about such requests."""
        return bool(re.search(self.method, request.method) and re.search(self.path, request.path))

    def strikes(self, number: int, chance: random.Random) -> bool:
        """Whether it strikes the *number*-th request that matches, counted from 0."""
        if number < self.skip or (self.times is not None and number >= self.skip + self.times):
            return False
        return chance.random() < self.rate

    def answer(self, request: Request) -> Answer | None:
        """Answer instead of the registry, or not."""
        return None

    def spoil(self, answer: Answer, chance: random.Random) -> Answer:
        """Return what becomes of the registry's answer."""
        return answer


@frozen(kw_only=True, eq=False)
class Answered(Fault):
    """Answers with *status*, *headers* and *body*, which is a registry's error unless given."""

    status: int
    headers: Mapping[str, str] = Factory(dict)
    body: bytes | None = None

    def answer(self, request: Request) -> Answer:
        """Answer without the registry."""
        if self.body is not None:
            return Answer(status=self.status, headers=self.headers, body=self.body)
        error = refusal(self.status, _CODES.get(self.status, "UNKNOWN"), "a fault of the test")
        return evolve(error, headers={**error.headers, **self.headers})


@frozen(kw_only=True, eq=False)
class Redirected(Fault):
    """Sends the client to the same path below the URL *to*."""

    to: str
    path: str = BLOBS

    def answer(self, request: Request) -> Answer:
        """Answer without the registry."""
        return Answer(status=307, headers={"Location": f"{self.to}{request.path}"})


@frozen(kw_only=True, eq=False)
class WrongByte(Fault):
    """Turns the byte *at* of the body into another one; a seeded one where it is not given."""

    path: str = BLOBS
    method: str = "^GET$"
    at: int | None = None

    def spoil(self, answer: Answer, chance: random.Random) -> Answer:
        """Return the spoilt answer."""
        if not answer.body:
            return answer
        place = chance.randrange(len(answer.body)) if self.at is None else self.at
        body = bytearray(answer.body)
        body[place] ^= 0x55
        return evolve(answer, body=bytes(body))


@frozen(kw_only=True, eq=False)
class Truncated(Fault):
    """Ends the body after *after* bytes, with a Content-Length that agrees."""

    path: str = BLOBS
    method: str = "^GET$"
    after: int | None = None

    def spoil(self, answer: Answer, chance: random.Random) -> Answer:
        """Return the spoilt answer."""
        if not answer.body:
            return answer
        place = chance.randrange(len(answer.body)) if self.after is None else self.after
        return evolve(answer, body=answer.body[:place])


@frozen(kw_only=True, eq=False)
class Delayed(Fault):
    """Waits so many *seconds* before the answer."""

    seconds: float


@frozen(kw_only=True, eq=False)
class Stopped(Fault):
    """Stops the answer *after* so many bytes of its body.

    A negative *after* counts back from the end of the head; a seeded place in the whole answer is
    taken where it is not given.
    """

    path: str = BLOBS
    method: str = "^GET$"
    after: int | None = None

    def place(self, head: int, body: int, chance: random.Random) -> int:
        """Count the bytes before it in an answer whose parts have these sizes."""
        if self.after is None:
            return chance.randrange(head + body)
        return min(max(0, head + self.after), head + body)


@frozen(kw_only=True, eq=False)
class Cut(Stopped):
    """Ends the connection, with a RST if *reset*, else with a FIN."""

    reset: bool = False


@frozen(kw_only=True, eq=False)
class Held(Stopped):
    """Sends nothing more until `proxy.release()`; `proxy.holding` tells that it has begun."""


@frozen(kw_only=True, eq=False)
class Dies(Stopped):
    """Cuts every connection and refuses others until `proxy.come_back()`; `proxy.dead` tells."""
