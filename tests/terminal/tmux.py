"""A user at a terminal: tmux, with keys that are pressed and a screen that is read."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["GUARD", "Tmux", "window"]

GUARD = 60.0
_LOOK_SECONDS = 0.02
_PROMPT = "here%"
_SETTINGS = """
set -g status off
set -g default-terminal screen-256color
set -g history-limit 5000
set -s escape-time 0
"""


class Tmux:
    """One window, with a shell in it that knows `lunette`."""

    def __init__(self, directory: Path, bend: str, env: Mapping[str, str]) -> None:
        self._directory = directory
        self._env = {k: v for k, v in os.environ.items() if k not in {"TMUX", "TMUX_PANE"}}
        self._env |= {"TMUX_TMPDIR": str(directory), **env}
        (directory / "settings").write_text(_SETTINGS)
        main = shlex.join([sys.executable, "-c", f"{bend}\nfrom lunette.cli import main; main()"])
        (directory / "startup").write_text(f"PS1='{_PROMPT} '\nlunette() {{ {main} \"$@\"; }}\n")
        shell = ("bash", "--rcfile", str(directory / "startup"), "-i")
        self.run("new-session", "-d", "-x", "80", "-y", "24", *shell)
        self.wait_for(_PROMPT)

    def run(self, *arguments: str) -> str:
        """Give tmux a command."""
        command = ["tmux", "-L", "t", "-f", str(self._directory / "settings"), *arguments]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=GUARD)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def type(self, text: str, *keys: str) -> None:
        """Type *text*, and then press *keys*, such as Enter, C-c or Escape."""
        if text:
            self.run("send-keys", "-l", "--", text)
        if keys:
            self.run("send-keys", *keys)

    def enter(self, line: str) -> None:
        """Type a line."""
        self.type(line, "Enter")

    def paste(self, text: bytes) -> None:
        """Paste *text* as a terminal does, with a return for each line's end."""
        file = self._directory / "pasted"
        file.write_bytes(text)
        self.run("load-buffer", str(file))
        self.run("paste-buffer", "-d")

    def resize(self, rows: int, columns: int) -> None:
        """Make the window another size."""
        self.run("resize-window", "-x", str(columns), "-y", str(rows))

    def close(self) -> None:
        """Close the window, and with it tmux."""
        self.run("kill-window")

    def screen(self) -> str:
        """Return what is on the screen."""
        return self.run("capture-pane", "-p")

    def history(self) -> str:
        """Return what is on the screen and what has left it, with lines that were cut joined."""
        return self.run("capture-pane", "-p", "-J", "-S", "-")

    def wait_for(self, pattern: str) -> str:
        """Wait until a line on the screen begins with *pattern*, and return what matched."""
        deadline = time.monotonic() + GUARD
        while True:
            screen = self.screen()
            if found := re.search(f"^{pattern}", screen, re.MULTILINE):
                return found[0]
            assert time.monotonic() < deadline, f"no {pattern!r} on:\n{screen}"
            time.sleep(_LOOK_SECONDS)

    def modes(self) -> str:
        """Ask for the modes of the terminal, at the shell's prompt."""
        self.enter("clear; stty -g")
        return self.wait_for(r"[0-9a-f]+(:[0-9a-f]+){10,}")

    def programs(self) -> list[int]:
        """Return the shell's process, and that of the program which it has started."""
        shell = self.run("display-message", "-p", "#{pane_pid}").strip()
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text()
        return [int(pid) for pid in (shell, *children.split())]


@contextmanager
def window(*, bend: str = "", **env: str) -> Generator[Tmux]:
    """Open a window in which *env* is set, and close it; the lines *bend* change `lunette`."""
    # Short, since it is the beginning of a socket's path.
    with tempfile.TemporaryDirectory(prefix="t-") as directory:
        tmux = Tmux(Path(directory), bend, env)
        try:
            yield tmux
        finally:
            command = ["tmux", "-L", "t", "kill-server"]
            environment = {**os.environ, "TMUX_TMPDIR": directory}
            subprocess.run(command, env=environment, capture_output=True, timeout=GUARD)
