from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lunette import EmbeddedServerError, _embedded

from .embedded import GUARD, Client, healthy, status, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux")


@pytest.fixture
def server() -> Iterator[_embedded.EmbeddedServer]:
    found = _embedded.ensure()
    yield found
    found.stop()


def _mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_one_server_for_a_process(server: _embedded.EmbeddedServer) -> None:
    found: list[_embedded.EmbeddedServer] = []
    threads = [threading.Thread(target=lambda: found.append(_embedded.ensure())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(s) for s in found} == {id(server)}
    assert server.alive() and server.failure() is None
    assert healthy(server.socket_path)


def test_nobody_else_can_reach_it(server: _embedded.EmbeddedServer) -> None:
    directory = Path(server.socket_path).parent
    assert _mode(directory) == 0o700
    assert _mode(server.socket_path) == 0o600
    assert _mode(directory / "server.log") == 0o600
    assert len(server.socket_path) < 100


def test_stop_leaves_nothing(server: _embedded.EmbeddedServer) -> None:
    assert healthy(server.socket_path)
    server.stop()
    server.stop()
    assert not server.alive()
    assert not Path(server.socket_path).parent.exists()
    assert server.failure() == "the embedded server ended with exit code 0"


def test_a_stopped_server_is_followed_by_another(server: _embedded.EmbeddedServer) -> None:
    server.stop()
    another = _embedded.ensure()
    assert another.pid != server.pid and healthy(another.socket_path)
    another.stop()


def test_a_killed_server_is_followed_by_another(server: _embedded.EmbeddedServer) -> None:
    assert healthy(server.socket_path)
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not server.alive())
    assert (server.failure() or "").startswith("the embedded server ended by SIGKILL")
    another = _embedded.ensure()
    assert another.pid != server.pid
    assert not Path(server.socket_path).parent.exists()
    assert healthy(another.socket_path)
    another.stop()


def test_start_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lunette._embedded"):
        server = _embedded.ensure()
        _embedded.ensure()
    server.stop()
    assert len(caplog.records) == 1
    assert server.socket_path in caplog.text


def test_the_terminals_signals_are_the_clients(server: _embedded.EmbeddedServer) -> None:
    assert healthy(server.socket_path)
    os.kill(server.pid, signal.SIGINT)
    os.kill(server.pid, signal.SIGHUP)
    assert healthy(server.socket_path)


def test_no_command_inherits_ignored_signals(server: _embedded.EmbeddedServer) -> None:
    assert healthy(server.socket_path)
    ignored = status(server.pid)["SigIgn"]
    for number in (signal.SIGINT, signal.SIGHUP):
        assert not int(ignored, 16) & (1 << (number - 1))


def test_it_may_hold_many_descriptors_and_the_client_as_before(
    few_descriptors: int, server: _embedded.EmbeddedServer
) -> None:
    assert healthy(server.socket_path)
    found = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert found == (few_descriptors, few_descriptors)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] < few_descriptors


def test_the_key_of_the_client_does_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_API_KEY", "s3cret-key")
    server = _embedded.ensure()
    try:
        assert healthy(server.socket_path)
        assert b"s3cret-key" not in Path(f"/proc/{server.pid}/environ").read_bytes()
        assert Path(f"/proc/{server.pid}/cwd").readlink() == Path("/")
        assert Path(f"/proc/{server.pid}/fd/0").readlink() == Path("/dev/null")
    finally:
        server.stop()


def test_warnings_are_none() -> None:
    source = textwrap.dedent(Client.PRELUDE) + "server.stop(); _embedded.ensure()"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", source], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


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
    until(lambda: not server.alive())
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
