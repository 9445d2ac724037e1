from __future__ import annotations

import contextlib
import os
import pty
import resource
import select
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette import EmbeddedServerError, _embedded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")

GUARD = 30.0


@pytest.fixture
def server() -> Iterator[_embedded.EmbeddedServer]:
    found = _embedded.ensure()
    yield found
    found.stop()


def _client(socket_path: str) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=socket_path, verify=False, trust_env=False)
    return httpx.Client(transport=transport, base_url="http://localhost", timeout=GUARD)


def _healthy(socket_path: str) -> bool:
    with _client(socket_path) as client:
        return client.get("/health").status_code == 200


def _mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


class Client:
    """A client process that runs *body*, which can print lines and wait for ours."""

    PRELUDE = """
        import os, signal, sys, time
        from lunette import _embedded
        server = _embedded.ensure()
        print(server.pid, server.socket_path, flush=True)
    """

    def __init__(self, body: str = "sys.stdin.readline()", **options: Any) -> None:
        source = textwrap.dedent(self.PRELUDE) + textwrap.dedent(body)
        self.process = subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        pid, self.socket_path = self.line().split()
        self.server_pid = int(pid)
        self.server = os.pidfd_open(self.server_pid)
        self.directory = Path(self.socket_path).parent
        assert _healthy(self.socket_path)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        os.close(self.server)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def server_ended(self) -> bool:
        return bool(select.select([self.server], [], [], 0)[0])

    def assert_nothing_is_left(self) -> None:
        assert select.select([self.server], [], [], GUARD)[0], "the server outlives its client"
        _until(lambda: not self.directory.exists())


def test_one_server_for_a_process(server: _embedded.EmbeddedServer) -> None:
    found: list[_embedded.EmbeddedServer] = []
    threads = [threading.Thread(target=lambda: found.append(_embedded.ensure())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(s) for s in found} == {id(server)}
    assert server.alive() and server.failure() is None
    assert _healthy(server.socket_path)


def test_nobody_else_can_reach_it(server: _embedded.EmbeddedServer) -> None:
    directory = Path(server.socket_path).parent
    assert _mode(directory) == 0o700
    assert _mode(server.socket_path) == 0o600
    assert _mode(directory / "server.log") == 0o600
    assert len(server.socket_path) < 100


def test_stop_leaves_nothing(server: _embedded.EmbeddedServer) -> None:
    assert _healthy(server.socket_path)
    server.stop()
    server.stop()
    assert not server.alive()
    assert not Path(server.socket_path).parent.exists()
    assert server.failure() == "the embedded server ended with exit code 0"


def test_a_stopped_server_is_followed_by_another(server: _embedded.EmbeddedServer) -> None:
    server.stop()
    another = _embedded.ensure()
    assert another.pid != server.pid and _healthy(another.socket_path)
    another.stop()


def test_a_killed_server_is_followed_by_another(server: _embedded.EmbeddedServer) -> None:
    assert _healthy(server.socket_path)
    os.kill(server.pid, signal.SIGKILL)
    _until(lambda: not server.alive())
    assert (server.failure() or "").startswith("the embedded server ended by SIGKILL")
    another = _embedded.ensure()
    assert another.pid != server.pid
    assert not Path(server.socket_path).parent.exists()
    assert _healthy(another.socket_path)
    another.stop()


def test_start_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lunette._embedded"):
        server = _embedded.ensure()
        _embedded.ensure()
    server.stop()
    assert len(caplog.records) == 1
    assert server.socket_path in caplog.text


def test_the_terminals_signals_are_the_clients(server: _embedded.EmbeddedServer) -> None:
    assert _healthy(server.socket_path)
    os.kill(server.pid, signal.SIGINT)
    os.kill(server.pid, signal.SIGHUP)
    assert _healthy(server.socket_path)


def test_no_command_inherits_ignored_signals(server: _embedded.EmbeddedServer) -> None:
    assert _healthy(server.socket_path)
    ignored = _status(server.pid)["SigIgn"]
    for number in (signal.SIGINT, signal.SIGHUP):
        assert not int(ignored, 16) & (1 << (number - 1))


def test_it_may_hold_many_descriptors_and_the_client_as_before(
    few_descriptors: int, server: _embedded.EmbeddedServer
) -> None:
    assert _healthy(server.socket_path)
    found = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert found == (few_descriptors, few_descriptors)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] < few_descriptors


