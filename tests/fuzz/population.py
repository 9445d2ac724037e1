"""The sandboxes, commands and keys of the server under attack, as far as the attacker knows."""

from __future__ import annotations

import copy
import random
import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import requests
from ours import session
from transfers import Transfers, Upload

__all__ = ["FILES", "LARGE", "Command", "Population", "operation_of"]

_LEAST, _MOST = 4, 10
_MEMORY = 200
_GUARD = 120.0
# What a busy server says, which did nothing; how long, and how often, it is asked again.
_BUSY, _BUSY_SECONDS, _PAUSE_SECONDS = (429, 503, 507), 20.0, 0.5
FILES = ("a.txt", "b.bin", "deep/er/ü ñ", "a b%2F?#&=.txt")
LARGE = "/workspace/large"  # more than a piece of an archive, and a little
_FURNISHED = (
    f"mkdir -p d/e deep/er tree/sub {LARGE}; truncate -s 5M {LARGE}/zeros; mkfifo pipe;"
    " ln -sfn d l; ln -sfn loop loop; echo x > d/x; echo y > tree/sub/y;"
    " echo z > tree/$(printf '\\377');" + "".join(f" echo hello > '{name}';" for name in FILES)
)
_NOT_MADE = (b'"sandbox_not_found"', b'_image"', b'"image_', b'"registry_', b'"not_supported"')


class Command(NamedTuple):
    """A command that was sent under a key, or *started* as a process."""

    sandbox_id: str
    key: str
    body: Any
    started: bool = False


