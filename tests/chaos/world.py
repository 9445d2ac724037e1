"""A server that anybody may kill, and clients that go on."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from attrs import define

__all__ = ["ChaosError", "Child", "World", "descendants", "described", "reap"]

_HERE = Path(__file__).parent
_SERVE = "from lunette.cli import main; main()"
_GUARD = 60.0
_GROUP = re.compile(r"/lunette/([0-9a-f]+)")
_HALF_MADE = " bwrap --args "
# httpcore leaves a Unix socket that could not be connected to the garbage collector.
_WARNINGS = ("-W", "error", "-W", "ignore::ResourceWarning")


class ChaosError(Exception):
    """Something is wrong, and the message says what."""


@define(eq=False)
class Child:
    """A process that we started, what it is, and how many lines its report had, and when."""

    what: str
    process: subprocess.Popen[bytes]
    report: Path
    errors: Path
    lines: int = 0
    moved: float = 0.0
    is_struck: bool = False


class World:
    """One server of one state directory, two clients of it, and one with its own server."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.state = directory / "state"
        self._directory = directory
        self._seed = seed
        self._number = 0
        self._socket = directory / "sock"
        self.server: subprocess.Popen[bytes] | None = None
        self.clients: list[Child] = []
        self.groups: set[str] = set()
        """The names of the control groups that servers have had, as far as they were seen."""
        self._temporary = directory / "tmp"
        self._temporary.mkdir(mode=0o1777)
        self._environment = {
            **os.environ,
            "TMPDIR": str(self._temporary),
            "LUNETTE_HOME": str(directory / "home"),
        }

    def __enter__(self) -> Self:
        self.serve()
        for what in ("blocking", "async", "embedded"):
            self._start(what)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._end()
        finally:
            for process in (*(client.process for client in self.clients), self.server):
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait()

    def _end(self) -> None:
        for client in self.clients:
            client.process.terminate()
        for client in self.clients:
            _wait(client.process, client.what)
        self._check_reports()
        self._check_server()
        self._end_server()
        _wait_for_all()
        left = list(self._temporary.iterdir())
        self.serve()  # which removes what those left that were killed
        self._check_server()
        _until(lambda: not any(path.exists() for path in left), lambda: f"is not removed: {left}")
        self._end_server()

    def serve(self) -> None:
        """Start the server, whatever is left of the one before it."""
        command = [sys.executable, "-c", _SERVE, "serve", "--uds", str(self._socket)]
        with (self._directory / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [*command, "--state", str(self.state)],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.server.stdout is not None
        ready, _, _ = select.select([self.server.stdout], [], [], _GUARD)
        if not ready or not self.server.stdout.readline():
            log_text = (self._directory / "server.log").read_text(errors="replace")
            raise ChaosError(f"the server does not start:\n{log_text[-3000:]}")

    def mend(self) -> None:
        """Start anew what was killed; raise what ended by itself, or does not go on."""
        assert self.server is not None
        self.groups.update(*map(_groups, descendants(os.getpid())))
        if self.server.poll() is not None:
            self.serve()
        for client in list(self.clients):
            if client.process.poll() is not None:
                self._check(client)
                self.clients.remove(client)
                self._start(client.what)
            else:
                self._check_progress(client)

    def told(self) -> str:
        """Say how many calls ended, and how."""
        counts: Counter[str] = Counter()
        for report in self._directory.glob("*.report"):
            counts.update(report.read_text().splitlines())
        return ", ".join(f"{line}: {count}" for line, count in sorted(counts.items()))

    def _check_server(self) -> None:
        """See that the server knows what is there, and ends it."""
        transport = httpx.HTTPTransport(uds=str(self._socket))
        with httpx.Client(transport=transport, base_url="http://s", timeout=_GUARD) as client:
            found = client.get("/sandboxes").raise_for_status().json()["sandboxes"]
            ids = [sandbox["sandbox_id"] for sandbox in found]
            ended = client.post("/sandboxes/stop", json={"sandbox_ids": ids}).json()
            if ended["failed"] or client.get("/sandboxes").json()["sandboxes"]:
                raise ChaosError(f"sandboxes that cannot be destroyed: {ended['failed']}")

    def _end_server(self) -> None:
        assert self.server is not None
        self.server.terminate()
        _wait(self.server, "the server")

    def _start(self, what: str) -> None:
        self._number += 1
        report = self._directory / f"{self._number}.report"
        errors = self._directory / f"{self._number}.errors"
        url = "embedded" if what == "embedded" else f"unix://{self._socket}"
        words = [url, str(report), f"{self._seed} {self._number}", what]
        with errors.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *_WARNINGS, str(_HERE / "errands.py"), *words],
                env=self._environment,
                stderr=log,
            )
        self.clients.append(Child(what, process, report, errors, moved=time.monotonic()))

    def _check(self, client: Child) -> None:
        if client.process.returncode == -signal.SIGKILL and client.is_struck:
            return
        errors = client.errors.read_text(errors="replace")
        code = client.process.returncode
        raise ChaosError(f"a client ({client.what}) ended with {code}:\n{errors[-5000:]}")

    def _check_progress(self, client: Child) -> None:
        lines = client.report.stat().st_size if client.report.exists() else 0
        if lines != client.lines:
            client.lines, client.moved = lines, time.monotonic()
        elif time.monotonic() - client.moved > _GUARD:
            raise ChaosError(f"a client ({client.what}) hangs")

    def _check_reports(self) -> None:
        for client in self.clients:
            if client.process.returncode not in (0, -signal.SIGTERM):
                self._check(client)


def _wait(process: subprocess.Popen[bytes], what: str) -> None:
    try:
        process.wait(_GUARD)
    except subprocess.TimeoutExpired:
        raise ChaosError(f"{what} does not end") from None


def _wait_for_all() -> None:
    """Wait until nobody is left that we, or who lost his parent, have started.

    A sandbox that was half made when all who made it were killed stays until a server begins.
    """

    def left() -> list[str]:
        reap()
        found = map(described, descendants(os.getpid()))
        return [process for process in found if _HALF_MADE not in process]

    _until(lambda: not left(), lambda: f"processes do not end: {left()}")


def _until(condition: Callable[[], bool], complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + _GUARD
    while not condition():
        if time.monotonic() > deadline:
            raise ChaosError(complaint())
        time.sleep(0.02)


def reap() -> None:
    """Forget those who have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _groups(pid: int) -> list[str]:
    try:
        return _GROUP.findall(Path(f"/proc/{pid}/cgroup").read_text())
    except OSError:  # it ended meanwhile
        return []


def described(pid: int) -> str:
    """Say what a process is, in words."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return f"{pid}, gone by now"
    return f"{pid} ({state}) {command.decode(errors='replace')}"


def descendants(pid: int) -> list[int]:
    """Return all that *pid* has started, and what those have."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it ended meanwhile
            continue
    return found[1:]