def test_the_key_of_the_client_does_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_API_KEY", "s3cret-key")
    server = _embedded.ensure()
    try:
        assert _healthy(server.socket_path)
        assert b"s3cret-key" not in Path(f"/proc/{server.pid}/environ").read_bytes()
        assert Path(f"/proc/{server.pid}/cwd").readlink() == Path("/")
        assert Path(f"/proc/{server.pid}/fd/0").readlink() == Path("/dev/null")
    finally:
        server.stop()


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
    _until(lambda: not Path(f"/proc/{pid}").exists() or _status(int(pid))["State"][0] == "Z")
    _until(lambda: not Path(directory).exists())


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
        _until(lambda: not Path(f"/proc/{int(done.stdout)}").exists())
        _until(lambda: list(Path(directory).iterdir()) == [])


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
        assert _healthy(client.socket_path)
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


def test_warnings_are_none() -> None:
    source = textwrap.dedent(Client.PRELUDE) + "server.stop(); _embedded.ensure()"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", source], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


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
        assert _healthy(socket_path)
        screen.write(b"\x03")
        _read_until(screen, b"interrupted True\r\n")
        assert _healthy(socket_path)
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
        assert _healthy(socket_path)
        server = os.pidfd_open(int(server_pid))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
    assert select.select([server], [], [], GUARD)[0]
    os.close(server)
    _until(lambda: not Path(socket_path).parent.exists())


def test_a_server_whose_parent_is_another_ends_at_once() -> None:
    from lunette._scratch import Scratch

    scratch = Scratch.create()
    with _embedded._listen(scratch.path / "sock") as listener:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "lunette.server"]
            + [str(n) for n in (listener.fileno(), scratch.fd, 1)]
            + [str(scratch.path)],
            pass_fds=(listener.fileno(), scratch.fd),
            timeout=GUARD,
        )
    assert done.returncode == 0
    assert not scratch.path.exists()
    scratch.close()


def test_the_server_is_not_for_people() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lunette.server"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "lunette serve" in done.stderr


def test_a_server_that_dies_at_start_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    server = _embedded.ensure()
    _until(lambda: not server.alive())
    assert server.failure() == (
        "the embedded server ended with exit code 3; its log ends with:\nit is broken"
    )
    server.stop()


def test_missing_requirements_are_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(EmbeddedServerError) as caught:
        _embedded.ensure()
    assert "needs uvicorn, yaml: pip install 'lunette-sandbox[server]'" in str(caught.value)


def test_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(EmbeddedServerError, match=r"sys\.executable is empty"):
        _embedded.ensure()


def test_a_long_temporary_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(EmbeddedServerError, match="set TMPDIR"):
        _embedded.ensure()
    assert list(long.iterdir()) == []


def test_modules_of_the_working_directory_are_not_run(tmp_path: Path) -> None:
    for name in ("uvicorn", "yaml", "asyncio", "lunette"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run from the cwd')")
    path = [p for p in sys.path if p]
    source = f"import sys; sys.path[:] = {path!r}\n" + textwrap.dedent(Client.PRELUDE)
    source += textwrap.dedent(
        """
        import httpx
        transport = httpx.HTTPTransport(uds=server.socket_path)
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            print(client.get("/health").text)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert '{"status":"ok"}' in done.stdout, done.stderr


def test_what_is_imported_when() -> None:
    """The server pays for no client, and a client that only imports pays for no server."""
    for module, absent in (
        ("lunette.server.__main__", {"httpx", "lunette.client", "lunette.sandbox", "typer"}),
        ("lunette._embedded", {"httpx", "attrs", "asyncio", "uvicorn", "lunette._scratch"}),
    ):
        source = f"import sys, {module}; print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, check=True
        )
        assert not absent & set(done.stdout.split())


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _read_until(screen: Any, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        assert select.select([screen], [], [], GUARD)[0], seen
        seen += screen.read(4096)
    return seen
