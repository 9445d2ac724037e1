"""The server ends when its client does, however that is."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

from .embedded import GUARD, Client, healthy, status, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")


def test_a_client_that_ends_takes_its_server_along() -> None:
    with Client() as client:
        client.go_on()
        assert client.process.wait(GUARD) == 0
        assert client.server_ended()  # atexit waits for it
        assert not client.directory.exists()


def test_a_client_that_fails_takes_its_server_along() -> None:
    with Client("sys.stdin.readline(); raise SystemExit(3)") as client:
        client.go_on()
        assert client.process.wait(GUARD) == 3
        client.assert_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_client_takes_its_server_along(number: int) -> None:
    with Client() as client:
        client.process.send_signal(number)
        client.assert_nothing_is_left()


def test_a_killed_client_takes_its_server_along_though_a_forked_child_lives() -> None:
    body = """
        child = os.fork()
        if child == 0:
            sys.stdin.readline()
            os._exit(0)
        print(child, flush=True)
        os.wait()
    """
    with Client(body) as client:
        child = os.pidfd_open(int(client.line()))
        client.process.kill()
        client.assert_nothing_is_left()
        assert not select.select([child], [], [], 0)[0], "the child should have been alive"
        os.close(child)
        client.go_on()


def test_a_client_that_dies_before_its_server_is_up() -> None:
    source = """
        import os, signal
        from lunette import _embedded
        server = _embedded.ensure()
        print(server.pid, os.path.dirname(server.socket_path), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], stdout=subprocess.PIPE, text=True
    )
    pid, directory = done.stdout.split()
    until(lambda: not Path(f"/proc/{pid}").exists() or status(int(pid))["State"][0] == "Z")
    until(lambda: not Path(directory).exists())


@pytest.mark.parametrize("end", ["pass", "os.kill(os.getpid(), signal.SIGKILL)"])
@pytest.mark.parametrize("milliseconds", [0, 50, 100, 150, 200, 300, 400, 600, 1000])
def test_whenever_a_client_ends_nothing_is_left(milliseconds: int, end: str) -> None:
    source = f"""
        import os, signal, time
        from lunette import _embedded
        server = _embedded.ensure()
        print(server.pid, flush=True)
        time.sleep({milliseconds / 1000})
        {end}
    """
    with tempfile.TemporaryDirectory(prefix="t-") as directory:
        Path(directory).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(source)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": directory},
        )
        until(lambda: not Path(f"/proc/{int(done.stdout)}").exists())
        until(lambda: list(Path(directory).iterdir()) == [])


def test_a_forked_child_uses_the_parents_server_and_leaves_it_alone() -> None:
    body = """
        child = os.fork()
        if child == 0:
            assert server.alive()
            server.stop()
            assert server.alive()
            assert server.failure() is None
            own = _embedded.ensure()
            assert own.pid != server.pid and own is not server
            print(own.pid, own.socket_path, flush=True)
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        print(status, server.alive(), flush=True)
        sys.stdin.readline()
    """
    with Client(body) as client:
        own_pid, own_socket = client.line().split()
        assert client.line() == "0 True"
        assert not Path(own_socket).parent.exists()
        assert not Path(f"/proc/{own_pid}").exists()
        assert healthy(client.socket_path)
        client.go_on()
        assert client.process.wait(GUARD) == 0


def test_a_forked_child_sees_the_parents_server_die() -> None:
    body = """
        child = os.fork()
        if child == 0:
            sys.stdin.readline()
            print(server.alive(), server.failure(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """
    with Client(body) as client:
        os.kill(client.server_pid, signal.SIGKILL)
        assert select.select([client.server], [], [], GUARD)[0]
        client.go_on()
        assert client.line() == "False the embedded server ended"


def test_a_forked_child_ends_without_a_word() -> None:
    body = """
        child = os.fork()
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        sys.stdin.readline()
    """
    with Client(body, stderr=subprocess.PIPE) as client:
        client.go_on()
        assert client.process.wait(GUARD) == 0
        assert client.process.stderr is not None
        assert client.process.stderr.read() == ""
        client.process.stderr.close()


def test_control_c_in_a_terminal_leaves_the_server_alive() -> None:
    source = textwrap.dedent(Client.PRELUDE) + textwrap.dedent(
        """
        try:
            print("waiting", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted", server.alive(), flush=True)
            sys.stdin.readline()
        """
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", source])
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        seen = _read_until(screen, b"waiting\r\n")
        server_pid, socket_path = seen.decode().split()[:2]
        assert healthy(socket_path)
        screen.write(b"\x03")
        _read_until(screen, b"interrupted True\r\n")
        assert healthy(socket_path)
        server = os.pidfd_open(int(server_pid))
        screen.write(b"\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert select.select([server], [], [], GUARD)[0]
        os.close(server)


def test_a_terminal_that_is_closed_takes_the_client_and_so_the_server() -> None:
    source = textwrap.dedent(Client.PRELUDE) + "time.sleep(60)"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", source])
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        server_pid, socket_path = _read_until(screen, b"sock\r\n").decode().split()
        assert healthy(socket_path)
        server = os.pidfd_open(int(server_pid))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
    assert select.select([server], [], [], GUARD)[0]
    os.close(server)
    until(lambda: not Path(socket_path).parent.exists())


def _read_until(screen: Any, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        assert select.select([screen], [], [], GUARD)[0], seen
        seen += screen.read(4096)
    return seen
