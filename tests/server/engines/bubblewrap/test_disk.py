"""Sandboxes and the disk that they may use, on servers of root and of an ordinary user."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from lunette import (
    APIError,
    ExecResult,
    LunetteClient,
    NotSupportedError,
    Sandbox,
    SandboxDestroyedError,
    SandboxFailedError,
)
from lunette._retry import RetryPolicy

from ....isolation import stage
from ....isolation.servers import Server, serving

LIMIT, SMALL = "64m", 8 << 20
GUARD = 60.0
# Each writes more than a sandbox of 8 MiB may have, in files that each are small enough.
_FILES = "for n in 1 2 3; do head -c 4m /dev/zero > {directory}/$n; done"
_UNNAMED = """
import os, time
files = []
for n in range(3):
    files.append(open(f"/workspace/{n}", "wb", buffering=0))
    files[-1].write(bytes(4 << 20))
    os.unlink(f"/workspace/{n}")
time.sleep(60)
"""
_DEEP = """
import os
for n in range(3000):
    os.mkdir("d")
    os.chdir("d")
"""
_MANY = """
for n in range(800):
    with open(str(n), "wb") as file:
        file.write(bytes(16 << 10))
"""
HOGS: dict[str, tuple[dict[str, Any], str | list[str]]] = {
    "workspace": ({}, _FILES.format(directory="/workspace")),
    "home": ({}, _FILES.format(directory="/root")),
    "working directory": ({"working_dir": "/made/for it"}, _FILES.format(directory=".")),
    "closed": ({}, f"mkdir d; {_FILES.format(directory='d')}; chmod 0 d/1 d"),
    "unnamed": ({}, ["python", "-c", _UNNAMED]),
    "deep": ({}, ["python", "-c", _DEEP]),
    "many": ({}, ["python", "-c", _MANY]),
    "its own command": ({"command": ["sh", "-c", _FILES.format(directory=".") + "; sleep 60"]}, ""),
}
INNOCENT: dict[str, tuple[dict[str, Any], str | list[str]]] = {
    "linked": ({}, "head -c 6m /dev/zero > x; for n in 1 2 3 4 5; do ln x $n; done"),
    "sparse": ({}, "truncate -s 8m 1 2 3"),
    "in memory": ({}, f"{_FILES.format(directory='/tmp')}; {_FILES.format(directory='/dev/shm')}"),
    "in a tmpfs": ({"tmpfs": "/cache"}, _FILES.format(directory="/cache")),
    "removed": ({}, "for n in 1 2 3 4 5; do head -c 3m /dev/zero > x; rm x; done"),
    "has more": ({"storage_opt": {"size": "32m"}}, _FILES.format(directory=".")),
    "has all": ({"storage_opt": {}}, "for n in 1 2 3 4; do head -c 10m /dev/zero > $n; done"),
}


class Ends:
    """What became of each sandbox, after every hog was ended."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.errors: dict[str, SandboxDestroyedError] = {}
        self.results: dict[str, ExecResult] = {}

    def run(self) -> None:
        names = [*INNOCENT, *HOGS]
        with ThreadPoolExecutor(8) as threads:
            made = dict(zip(names, threads.map(self._made, names), strict=True))
            results = threads.map(lambda name: _written(made[name], INNOCENT[name]), INNOCENT)
            self.results = dict(zip(INNOCENT, results, strict=True))
            errors = threads.map(lambda name: _failed(made[name], HOGS[name]), HOGS)
            self.errors = dict(zip(HOGS, errors, strict=True))
            for name in INNOCENT:
                made[name].exec("true", check=True)
                made[name].destroy()

    def _made(self, name: str) -> Sandbox:
        own, _ = {**HOGS, **INNOCENT}[name]
        service = {"image": "host", "storage_opt": {"size": "8m"}, **own}
        return self.server.client.create_sandbox(service)


def _written(sandbox: Sandbox, case: tuple[dict[str, Any], str | list[str]]) -> ExecResult:
    return sandbox.exec(case[1], timeout=GUARD)


def _failed(
    sandbox: Sandbox, case: tuple[dict[str, Any], str | list[str]]
) -> SandboxDestroyedError:
    """Let a sandbox use too much, and wait for its end."""
    with pytest.raises(SandboxDestroyedError) as caught:
        if case[1]:
            sandbox.exec(case[1], timeout=GUARD)
        sandbox.exec(["sleep", "60"], timeout=GUARD)
    with pytest.raises(SandboxFailedError):
        sandbox.exec("true")
    sandbox.destroy()
    return caught.value


