"""A real server under the faults."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from attrs import frozen

from .settings import GUARD


@frozen
class Server:
    """A `lunette serve` in a process of its own."""

    path: str
    pid: int
    log: Path

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def fork_server(self) -> int:
        """Return the process that starts every sandbox."""
        for entry in Path("/proc").glob("[0-9]*"):
            if command_line(entry).startswith("lunette-forkserver"):
                stat = (entry / "stat").read_text()
                if int(stat.rpartition(")")[2].split()[1]) == self.pid:
                    return int(entry.name)
        raise AssertionError("it is not there")


@contextlib.contextmanager
def serving(bend: str = "") -> Generator[Server]:
    """Run a server that the lines *bend* may change before; its log must tell of no accident."""
    main = f"{bend}\nfrom lunette.cli import main; main()"
    with tempfile.TemporaryDirectory(prefix="t-") as directory:
        log = Path(directory, "log")
        command = [sys.executable, "-c", main, "serve", "--uds", f"{directory}/s"]
        command += ["--state", f"{directory}/state", "--engine", "bubblewrap"]
        with log.open("wb") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), log.read_text()
            yield Server(f"{directory}/s", process.pid, log)
        finally:
            process.terminate()
            process.wait(GUARD)
            assert process.stdout is not None
            process.stdout.close()
        assert process.returncode == 0
        assert "Traceback" not in log.read_text(), log.read_text()


def command_line(process: Path) -> str:
    """Return what a *process* below /proc was started with, or nothing."""
    try:
        return (process / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:  # it ended
        return ""
