"""Servers in processes of their own, whole or with walls taken out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import stage  # type: ignore[import-not-found, unused-ignore]

from lunette import LunetteClient

__all__ = ["SECRET", "Server", "serving"]

_WEAKENED = str(Path(__file__).with_name("weakened.py"))
SECRET = "lunette-test-secret-7f3a"


class Server:
    """A `lunette serve` in a process of its own, and a client of it."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path, mode: str) -> None:
        self.process = process
        self.directory = directory
        self.mode = mode
        self.client = LunetteClient(base_url=f"unix://{directory}/sock")

    @property
    def pid(self) -> int:
        return self.process.pid


@contextmanager
def serving(
    mode: str,
    *weaknesses: str,
    closed: bool = False,
    umask: int = 0o022,
    env: Mapping[str, str] | None = None,
) -> Generator[Server]:
    """Run a server as `root` or as an ordinary `user`, without the walls that *weaknesses* name;
    *env* is added to its environment.
    """
    directory = Path(tempfile.mkdtemp(prefix="test-isolation-"))
    directory.chmod(0o711)
    log = directory / "log"
    log.write_text(f"{SECRET}\n")
    log.chmod(0o666)  # what a descriptor could be reopened for
    command = [sys.executable, _WEAKENED, ",".join(weaknesses), "serve"]
    command += ["--uds", f"{directory}/sock"]
    if mode == "user" and stage.is_root():
        for path in (directory, log):
            os.chown(path, stage.ORDINARY, stage.ORDINARY)
        command = stage.as_user(command)
    elif closed:
        command = stage.below_a_closed_directory(command)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "TMPDIR": str(directory),  # so that what a killed server leaves goes with the test
        "LUNETTE_TEST_LOG": str(log),
        "LUNETTE_TEST_SECRET": SECRET,
        **(env or {}),
    }
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=errors,
            umask=umask,
        )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.fail(f"the server did not start: {log.read_text()}")
        server = Server(process, directory, mode)
        with server.client:
            yield server
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
        shutil.rmtree(directory)
