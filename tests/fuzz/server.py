"""The server under attack: a process of its own, whose access log says what was really sent."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from findings import last_lines
from origin import Origin
from ours import ADDRESS, session

__all__ = ["REQUEST_SECONDS", "SPEC", "FuzzError", "Server", "serving"]

REQUEST_SECONDS = 120  # a pull syncs a disk that other tests may have filled with work
SPEC = Path(__file__).parents[2] / "openapi.yaml"
_ACCESS = re.compile(r"lunette\.access (\S+) ([A-Z]+) (\S+) (\d+|left) ")
# Said of a request that is no HTTP, or no form, on the way to its 400; of one that is no request;
# and at the end, where a command still runs.
_HARMLESS = re.compile(
    r" (uvicorn\.error Invalid HTTP request|python_multipart\.|\S+ \S+ refused"
    r"|lunette\.server\._http stopping:)"
)
_GUARD = 60.0
_SET_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h


class FuzzError(Exception):
    """The server did something that it must not; the message says what."""


class Server:
    """A running server, and what was asked of it so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()  # by operation and status
        self.complaints: list[str] = []
        self._process = process
        self._operations = _operations()
        self._log = threading.Thread(target=self._read_log, daemon=True)
        self._log.start()
        assert process.stdout is not None
        self.url = self._announced("LUNETTE_BASE_URL")
        self.api_key = self._announced("LUNETTE_API_KEY")

    def check(self) -> None:
        """See that it answers still, and did not complain."""
        with session() as ours:
            answer = ours.get(f"{self.url}/health", timeout=_GUARD)
        if answer.status_code != 200:
            raise FuzzError(f"GET /health is {answer.status_code}: {answer.text}")
        self._check_log()

    def stop(self) -> None:
        """See that it ends in peace."""
        self._process.terminate()
        try:
            code = self._process.wait(_GUARD)
        except subprocess.TimeoutExpired:
            raise FuzzError(f"the server does not end in {_GUARD:.0f} s") from None
        self._log.join(_GUARD)
        if code != 0:
            raise FuzzError(f"the server's exit code is {code}")
        self._check_log()

    def _check_log(self) -> None:
        if self.complaints:
            lines = last_lines(self.complaints)
            raise FuzzError("\n".join(["the server's log says:", *lines]))

    def _announced(self, name: str) -> str:
        assert self._process.stdout is not None
        found, _, value = self._process.stdout.readline().strip().partition("=")
        if found != name:
            raise FuzzError("the server does not start:\n" + "".join(self.complaints))
        return value

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            access = _ACCESS.search(line)
            if access is None:
                if not _HARMLESS.search(line):
                    self.complaints.append(line)
            elif access[1] != ADDRESS and access[4] != "left":
                self.answers[self._operation(access[2], access[3]), int(access[4])] += 1

    def _operation(self, method: str, path: str) -> str:
        operations = self._operations.get(path.replace(":path}", "}"))
        if operations is None:
            return "(another path)"
        return operations.get(method, "(another method)")


@contextmanager
def serving(directory: Path, origin: Origin) -> Generator[Server]:
    """Run a server with its home in *directory*, which pulls from *origin* whatever it is asked
    for; at the end nothing of it may be left.
    """
    _adopt_orphans()
    places = {name: directory / name.lower() for name in ("HOME", "TMPDIR", "LUNETTE_HOME")}
    for place in places.values():
        place.mkdir()
    # -P: of the checkout that may be the working directory, nothing is imported.
    program = (sys.executable, "-P", "-c", "from lunette.cli import main; main()", "serve")
    process = subprocess.Popen(
        [*program, "--host", "127.0.0.1", "--port", "0", "--state", str(directory / "state")],
        env={
            **_without_settings(),
            **{name: str(place) for name, place in places.items()},
            **_nowhere_else(origin),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        server = Server(process)
        yield server
        server.stop()
    finally:
        _end(process)
    _check_nothing_left(places["TMPDIR"])


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()  # so that it takes its sandboxes along, where something went wrong
    try:
        process.wait(_GUARD)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _without_settings() -> dict[str, str]:
    ours = ("LUNETTE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "DOCKER_CONFIG")
    return {k: v for k, v in os.environ.items() if not k.upper().startswith(ours)}


def _nowhere_else(origin: Origin) -> dict[str, str]:
    """Return settings by which no request leaves this machine, whatever is to be pulled."""
    proxies = {f"{scheme}_PROXY": f"http://{origin.closed}" for scheme in ("HTTP", "HTTPS", "ALL")}
    return {"LUNETTE_REGISTRY_MIRRORS": f"docker.io={origin.host}", **proxies, "NO_PROXY": ""}


def _adopt_orphans() -> None:
    """Become the parent of whatever the server leaves behind."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _check_nothing_left(directory: Path) -> None:
    deadline = time.monotonic() + _GUARD
    while left := [*_children(), *map(str, directory.iterdir())]:
        if time.monotonic() > deadline:
            raise FuzzError("left behind: " + ", ".join(left))
        time.sleep(0.05)


def _children() -> list[str]:
    """Name the processes that are ours now; those that have ended are buried."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return []
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [f"process {pid}" for pid in listed] or ["a process"]


def _operations() -> dict[str, dict[str, str]]:
    """Return what the contract has, by path and method."""
    document = cast("dict[str, Any]", yaml.safe_load(SPEC.read_text()))
    return {
        path: {
            method.upper(): operation["operationId"]
            for method, operation in methods.items()
            if "operationId" in operation
        }
        for path, methods in document["paths"].items()
    }
