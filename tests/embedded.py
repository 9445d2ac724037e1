"""Clients of the embedded server, and how it is."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

GUARD = 30.0


def client_of(socket_path: str) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=socket_path, verify=False, trust_env=False)
    return httpx.Client(transport=transport, base_url="http://localhost", timeout=GUARD)


def healthy(socket_path: str) -> bool:
    with client_of(socket_path) as client:
        return client.get("/health").status_code == 200


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


class Client:
    """A client process that runs *body*, which can print lines and wait for ours."""

    PRELUDE = """
        import os, signal, sys, time
        from lunette import _embedded
        server = _embedded.ensure()
        print(server.pid, server.socket_path, flush=True)
    """

    def __init__(self, body: str = "sys.stdin.readline()", **options: Any) -> None:
        source = textwrap.dedent(self.PRELUDE) + textwrap.dedent(body)
        self.process = subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        pid, self.socket_path = self.line().split()
        self.server_pid = int(pid)
        self.server = os.pidfd_open(self.server_pid)
        self.directory = Path(self.socket_path).parent
        assert healthy(self.socket_path)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        os.close(self.server)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def server_ended(self) -> bool:
        return bool(select.select([self.server], [], [], 0)[0])

    def assert_nothing_is_left(self) -> None:
        assert select.select([self.server], [], [], GUARD)[0], "the server outlives its client"
        until(lambda: not self.directory.exists())


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
