"""A proxy in front of a registry that does wrong what the test says, and keeps a diary.

    with RegistryProxy(registry.url, Answered(path=MANIFESTS, status=500, times=2)) as proxy:
        pull(f"{proxy.host}/library/python:3.11-slim")
        assert [seen.status for seen in proxy.seen(MANIFESTS)] == [500, 500, 200]

What a fault does by chance depends on the seed, on the path and on how often that path was asked
for before: threads that come in another order draw the same.
"""

from __future__ import annotations

import http.client
import random
import re
import secrets
import socket
import threading
from collections import Counter
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from attrs import evolve

from .faults import Cut, Delayed, Dies, Fault, Held, Stopped
from .listening import CutError, Listener, Write
from .messages import Answer, Request, Seen
from .tokens import REALM, TokenGate

_CHUNK = 2**16
_PATIENCE = 30.0
_NOT_PASSED_ON = {"connection", "content-length", "keep-alive", "transfer-encoding"}


class RegistryProxy:
    """Listens at `url` (and `host`) and passes on to the registry at the URL *target*.

    *faults* strike in their order; the list of that name may be changed at any time. A *gate* asks
    for tokens. Without a *seed* there is another one each time; a `with` that fails prints it.
    """

    def __init__(
        self,
        target: str,
        *faults: Fault,
        gate: TokenGate | None = None,
        seed: int | None = None,
    ) -> None:
        self.target = target
        self.faults = list(faults)
        self.gate = gate
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self.diary: list[Seen] = []
        """Every request, in the order in which they came."""
        self.errors: list[Exception] = []
        """What went wrong in the proxy itself; raised at the end of a `with`."""
        self.dead = threading.Event()
        """Set while the registry is gone by a `Dies`, or by `die`."""
        self.holding = threading.Event()
        """Set while an answer is held."""
        self.url = self.host = ""
        self._released = threading.Event()
        self._changed = threading.Condition()
        self._matched: Counter[Fault] = Counter()
        self._asked: Counter[str] = Counter()
        self._listener: Listener | None = None
        self._gone: list[Listener] = []

    def __repr__(self) -> str:
        return f"RegistryProxy(seed={self.seed}, requests={len(self.diary)})"

    @property
    def mirror(self) -> str:
        """Return the setting by which a server asks here for images of Docker Hub."""
        return f"docker.io={self.host}"

    def __enter__(self) -> Self:
        # Bound for as long as the proxy is, so that nobody else gets the port while it is dead.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind(("127.0.0.1", 0))
        self._port = int(self._reservation.getsockname()[1])
        self.host = f"127.0.0.1:{self._port}"
        self.url = f"http://{self.host}"
        self.come_back()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None:
            print(self, *self.errors, sep="\n")
        elif self.errors:
            raise ExceptionGroup("the proxy itself failed", self.errors)

    def close(self) -> None:
        """Cut every connection and wait for the end of every thread."""
        self.die()
        self._released.set()
        for listener in self._gone:
            listener.join()
        self._reservation.close()

    def die(self) -> None:
        """Cut every connection and refuse others, until `come_back`."""
        with self._changed:
            listener, self._listener = self._listener, None
        if listener is not None:
            self._gone.append(listener)
            listener.cut()
            self.dead.set()

    def come_back(self) -> None:
        """Listen again, at the same port."""
        self.dead.clear()
        self._listener = Listener(self._port, self._respond, self.errors)

    def release(self) -> None:
        """Send the rest of every answer that is held; those to come are not held any more."""
        self._released.set()

    def seen(self, path: str = "", method: str = "") -> list[Seen]:
        """Return the requests until now whose path and method match these patterns."""
        with self._changed:
            lines = list(self.diary)
        return [s for s in lines if re.search(path, s.path) and re.search(method, s.method)]

    def wait_for(self, path: str, count: int = 1, *, seconds: float = _PATIENCE) -> None:
        """Wait until *count* requests have come whose path matches, or raise TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.seen(path)) >= count, seconds):
                raise TimeoutError(f"not {count} requests for {path!r}: {self.diary}")

    def _respond(self, request: Request, write: Write) -> None:
        seen, chance = self._note(request)
        fault = None
        answer = None if request.route == REALM else self._refused(request)
        if answer is None:
            fault = self._strike(request, chance)
            seen.fault = None if fault is None else type(fault).__name__
            answer = self._answer(request, fault, chance)
        if request.method == "HEAD":
            length = len(answer.body) if answer.length is None else answer.length
            answer = evolve(answer, body=b"", length=length)
        seen.status = answer.status
        self._send(answer, seen, fault, chance, write)

    def _note(self, request: Request) -> tuple[Seen, random.Random]:
        with self._changed:
            seen = Seen(
                number=len(self.diary),
                method=request.method,
                path=request.path,
                range=request.headers.get("range"),
                scheme=request.scheme,
            )
            self.diary.append(seen)
            line = f"{request.method} {request.path}"
            self._asked[line] += 1
            self._changed.notify_all()
            return seen, random.Random(f"{self.seed}/{line}/{self._asked[line]}")

    def _refused(self, request: Request) -> Answer | None:
        return None if self.gate is None else self.gate.answer(request, self.url)

    def _strike(self, request: Request, chance: random.Random) -> Fault | None:
        with self._changed:
            for fault in self.faults:
                if fault.matches(request):
                    self._matched[fault] += 1
                    if fault.strikes(self._matched[fault] - 1, chance):
                        return fault
        return None

    def _answer(self, request: Request, fault: Fault | None, chance: random.Random) -> Answer:
        if isinstance(fault, Delayed):
            self.dead.wait(fault.seconds)
        given = None if fault is None else fault.answer(request)
        if given is not None:
            return given
        if request.route == REALM and (token := self._refused(request)) is not None:
            return token
        answer = self._passed_on(request)
        return answer if fault is None else fault.spoil(answer, chance)

    def _passed_on(self, request: Request) -> Answer:
        target = urlsplit(self.target)
        connection = http.client.HTTPConnection(
            target.hostname or "", target.port, timeout=_PATIENCE
        )
        dropped = {*_NOT_PASSED_ON, "authorization"} if self.gate else _NOT_PASSED_ON
        headers = {n: value for n, value in request.headers.items() if n not in dropped}
        try:
            connection.request(request.method, request.path, request.body or None, headers)
            return _read(connection.getresponse())
        except OSError:
            raise CutError from None
        finally:
            connection.close()

    def _send(
        self,
        answer: Answer,
        seen: Seen,
        fault: Fault | None,
        chance: random.Random,
        write: Write,
    ) -> None:
        head = answer.head()
        whole = head + answer.body
        place = len(whole)
        if isinstance(fault, Stopped):
            place = fault.place(len(head), len(answer.body), chance)
        for start in range(0, place, _CHUNK):
            end = min(start + _CHUNK, place)
            write(whole[start:end])
            seen.sent = max(0, end - len(head))
        if isinstance(fault, Stopped):
            self._stop(fault)
        if place < len(whole):
            write(whole[place:])
            seen.sent = len(answer.body)

    def _stop(self, fault: Stopped) -> None:
        if isinstance(fault, Cut):
            raise CutError(reset=fault.reset)
        if isinstance(fault, Dies):
            self.die()
            raise CutError
        if isinstance(fault, Held):
            self.holding.set()
            self._released.wait()
            self.holding.clear()


def _read(response: http.client.HTTPResponse) -> Answer:
    headers = {n: v for n, v in response.getheaders() if n.lower() not in _NOT_PASSED_ON}
    length = response.getheader("Content-Length")
    body = response.read()
    return Answer(
        status=response.status,
        headers=headers,
        body=body,
        length=int(length) if length is not None and not body else None,
    )
