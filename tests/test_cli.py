from __future__ import annotations

import contextlib
import os
import resource
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")

GUARD = 60.0
LUNETTE = [sys.executable, "-c", "from lunette.cli import main; main()"]


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LUNETTE_API_KEY", "LUNETTE_BASE_URL", "LUNETTE_ENGINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LUNETTE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")


def _lunette(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options = {"input": b"", **options}
    return subprocess.run([*LUNETTE, *arguments], capture_output=True, timeout=GUARD, **options)


def test_run_passes_streams_and_exit_code_through() -> None:
    script = "cat; echo err >&2; exit 7"
    done = _lunette("run", "-i", "--", "sh", "-c", script, input=b"in\xff\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in\xff\n", b"err\n")


def test_run_does_not_wait_for_an_input_that_was_not_asked_for() -> None:
    reading, writing = os.pipe()  # which nobody closes
    try:
        done = _lunette("run", "--", "sh", "-c", "cat; echo end", input=None, stdin=reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stdout) == (0, b"end\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("flags", ["", "-i"])
def test_run_with_closed_streams(closed: str, flags: str) -> None:
    line = shlex.join(LUNETTE) + f" run {flags} -- sh -c 'cat; echo out; echo err >&2; exit 3'"
    done = subprocess.run(
        ["sh", "-c", f"{line} {closed}"], input=b"", capture_output=True, timeout=GUARD
    )
    parts = closed.split()
    expected = (b"" if ">&-" in parts else b"out\n", b"" if "2>&-" in parts else b"err\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, *expected)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--", ""], b"command must name a program"),
        (["--", "echo", os.fsdecode(b"\xff")], b"command[1] cannot be written as UTF-8"),
        (["-e", "=1", "--", "true"], b"environment: '' is no name"),
        (["-e", b"A=\xff", "--", "true"], b"service.environment.A cannot be written as UTF-8"),
        (["--image", b"\xff", "--", "true"], b"service.image cannot be written as UTF-8"),
    ],
)
def test_run_with_arguments_that_cannot_be_sent(arguments: list[str | bytes], says: bytes) -> None:
    done = _lunette("run", *arguments)
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.startswith(b"lunette: " + says) and b"Traceback" not in done.stderr


def test_run_needs_no_dashes() -> None:
    done = _lunette("run", "sh", "-c", "echo $0 --env $1", "--image", "-e")
    assert done.stdout == b"--image --env -e\n"


def test_run_gives_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "here")
    monkeypatch.setenv("SECRET", "s3cret")
    done = _lunette(
        *("run", "-e", "A=1=2", "--env", "FROM_HERE", "-e", "NOT_SET"),
        *("--", "sh", "-c", 'echo "$A $FROM_HERE ${NOT_SET-unset} ${SECRET-unset}"'),
    )
    assert done.stdout == b"1=2 here unset unset\n"


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("kill -TERM $$", 143), ("exec nonexistent", 127)]
)
def test_run_exits_as_the_command(command: str, code: int) -> None:
    assert _lunette("run", "--", "sh", "-c", command).returncode == code


def test_run_says_what_is_our_fault() -> None:
    done = _lunette("run", "--image", "no image", "--", "true")
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"lunette: " in done.stderr and b"'no image'" in done.stderr
    assert b"Traceback" not in done.stderr


