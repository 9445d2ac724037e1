"""A sandbox that isolates nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field

from .messages import gone, refusal


@define(eq=False)
class Sandbox:
    """A directory, and the commands that run in it."""

    id: str
    _parent: Path
    _running: set[subprocess.Popen[bytes]] = field(factory=set)
    _ended: bool = False
    _lock: threading.Lock = field(factory=threading.Lock)
    directory: Path = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.directory = self._parent / self.id
        self.directory.mkdir()

    def run(self, command: str) -> dict[str, Any]:
        """Run a command; where it says `/workspace`, it gets and shows the directory."""
        # A path and not a part of one: /workspace and /workspace/x, not /a/workspace or /workspaces
        there = re.sub(r"(?<![\w./-])/workspace(?![\w.-])", str(self.directory), command)
        with self._lock:
            if self._ended:
                raise gone()
            process = subprocess.Popen(
                ["/bin/sh", "-c", there],
                cwd=self.directory,
                env=_environment(self.directory),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            self._running.add(process)
        try:
            stdout, stderr = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        code = process.returncode
        return {
            "stdout": self._shown(stdout),
            "stderr": self._shown(stderr),
            "exit_code": code if code >= 0 else 128 - code,
        }

    def _shown(self, output: bytes) -> str:
        return output.decode(errors="replace").replace(str(self.directory), "/workspace")

    def path(self, path: str) -> Path:
        """Map a path of the sandbox to one of this machine."""
        there = os.path.normpath(os.path.join("/workspace", path))  # noqa: PTH118  # not of here
        if there != "/workspace" and not there.startswith("/workspace/"):
            raise refusal(400, f"{path} is not below /workspace")
        return self.directory / there.removeprefix("/workspace").lstrip("/")

    def end(self) -> None:
        """Kill what runs and remove the files."""
        with self._lock:
            self._ended = True
            for process in self._running:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)


def _environment(directory: Path) -> dict[str, str]:
    python = str(Path(sys.executable).parent)
    return {
        "PATH": os.pathsep.join([python, "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(directory),
        "LANG": "C.UTF-8",
    }
