"""The `lunette` command, run as a user does."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

__all__ = [
    "GUARD",
    "LUNETTE",
    "Serving",
    "embedded_server",
    "lunette",
    "serve",
    "started",
    "unconfigured",
]

GUARD = 60.0
LUNETTE = [sys.executable, "-c", "from lunette.cli import main; main()"]


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command find nothing that says where to run, and a wide terminal."""
    for name in ("LUNETTE_API_KEY", "LUNETTE_BASE_URL", "LUNETTE_ENGINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def lunette(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    options = {"input": b"", **options}
    return subprocess.run([*LUNETTE, *arguments], capture_output=True, timeout=GUARD, **options)


@contextlib.contextmanager
def started(*arguments: str, **options: Any) -> Generator[subprocess.Popen[bytes]]:
    """Start the command, with pipes to it and from it; kill what is left of it."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process: subprocess.Popen[bytes] = subprocess.Popen([*LUNETTE, *arguments], **pipes | options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def embedded_server(pid: int) -> int:
    """Find the server that the command of that process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    (child,) = [child for task in tasks for child in (task / "children").read_text().split()]
    return int(child)


class Serving:
    """A `lunette serve`, and what it said on its standard output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: dict[str, str] = {}

    def line(self) -> None:
        assert self.process.stdout is not None
        name, _, value = self.process.stdout.readline().strip().partition("=")
        self.said[name] = value

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(GUARD)


@contextlib.contextmanager
def serve(*arguments: str, lines: int = 1) -> Generator[Serving]:
    """Run a server that says so many *lines*."""
    process = subprocess.Popen(
        [*LUNETTE, "serve", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    serving = Serving(process)
    try:
        for _ in range(lines):
            serving.line()
        yield serving
    finally:
        process.kill()
        process.communicate()