def test_run_against_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_BASE_URL", "http://127.0.0.1:9")
    done = _lunette("run", "--", "true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"lunette: ") and b"Traceback" not in done.stderr


def test_run_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_ENGINE", "nope")
    done = _lunette("run", "--", "true")
    assert done.returncode == 125
    assert b"there is no engine 'nope', only: auto, bubblewrap" in done.stderr


def test_run_without_a_command() -> None:
    assert _lunette("run").returncode == 2


def test_version() -> None:
    done = _lunette("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, b"lunette")


def test_no_typer() -> None:
    source = "import sys; sys.modules['typer'] = None; from lunette.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ("the lunette command needs typer: pip install 'lunette-sandbox[cli]'\n")


def test_no_server() -> None:
    source = (
        "import sys; sys.modules['uvicorn'] = None; from lunette.cli import main;"
        " sys.argv[1:] = ['serve']; main()"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs uvicorn: pip install 'lunette-sandbox[server]'" in done.stderr


class Serving:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: dict[str, str] = {}

    def line(self) -> None:
        assert self.process.stdout is not None
        name, _, value = self.process.stdout.readline().strip().partition("=")
        self.said[name] = value

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(GUARD)


@contextlib.contextmanager
def _serve(*arguments: str, lines: int = 1) -> Generator[Serving]:
    process = subprocess.Popen(
        [*LUNETTE, "serve", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    serving = Serving(process)
    try:
        for _ in range(lines):
            serving.line()
        yield serving
    finally:
        process.kill()
        process.communicate()


def test_serve_makes_a_key_and_prints_it() -> None:
    with _serve("--port", "0", lines=2) as server:
        url, key = server.said["LUNETTE_BASE_URL"], server.said["LUNETTE_API_KEY"]
        assert url.startswith("http://127.0.0.1:") and len(key) >= 40
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert client.get("/health").status_code == 200
            assert client.get("/sandboxes").status_code == 401
            assert client.get("/sandboxes", headers={"X-API-Key": key}).status_code == 200
        env = {**os.environ, **server.said}
        assert _lunette("run", "--", "echo", "there", env=env).stdout == b"there\n"
        assert server.end() == 0


@pytest.mark.parametrize("way", ["flag", "environment"])
def test_serve_does_not_print_a_key_that_was_given(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--port", "0"]
    if way == "flag":
        arguments += ["--api-key", "given-key"]
    else:
        monkeypatch.setenv("LUNETTE_API_KEY", "given-key")
    with _serve(*arguments) as server:
        url = server.said["LUNETTE_BASE_URL"]
        with httpx.Client(base_url=url, trust_env=False) as client:
            headers = {"X-API-Key": "given-key"}
            assert client.get("/sandboxes", headers=headers).status_code == 200
            assert client.get("/sandboxes").status_code == 401
        server.process.send_signal(signal.SIGTERM)
        out, err = server.process.communicate(timeout=GUARD)
        assert "given-key" not in out + err
        assert "GET /sandboxes" in err  # a server of your own logs who came


def test_serve_may_hold_many_descriptors(few_descriptors: int) -> None:
    with _serve("--port", "0", "--api-key", "k") as server:
        found = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert found == (few_descriptors, few_descriptors)


def test_serve_names_more_hosts() -> None:
    arguments = ("--port", "0", "--api-key", "k", "--allowed-host", "box.example")
    with _serve(*arguments) as server:
        url = server.said["LUNETTE_BASE_URL"]
        with httpx.Client(base_url=url, trust_env=False) as client:
            for host, status in (("box.example", 200), ("evil.example", 403)):
                assert client.get("/health", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_on_a_unix_socket(tmp_path: Path, number: int) -> None:
    path = tmp_path / "s"
    with _serve("--uds", str(path)) as server:
        assert server.said == {"LUNETTE_BASE_URL": f"unix://{path}"}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        transport = httpx.HTTPTransport(uds=str(path), verify=False, trust_env=False)
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            assert client.get("/sandboxes").status_code == 200
        env = {**os.environ, **server.said}
        assert _lunette("run", "--", "echo", "there", env=env).stdout == b"there\n"
        assert server.end(number) == 0
        assert not path.exists()


def test_serve_replaces_the_socket_of_a_dead_server(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with _serve("--uds", str(path)) as server:
        assert server.said and server.end() == 0


def test_serve_touches_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    done = _lunette("serve", "--uds", str(path))
    assert (done.returncode, path.read_text()) == (1, "mine")
    assert b"is there already, and no socket" in done.stderr
    path.unlink()
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        done = _lunette("serve", "--uds", str(path))
        assert done.returncode == 1 and b"another server listens on" in done.stderr
        assert path.exists()


def test_serve_where_it_cannot(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = _lunette("serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert b"lunette: cannot listen on 127.0.0.1" in done.stderr
    assert b"Traceback" not in done.stderr
    done = _lunette("serve", "--uds", str(tmp_path / "no" / "s"))
    assert done.returncode == 1 and b"cannot listen" in done.stderr


def test_serve_without_an_engine() -> None:
    done = _lunette("serve", "--port", "0", "--engine", "nope")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"lunette: there is no engine 'nope', only: auto, bubblewrap" in done.stderr
    assert b"Traceback" not in done.stderr