@pytest.fixture(scope="module", params=["root", "user"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    if request.param == "root" and not stage.is_root():
        pytest.skip("only root can run a server as root")
    with serving(request.param, env={"LUNETTE_DISK_LIMIT": LIMIT}) as server:
        found = Ends(server)
        found.run()
        yield found


@pytest.mark.parametrize("name", HOGS)
def test_who_uses_too_much_is_ended(ends: Ends, name: str) -> None:
    error = ends.errors[name]
    assert isinstance(error, SandboxFailedError)
    assert f"may use {SMALL}" in str(error)
    assert "storage_opt" in str(error)
    assert "LUNETTE_DISK_LIMIT" in str(error)


@pytest.mark.parametrize("name", INNOCENT)
def test_who_keeps_within_it_is_left_alone(ends: Ends, name: str) -> None:
    result = ends.results[name]
    assert result.exit_code == 0, result.stderr


def test_nothing_of_it_is_left(ends: Ends) -> None:
    (sandboxes,) = ends.server.directory.glob("lunette-*/sandboxes")
    spare = 1
    assert len(list(sandboxes.iterdir())) <= spare


def test_no_file_is_larger_than_all_may_be(ends: Ends) -> None:
    service = {"image": "host", "storage_opt": {"size": "1m"}}
    with ends.server.client.create_sandbox(service) as sandbox:
        result = sandbox.exec("head -c 1100k /dev/zero > x; echo $?; stat -c %s x; rm x")
        assert result.stdout == f"153\n{1 << 20}\n"  # 128 and SIGXFSZ


def test_more_than_the_server_gives(ends: Ends) -> None:
    with pytest.raises(NotSupportedError, match=f"{64 << 20} bytes of disk at most"):
        ends.server.client.create_sandbox({"image": "host", "storage_opt": {"size": "65m"}})


def test_what_is_said_of_it(ends: Ends) -> None:
    transport = httpx.HTTPTransport(uds=f"{ends.server.directory}/sock")
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        limits = client.get("/capabilities").json()["limits"]
    assert limits["disk"] == 64 << 20
    assert limits["free_disk"] == 256 << 20


# A disk that is nearly full: one in memory, which nobody else sees.

_MOUNT = 'mount -t tmpfs -o size=300m,mode=1777 small "$TMPDIR"; exec "$@"'
_MAIN = [sys.executable, "-c", "from lunette.cli import main; main()", "serve"]


@contextlib.contextmanager
def _on_a_small_disk(mode: str) -> Generator[LunetteClient]:
    with tempfile.TemporaryDirectory(prefix="test-disk-") as directory:
        Path(directory).chmod(0o777)  # for the server's socket
        disk = Path(directory, "disk")
        disk.mkdir()
        command = [*_MAIN, "--uds", f"{directory}/sock"]
        if mode == "user":
            command = stage.as_user(command)
        mounting = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _MOUNT, "small"]
        environment = {"PATH": os.environ["PATH"], "HOME": directory, "TMPDIR": str(disk)}
        with subprocess.Popen(
            [*mounting, *command], env=environment, cwd="/", stdout=subprocess.PIPE
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline()
                once = RetryPolicy(attempts=1)
                with LunetteClient(base_url=f"unix://{directory}/sock", retry=once) as client:
                    yield client
            finally:
                process.terminate()


@pytest.mark.skipif(not stage.is_root(), reason="only root can mount")
@pytest.mark.parametrize("mode", ["root", "user"])
def test_a_disk_that_is_nearly_full(mode: str) -> None:
    with _on_a_small_disk(mode) as client:
        first = client.create_sandbox({"image": "host"})
        first.exec("head -c 60m /dev/zero > x", check=True)
        for _ in range(2):
            with pytest.raises(APIError, match="disk of the server is nearly full") as caught:
                client.create_sandbox({"image": "host", "hostname": "another"})
            assert (caught.value.status_code, caught.value.code) == (507, "no_space")
        first.exec("true", check=True)  # what is there goes on
        assert "No space left" in first.exec("head -c 400m /dev/zero > y").stderr
        with pytest.raises(APIError) as caught:
            first.files.write_bytes("z", bytes(1 << 20))
        assert (caught.value.status_code, caught.value.code) == (507, "no_space")
        first.destroy()
        client.create_sandbox({"image": "host", "hostname": "another"}).destroy()