class Population:
    """Keeps a few sandboxes alive, and not more than a few."""

    def __init__(self, url: str, api_key: str, seed: str) -> None:
        self.seed = seed
        self.choice = random.Random(seed)
        self.specifications: dict[str, Any] = {}  # of living sandboxes; the oldest first
        self.ended: deque[str] = deque(maxlen=_MEMORY)
        self.commands: deque[Command] = deque(maxlen=_MEMORY)
        self.transfers = Transfers(self.choice)
        self._furnished: set[str] = set()
        self._ids = random.Random(seed)
        self._url = url
        self._session = session()
        self._session.headers["X-API-Key"] = api_key
        self._keep_up()

    def living(self) -> str:
        """Choose a sandbox that was there a moment ago."""
        return self.choice.choice(list(self.specifications))

    def gone(self) -> str:
        """Choose a sandbox that was destroyed, or an id that never was."""
        return self.choice.choice(self.ended) if self.ended else self.new_id()

    def new_id(self) -> str:
        """Make an id that nobody used."""
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))

    def command(self, *, started: bool = False) -> Command | None:
        """Choose a command that was sent to a sandbox that lives, a *started* one if need be."""
        living = [c for c in self.commands if c.sandbox_id in self.specifications]
        found = [c for c in living if c.started or not started]
        return self.choice.choice(found) if found else None

    def problem_of(self, sandbox_id: str) -> dict[str, Any] | None:
        """Return what the server says is wrong with a sandbox."""
        path = f"/sandboxes/{sandbox_id}"
        answer = self._session.get(self._url + path, timeout=_GUARD)
        return answer.json() if answer.status_code >= 400 else None

    def is_served_later(self, request: requests.PreparedRequest) -> bool:
        """Whether a request that a busy server refused does not fail when it is sent again."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
            answer = self._session.send(request, timeout=_GUARD)
            if answer.status_code not in _BUSY:
                return answer.status_code < 500
        return False

    def furnish(self, sandbox_id: str) -> None:
        """Make one of each kind of file in a sandbox that lives, as far as it lets us, once."""
        if sandbox_id in self._furnished or sandbox_id not in self.specifications:
            return
        self._furnished.add(sandbox_id)
        url = f"{self._url}/sandboxes/{sandbox_id}/exec"
        body: dict[str, Any] = {"command": _FURNISHED, "timeout": 5, "cwd": "/workspace"}
        self._session.post(url, json=body, timeout=_GUARD)

    def send_rest(self, upload: Upload) -> None:
        """Send what is missing of a directory, which most requests alone would not complete."""
        offset = len(upload.sent)
        rest = (upload.content or b"")[offset:]
        if not rest or upload.is_committed:
            return
        path = f"/sandboxes/{upload.sandbox_id}/uploads/{upload.key}"
        query = {"offset": str(offset)}
        answer = self._session.patch(self._url + path, rest, params=query, timeout=_GUARD)
        if answer.status_code == 200:
            upload.add(offset, rest)

    def learn(self, case: Any, response: Any) -> None:
        """Note what a request made or destroyed, and make up for it."""
        self.transfers.learn(operation_of(case), case, response)
        learn = getattr(self, f"_learn_{operation_of(case)}", None)
        if learn is not None and response.status_code < 300:
            learn(case, response)
        elif response.status_code == 410 or _could_not_be_made(response):
            self._learn_end(case.path_parameters.get("sandbox_id"))
        self._keep_up()

    def _learn_create_sandbox(self, case: Any, response: Any) -> None:
        self.specifications[case.path_parameters["sandbox_id"]] = copy.deepcopy(case.body)

    def _learn_create_sandbox_from_form(self, case: Any, response: Any) -> None:
        self.specifications[response.json()["sandbox_id"]] = None

    def _learn_delete_sandbox(self, case: Any, response: Any) -> None:
        self._forget(case.path_parameters["sandbox_id"])

    def _learn_stop_sandboxes(self, case: Any, response: Any) -> None:
        for sandbox_id in response.json()["stopped"]:
            self._forget(sandbox_id)

    def _learn_exec_command(self, case: Any, response: Any) -> None:
        key = response.json().get("process_id") or case.headers.get("Idempotency-Key")
        if key:
            body = copy.deepcopy(case.body)
            self.commands.append(Command(case.path_parameters["sandbox_id"], key, body))

    def _learn_start_process(self, case: Any, response: Any) -> None:
        path = case.path_parameters
        body = copy.deepcopy(case.body)
        command = Command(path["sandbox_id"], path["process_id"], body, started=True)
        self.commands.append(command)

    def _learn_pause_sandbox(self, case: Any, response: Any) -> None:
        path = f"/sandboxes/{case.path_parameters['sandbox_id']}/pause"
        self._session.delete(self._url + path, timeout=_GUARD)  # what is paused does not much

    def _learn_end(self, sandbox_id: Any) -> None:
        if sandbox_id in self.specifications:
            self._destroy(sandbox_id)  # it may only have stopped

    def _keep_up(self) -> None:
        while len(self.specifications) > _MOST:
            self._destroy(next(iter(self.specifications)))
        while len(self.specifications) < _LEAST:
            self._make()

    def _make(self) -> None:
        sandbox_id, body = self.new_id(), {"service": {"image": "host"}}
        self._send("PUT", f"/sandboxes/{sandbox_id}", json=body)
        self.specifications[sandbox_id] = body

    def _destroy(self, sandbox_id: str) -> None:
        self._send("DELETE", f"/sandboxes/{sandbox_id}")
        self._forget(sandbox_id)

    def _forget(self, sandbox_id: str) -> None:
        self.specifications.pop(sandbox_id, None)
        self.ended.append(sandbox_id)

    def _send(self, method: str, path: str, json: Mapping[str, Any] | None = None) -> None:
        url = self._url + path
        answer = self._session.request(method, url, json=json, timeout=_GUARD)
        if answer.status_code not in _BUSY or not self.is_served_later(answer.request):
            answer.raise_for_status()


def _could_not_be_made(response: Any) -> bool:
    """Whether that is what is said of a sandbox that was being made at a 202."""
    return response.status_code >= 400 and any(code in response.content for code in _NOT_MADE)


def operation_of(case: Any) -> str | None:
    """Return the `operationId` of a request; None where the contract has no such method."""
    raw: Mapping[str, Any] = case.operation.definition.raw
    found: str = raw["operationId"]
    return found if case.method.upper() == case.operation.method.upper() else None
