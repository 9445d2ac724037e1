"""Debian's `docker-registry` as a process of this run, on a loopback port and a directory that
goes with it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from attrs import frozen

__all__ = ["PASSWORD", "PROGRAM", "USER", "Registry", "missing", "serving"]

PROGRAM = "docker-registry"
USER, PASSWORD = "reader", "p:ss w\u00f6rd"
"""Who may read a registry with a password, and its password, which has a colon and two bytes."""

_HASH = "$2y$04$abcdefghijklmnopqrstuuRy83sFrDCc/bnOGxnuNhVRD3NK54qoW"
_SECONDS = 10.0


@frozen
class Registry:
    """A registry that runs; *host* is `127.0.0.1:port`."""

    host: str
    pid: int
    log: deque[str]
    """The last lines of what it says."""

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://{self.host}"

    @property
    def mirror(self) -> str:
        """Return the setting by which a server asks here for images of Docker Hub."""
        return f"docker.io={self.host}"


def missing() -> str | None:
    """Say what this machine lacks to run a registry, or None."""
    lacking = [program for program in (PROGRAM, "setpriv") if shutil.which(program) is None]
    return f"not installed here: {', '.join(lacking)}" if lacking else None


@contextmanager
def serving(*, password: bool = False) -> Generator[Registry]:
    """Run a registry, which with *password* lets only USER in, by basic authentication."""
    with tempfile.TemporaryDirectory(prefix="t-registry-") as directory:
        config = _configured(Path(directory), password=password)
        # It must not outlive a run that is killed.
        command = ["setpriv", "--pdeathsig", "KILL", PROGRAM, "serve", str(config)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            with _listening(process) as registry:
                yield registry
        finally:
            process.terminate()
            process.wait(_SECONDS)


@contextmanager
def _listening(process: subprocess.Popen[str]) -> Generator[Registry]:
    assert process.stderr is not None
    log: deque[str] = deque(maxlen=500)
    with process.stderr as lines:
        host = _host(lines, log)
        # A full pipe would stop it.
        reader = threading.Thread(target=log.extend, args=(lines,), name=f"log of {host}")
        reader.start()
        try:
            yield Registry(host, process.pid, log)
        finally:
            process.terminate()
            reader.join()


def _host(lines: IO[str], log: deque[str]) -> str:
    """Wait until it listens; it chose the port itself."""
    for line in lines:
        log.append(line)
        if found := re.search(r"listening on ([0-9.]+:[0-9]+)", line):
            return found[1]
    raise RuntimeError("the registry did not start:\n" + "".join(log))


def _configured(directory: Path, *, password: bool) -> Path:
    content: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "storage")},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": "127.0.0.1:0", "relativeurls": True, "secret": "of the tests"},
    }
    if password:
        users = directory / "htpasswd"
        users.write_text(f"{USER}:{_HASH}\n")
        content["auth"] = {"htpasswd": {"realm": "tests", "path": str(users)}}
    config = directory / "config.yml"
    config.write_text(json.dumps(content))  # JSON is YAML
    return config
