"""Each byte of standard input arrives once, however often it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lunette.server.processes import INPUT_CHUNK

from .streams import WAITS, Event, code, contents, followed, following, release, start, write_input


def test_input_by_offsets(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, ["cat"], interactive=True, input="first ")
    assert client.get(process).json()["input_offset"] == 6
    assert write_input(client, process, 6, b"second ", wait=30).json() == {"offset": 13}
    assert write_input(client, process, 6, b"second ", wait=30).json() == {"offset": 13}
    assert write_input(client, process, 9, b"ond third", wait=30).json() == {"offset": 18}
    assert write_input(client, process, 0, wait=30).json() == {"offset": 18}
    gap = write_input(client, process, 19, b"x", wait=30)
    assert code(gap) == (409, "input_gap")
    assert gap.json()["offset"] == 18
    assert code(write_input(client, process, 19, end=True, wait=30)) == (409, "input_gap")
    for _ in range(2):
        assert write_input(client, process, 18, b"\n", end=True, wait=30).json() == {"offset": 19}
    assert contents(followed(client, process))["stdout"] == b"first second third\n"
    assert write_input(client, process, 18, b"\n", end=True).json() == {"offset": 19}
    assert code(write_input(client, process, 19, b"more")) == (409, "input_closed")


def test_a_process_that_does_not_read_takes_some(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, f"{WAITS}; wc -c", interactive=True)
    data = bytes(range(256)) * 4096
    assert len(data) == INPUT_CHUNK
    taken = write_input(client, process, 0, data).json()["offset"]
    assert 0 < taken < len(data)
    assert write_input(client, process, 0, data, wait=0.05).json() == {"offset": taken}
    with ThreadPoolExecutor(2) as threads:
        twice = [
            threads.submit(write_input, client, process, 0, data, wait=30, end=True)
            for _ in range(2)
        ]
        release(client, sandbox)
        for each in twice:
            assert each.result().json() == {"offset": len(data)}
    assert contents(followed(client, process))["stdout"].split()[-1] == b"1048576"


def test_a_writer_whose_client_has_gone_makes_room(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, f"{WAITS}; wc -c", interactive=True)
    data = bytes(INPUT_CHUNK)
    with pytest.raises(httpx.ReadTimeout):
        client.put(
            f"{process}/input",
            params={"offset": 0, "wait": 60},
            content=data,
            headers={"Content-Type": "application/octet-stream"},
            timeout=0.2,
        )
    taken = write_input(client, process, 0, wait=30).json()["offset"]
    assert 0 < taken < len(data)
    release(client, sandbox)
    assert write_input(client, process, 0, data, wait=30, end=True).json() == {"offset": len(data)}
    assert contents(followed(client, process))["stdout"].split()[-1] == b"1048576"


def test_input_that_nobody_reads(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, "exec <&-; echo closed; exec sleep 60", interactive=True)
    with following(client, process) as found:
        next(found)
    assert code(write_input(client, process, 0, b"x", wait=30)) == (409, "input_closed")
    client.delete(process)
    without = start(client, sandbox, "sleep 60", "without")
    assert code(write_input(client, without, 0, b"x")) == (409, "input_closed")
    client.delete(without)


def test_what_is_no_input(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, ["cat"], interactive=True)
    for query in ({}, {"offset": -1}, {"offset": "x"}, {"offset": 1.5}, {"offset": 2**53}):
        answer = client.put(f"{process}/input", params=query)
        assert code(answer) == (422, "invalid_request")
        assert answer.json()["key"] == "offset"
    assert code(write_input(client, process, 0, end="yes")) == (422, "invalid_request")
    assert code(write_input(client, process, 0, wait=61)) == (422, "invalid_request")
    too_large = write_input(client, process, 0, bytes(INPUT_CHUNK + 1))
    assert code(too_large) == (413, "body_too_large")
    text = client.put(
        f"{process}/input", params={"offset": 0}, content=b"x", headers={"Content-Type": "a/b"}
    )
    assert code(text) == (415, "unsupported_media_type")
    client.delete(process)


def test_much_input_arrives_whole(client: httpx.Client, sandbox: str) -> None:
    process = start(client, sandbox, ["md5sum"], interactive=True)
    data = bytes(range(251)) * 100_000
    offset = 0
    while offset < len(data):
        part = data[offset : offset + INPUT_CHUNK]
        offset = write_input(client, process, offset, part, wait=10).json()["offset"]
    write_input(client, process, offset, end=True)
    expected = hashlib.md5(data).hexdigest().encode()
    assert contents(followed(client, process))["stdout"].split()[0] == expected


def test_a_terminal_takes_what_is_typed(real_client: httpx.Client, real_sandbox: str) -> None:
    size = {"rows": 31, "columns": 97}
    process = start(real_client, real_sandbox, ["sh"], tty=size, env={"PS1": ""})
    assert real_client.get(process).json()["tty"] is True
    with following(real_client, process) as found:
        offset = 0
        for line in (b"stty -echo; echo ready\n", b"tty; stty size\n"):
            answer = write_input(real_client, process, offset, line, wait=30)
            offset = answer.json()["offset"]
        assert b"/dev/pts/" in _read_until(found, b"31 97")
        answer = real_client.put(f"{process}/terminal", json={"rows": 40, "columns": 132})
        assert answer.status_code == 204
        offset = write_input(real_client, process, offset, b"stty size\n", wait=30).json()["offset"]
        _read_until(found, b"40 132")
        write_input(real_client, process, offset, end=True, wait=30)
        *_, last = found
    assert last.json["exit_code"] == 0
    assert real_client.put(f"{process}/terminal", json=size).status_code == 204


def _read_until(found: Iterator[Event], wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        event = next(found)
        assert event.name == "stdout"
        seen += event.content
    return seen
