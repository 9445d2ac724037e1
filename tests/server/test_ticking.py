"""The loop goes on, whatever is moved, hashed or listed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Generator, Iterator
from time import monotonic

import httpx

from .bent_engine import BentEngine
from .conftest import Service
from .transfers import begin, commit, digest_of, send

_LONGEST_GAP = 0.5
_MIB = 1 << 20


@contextlib.contextmanager
def _ticking(service: Service) -> Generator[None]:
    """Check that the server's loop is never busy for long with one thing."""
    gaps = [0.0]

    async def tick() -> None:
        before = monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = monotonic()
            gaps.append(now - before)
            before = now

    task = service.call(lambda: asyncio.create_task(tick()))
    try:
        yield
    finally:
        service.call(task.cancel)
    assert len(gaps) > 1
    assert max(gaps) < _LONGEST_GAP


def test_files_go_and_come(service: Service, client: httpx.Client, sandbox: str) -> None:
    content = os.urandom(32 * _MIB)
    headers = {"Repr-Digest": digest_of(content)}
    with _ticking(service):
        query = {"path": "f"}
        answer = client.put(f"{sandbox}/files", params=query, content=content, headers=headers)
        assert answer.status_code == 204
        with client.stream("GET", f"{sandbox}/files", params=query) as streamed:
            assert sum(map(len, streamed.iter_raw())) == len(content)


def test_a_large_upload(service: Service, client: httpx.Client, sandbox: str) -> None:
    content = os.urandom(32 * _MIB)
    upload = begin(client, sandbox, digest="sha-256")
    with _ticking(service):
        send(client, upload, 0, content)
        assert commit(client, upload, content, digest=digest_of(content)).status_code == 204


def test_a_large_archive(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    engine.blocks = [os.urandom(_MIB)] * 32
    archive = f"{sandbox}/archives/a"
    client.put(f"{sandbox}/files/directory", params={"path": "d"})
    with _ticking(service):
        assert client.put(archive, json={"path": "d"}).status_code == 204
        offset = 0
        while True:
            answer = client.get(archive, params={"offset": offset})
            offset += len(answer.content)
            if "archive-complete" in answer.headers:
                break
    assert offset == 32 * _MIB


def test_the_digest_of_a_large_file(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    with (engine.root / sandbox.rpartition("/")[2] / "f").open("wb") as file:
        file.truncate(256 * _MIB)
    with _ticking(service):
        query = {"path": "f", "digest": "sha-256"}
        found = client.get(f"{sandbox}/files/stat", params=query).json()
    assert found["size"] == 256 * _MIB
    assert found["digest"].startswith("sha-256=:")


def test_a_long_listing(
    service: Service, client: httpx.Client, sandbox: str, engine: BentEngine
) -> None:
    engine.blocks = list(_listing(100_000))
    size = sum(len(block) for block in engine.blocks if isinstance(block, bytes))
    with _ticking(service):
        answer = client.get(f"{sandbox}/files/list", params={"path": "."})
    assert len(answer.content) == size + len('{"directory":,"entries":[]}') - 2
    found = answer.json()["entries"]
    assert len(found) == 100_000
    assert found[-1]["path"] == "some/where/below/099999"


def _listing(entries: int) -> Iterator[bytes]:
    entry = {"type": "file", "size": 1, "mode": 420, "mtime": 1.5, "uid": 0, "gid": 0}
    yield b'"/d"\n'
    for begin_at in range(0, entries, 500):
        lines = [
            json.dumps({"path": f"some/where/below/{number:06}", **entry})
            for number in range(begin_at, begin_at + 500)
        ]
        yield "".join(f"{line}\n" for line in lines).encode()
