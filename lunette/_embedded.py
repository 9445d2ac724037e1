"""The embedded server: one per client process, started by the first client that needs it.

The client binds and listens, so that nobody polls for the server's start; the server ends when its
client does.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import EmbeddedServerError

__all__ = ["EmbeddedServer", "distribution", "ensure"]

logger = logging.getLogger(__name__)

_STOP_SECONDS = 25.0  # longer than a server takes to close
_LOG_TAIL = 4000
_LONGEST_SOCKET_PATH = 100
_SERVER_MODULES = ("httptools", "jsonschema_rs", "starlette", "uvicorn", "yaml")


class EmbeddedServer:
    """A server that runs on this machine for one client process."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.socket_path = str(directory / "sock")
        self.pid = process.pid
        self._directory = directory
        self._process = process
        self._owner = os.getpid()
        self._pidfd = _open_pidfd(process.pid)
        self._stopping = threading.Lock()

    def __repr__(self) -> str:
        return f"EmbeddedServer(pid={self.pid}, socket_path={self.socket_path!r})"

    def alive(self) -> bool:
        """Say whether the server process lives; also right in a forked child of its client."""
        if os.getpid() == self._owner:
            return self._process.poll() is None
        if self._pidfd is not None:
            return not select.select([self._pidfd], [], [], 0)[0]
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return True
        return False

    def failure(self) -> str | None:
        """Say how the server died, with the end of its log; None while it lives."""
        if self.alive():
            return None
        code = self._process.returncode if os.getpid() == self._owner else None
        how = "" if code is None else _describe_exit(code)
        tail = self._log_tail()
        return f"the embedded server ended{how}" + (f"; its log ends with:\n{tail}" if tail else "")

    def stop(self) -> None:
        """End the server and every sandbox of it; in a forked child of its client, do nothing."""
        if os.getpid() != self._owner:
            return
        with self._stopping:
            self._terminate()
            self._close_pidfd()
        # The server does this itself unless it was killed.
        _remove(self._directory)

    def disown(self) -> None:
        """Leave the server to the parent process; called in a forked child."""
        # Else Popen warns at the end of the child that "its" process still runs.
        self._process.returncode = 0
        self._stopping = threading.Lock()

    def _terminate(self) -> None:
        if self._process.poll() is not None:
            return
        self._process.terminate()
        if self._wait(_STOP_SECONDS):
            return
        self._process.kill()
        self._process.wait()

    def _wait(self, seconds: float) -> bool:
        if self._pidfd is not None:  # Popen.wait(timeout) polls with pauses of up to 50 ms
            if not select.select([self._pidfd], [], [], seconds)[0]:
                return False
            self._process.wait()
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _close_pidfd(self) -> None:
        if self._pidfd is None:
            return
        os.close(self._pidfd)
        self._pidfd = None

    def _log_tail(self) -> str:
        try:
            text = (self._directory / "server.log").read_text(errors="replace")
        except OSError:
            return ""
        return text[-_LOG_TAIL:].strip()


_lock = threading.Lock()
_current: EmbeddedServer | None = None


def ensure() -> EmbeddedServer:
    """Return this process's server; start one if there is none or it died.

    Returns before the server is up: a connection to its socket waits until it is.
    """
    global _current
    with _lock:
        if _current is not None and _current.alive():
            return _current
        if _current is not None:
            _current.stop()
        _current = _start()
        return _current


def _start() -> EmbeddedServer:
    _check_requirements()
    from lunette._scratch import Scratch

    scratch = Scratch.create(mode=0o700)
    try:
        process = _spawn(scratch.path, scratch.fd)
    except BaseException:
        scratch.remove()
        raise
    scratch.close()
    server = EmbeddedServer(scratch.path, process)
    logger.info("started the embedded server, pid %d, %s", server.pid, server.socket_path)
    return server


