from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from .command_line import GUARD, lunette, serve
from .command_line import unconfigured as unconfigured
from .embedded import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")


def test_version() -> None:
    done = lunette("--version")
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


def test_serve_makes_a_key_and_prints_it() -> None:
    with serve("--port", "0", lines=2) as server:
        url, key = server.said["LUNETTE_BASE_URL"], server.said["LUNETTE_API_KEY"]
        assert url.startswith("http://127.0.0.1:") and len(key) >= 40
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert client.get("/health").status_code == 200
            assert client.get("/sandboxes").status_code == 401
            assert client.get("/sandboxes", headers={"X-API-Key": key}).status_code == 200
        env = {**os.environ, **server.said}
        assert lunette("run", "--", "echo", "there", env=env).stdout == b"there\n"
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
    with serve(*arguments) as server:
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
    with serve("--port", "0", "--api-key", "k") as server:
        found = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert found == (few_descriptors, few_descriptors)


def test_serve_names_more_hosts() -> None:
    arguments = ("--port", "0", "--api-key", "k", "--allowed-host", "box.example")
    with serve(*arguments) as server:
        url = server.said["LUNETTE_BASE_URL"]
        with httpx.Client(base_url=url, trust_env=False) as client:
            for host, status in (("box.example", 200), ("evil.example", 403)):
                assert client.get("/health", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_on_a_unix_socket(tmp_path: Path, number: int) -> None:
    path = tmp_path / "s"
    with serve("--uds", str(path)) as server:
        assert server.said == {"LUNETTE_BASE_URL": f"unix://{path}"}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        transport = httpx.HTTPTransport(uds=str(path), verify=False, trust_env=False)
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            assert client.get("/sandboxes").status_code == 200
        env = {**os.environ, **server.said}
        assert lunette("run", "--", "echo", "there", env=env).stdout == b"there\n"
        assert server.end(number) == 0
        assert not path.exists()


def test_serve_lets_what_runs_come_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    transport = httpx.HTTPTransport(uds=str(path), verify=False, trust_env=False)
    with (
        serve("--uds", str(path), "--grace", "1h") as server,
        httpx.Client(transport=transport, base_url="http://localhost", timeout=GUARD) as client,
        ThreadPoolExecutor() as pool,
    ):
        place = f"/sandboxes/{uuid.uuid4()}"
        assert client.put(place, json={"service": {"image": "host"}}).status_code == 201

        def execute(command: str) -> httpx.Response:
            return client.post(f"{place}/exec", json={"command": command})

        first = pool.submit(execute, "> first; until [ -e go ]; do sleep 0.01; done; echo over")
        second = pool.submit(execute, "> second; sleep 1000")
        until(lambda: execute("test -e first -a -e second").json()["exit_code"] == 0)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: execute("true").status_code == 503)
        client.put(f"{place}/files", params={"path": "go"}, content=b"").raise_for_status()
        assert first.result(GUARD).json()["stdout"] == "over\n"
        assert server.process.poll() is None  # the other one still runs
        server.process.send_signal(signal.SIGTERM)
        assert second.result(GUARD).json()["code"] == "sandbox_lost"
        assert server.process.wait(GUARD) == 0


def test_serve_replaces_the_socket_of_a_dead_server(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serve("--uds", str(path)) as server:
        assert server.said and server.end() == 0


def test_serve_touches_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    done = lunette("serve", "--uds", str(path))
    assert (done.returncode, path.read_text()) == (1, "mine")
    assert b"is there already, and no socket" in done.stderr
    path.unlink()
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        done = lunette("serve", "--uds", str(path))
        assert done.returncode == 1 and b"another server listens on" in done.stderr
        assert path.exists()


def test_serve_where_it_cannot(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = lunette("serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert b"lunette: cannot listen on 127.0.0.1" in done.stderr
    assert b"Traceback" not in done.stderr
    done = lunette("serve", "--uds", str(tmp_path / "no" / "s"))
    assert done.returncode == 1 and b"cannot listen" in done.stderr


def test_serve_without_an_engine() -> None:
    done = lunette("serve", "--port", "0", "--engine", "nope")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"lunette: there is no engine 'nope', only: auto, bubblewrap" in done.stderr
    assert b"Traceback" not in done.stderr
