"""Processes that live, and what they write, for tests."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
from attrs import frozen

from .conftest import Service

__all__ = [
    "WAITS",
    "Event",
    "code",
    "contents",
    "ended",
    "events",
    "followed",
    "following",
    "logs",
    "put",
    "release",
    "start",
    "write_input",
]

WAITS = "echo begun; while [ ! -e go ]; do sleep 0.01; done; echo ended"


@frozen
class Event:
    """One event; *data* is as it came."""

    id: int
    name: str
    data: str

    @property
    def content(self) -> bytes:
        return base64.b64decode(self.data, validate=True)

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of *lines*, which are nothing else."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            assert line == ":" and not fields
            continue
        if line:
            name, _, value = line.partition(": ")
            assert name not in fields
            fields[name] = value
        elif fields:
            yield Event(int(fields.pop("id")), fields.pop("event"), fields.pop("data"))
            assert not fields
    assert not fields


@contextlib.contextmanager
def following(
    client: httpx.Client, process: str, offset: int | None = None, **query: Any
) -> Generator[Iterator[Event]]:
    """Yield the events of a process as they come."""
    headers = {} if offset is None else {"Last-Event-ID": str(offset)}
    with client.stream("GET", f"{process}/output", params=query, headers=headers) as answer:
        if answer.status_code != 200:
            raise AssertionError(answer.read())
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in answer.headers
        yield events(answer.iter_lines())


def followed(
    client: httpx.Client, process: str, offset: int | None = None, **query: Any
) -> list[Event]:
    """Return the events of a process until its end."""
    with following(client, process, offset, **query) as found:
        return list(found)


def contents(found: Iterable[Event], offset: int = 0) -> dict[str, bytes]:
    """Return what each stream has; check that nothing is missing from *offset* on."""
    streams = {"stdout": b"", "stderr": b""}
    for event in found:
        if event.name in streams:
            streams[event.name] += event.content
            offset += len(event.content)
        elif event.name == "gap":
            offset += event.json["bytes"]
        assert event.id == offset
    return streams


def start(client: httpx.Client, sandbox: str, command: Any, key: str = "p", **more: Any) -> str:
    """Start a process, and return its path."""
    answer = put(client, sandbox, command, key, **more)
    assert answer.status_code == 201, answer.text
    return f"{sandbox}/processes/{key}"


def put(
    client: httpx.Client, sandbox: str, command: Any, key: str = "p", **more: Any
) -> httpx.Response:
    return client.put(f"{sandbox}/processes/{key}", json={"command": command, **more})


def ended(client: httpx.Client, process: str) -> dict[str, Any]:
    """Return a process when it has ended."""
    found: dict[str, Any] = client.get(process, params={"wait": 30}).json()
    assert found["state"] == "ended", found
    return found


def release(client: httpx.Client, sandbox: str) -> None:
    """Let WAITS end."""
    client.put(f"{sandbox}/files", params={"path": "go"}, content=b"")


def write_input(
    client: httpx.Client, process: str, offset: int, data: bytes = b"", **query: Any
) -> httpx.Response:
    headers = {"Content-Type": "application/octet-stream"}
    query = {name: str(value).lower() for name, value in query.items()}
    return client.put(
        f"{process}/input", params={"offset": offset, **query}, content=data, headers=headers
    )


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def logs(service: Service) -> list[Path]:
    """Return the files of all logs."""
    assert service.store is not None
    return list(service.store.logs.iterdir())