def _spawn(directory: Path, lock_fd: int) -> subprocess.Popen[bytes]:
    log_fd = os.open(directory / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with _listen(directory / "sock") as listener:
            arguments = [str(n) for n in (listener.fileno(), lock_fd, os.getpid())]
            return subprocess.Popen(
                [*_interpreter(), "-m", "lunette.server", *arguments, str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                pass_fds=(listener.fileno(), lock_fd),
                start_new_session=True,
                cwd="/",
                env=_environment(),
            )
    finally:
        os.close(log_fd)


def _listen(path: Path) -> socket.socket:
    if len(os.fsencode(path)) >= _LONGEST_SOCKET_PATH:
        raise _cannot_start(
            f"{path} is too long for a Unix socket: set TMPDIR to a shorter directory"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(2048)
    except BaseException:
        listener.close()
        raise
    return listener


def _interpreter() -> list[str]:
    """Return this Python, isolated as it is now; -P keeps the working directory from it."""
    flags = ["-P"]
    if sys.flags.no_user_site:
        flags.append("-s")
    return [sys.executable, *flags]


def _environment() -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k != "LUNETTE_API_KEY"}
    if sys.flags.ignore_environment:
        env = {k: v for k, v in env.items() if not k.startswith("PYTHON")}
    missing = [path for path in _package_parents() if not _is_found_anyway(path, env)]
    if missing:
        paths = [env["PYTHONPATH"]] if env.get("PYTHONPATH") else []
        env["PYTHONPATH"] = os.pathsep.join([*paths, *missing])
    return env


def _package_parents() -> list[str]:
    """Return where lunette comes from, which the -P of a checkout would not find."""
    return [str(Path(__file__).resolve().parents[1])]


def _is_found_anyway(path: str, env: dict[str, str]) -> bool:
    import site

    known = [*site.getsitepackages(), site.getusersitepackages()]
    # An entry that is relative means another directory in the server, whose cwd is the root.
    known += [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if Path(p).is_absolute()]
    return any(os.path.realpath(p) == path for p in known)


def _check_requirements() -> None:
    if sys.platform == "win32":
        raise _cannot_start(
            "the embedded server does not run on Windows: give base_url or LUNETTE_BASE_URL"
        )
    if not sys.executable:
        raise _cannot_start(
            "sys.executable is empty, so that no server can be started:"
            " give base_url or LUNETTE_BASE_URL"
        )
    from importlib.util import find_spec

    missing = [name for name in _SERVER_MODULES if find_spec(name) is None]
    if missing:
        raise _cannot_start(
            f"the embedded server needs {', '.join(missing)}:"
            f" pip install '{distribution()}[server]', or give base_url or LUNETTE_BASE_URL"
        )


def _cannot_start(message: str) -> EmbeddedServerError:
    from .errors import EmbeddedServerError  # and httpx with it, which a start has no use for

    return EmbeddedServerError(message)


def distribution() -> str:
    """Return the name under which lunette is installed, for messages."""
    from importlib.metadata import packages_distributions

    return next(iter(packages_distributions().get("lunette", [])), "lunette-sandbox")


def _open_pidfd(pid: int) -> int | None:
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or an old kernel
        return os.pidfd_open(pid)
    return None


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f" with exit code {code}"
    with contextlib.suppress(ValueError):
        return f" by {signal.Signals(-code).name}"
    return f" by signal {-code}"


def _remove(directory: Path) -> None:
    from lunette._scratch import remove_tree

    try:
        remove_tree(directory)
    except OSError as error:
        logger.warning("could not remove %s: %s", directory, error)


def _stop_at_exit() -> None:
    if _current is None:
        return
    from ._leftovers import clean_up

    try:
        clean_up()  # which asks the server what is left there
    finally:
        _current.stop()


def _forget_in_child() -> None:
    global _current, _lock
    _lock = threading.Lock()
    if _current is None:
        return
    _current.disown()
    _current = None


atexit.register(_stop_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
