"""Server-sent events, read for tests."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import httpx
from attrs import frozen

__all__ = ["Event", "contents", "events", "followed", "following"]


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
