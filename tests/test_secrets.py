"""Keys, values of environments and contents of files are in no log, not even at DEBUG."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

import lunette
from lunette import LunetteClient, Sandbox

from .command_line import GUARD
from .images.fixtures import SECRET as IMAGE
from .images.registry import PASSWORD, USER, Registry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")

SECRET = "S3cr3t" * 6
KEY = f"key-{SECRET}"
# As itself, and in base64 wherever it begins.
FORMS = [SECRET[:12].encode(), PASSWORD.encode()] + [
    base64.b64encode(b"x" * before + SECRET.encode())[4:20] for before in range(3)
]
MAIN = """
import logging
logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s")
from lunette.cli import main
main()
"""


@contextmanager
def _serving(directory: Path, registry: Registry) -> Generator[tuple[str, Path]]:
    """Run a server that logs at DEBUG and has a password for *registry*."""
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    log = directory / "log"
    arguments = ["serve", "--port", "0", "--state", str(directory / "state")]
    env = {"LUNETTE_API_KEY": KEY, "DOCKER_CONFIG": str(directory), "UNRELATED": SECRET}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **env},
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline().decode().strip()
        yield line.partition("=")[2], log
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(GUARD) == 0
        process.stdout.close()


def test_no_secret_is_in_a_log(
    locked_registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        tempfile.TemporaryDirectory(prefix="t-") as directory,
        _serving(Path(directory), locked_registry) as (url, log),
    ):
        with LunetteClient(api_key=KEY, base_url=url) as client:
            service = {"image": "host", "environment": {"VALUE": SECRET}}
            with client.create_sandbox(service) as sandbox:
                _use_files(sandbox, tmp_path)
                _use_commands(sandbox)
                written = b"".join(_lines(caplog))
                _use_the_wire(url, f"/sandboxes/{sandbox.sandbox_id}")
        headers = {"X-API-Key": KEY}
        with httpx.Client(base_url=url, headers=headers, timeout=GUARD, trust_env=False) as plain:
            pulled = plain.put(f"/images/{locked_registry.host}/{IMAGE}:latest")
            assert pulled.status_code == 200, pulled.text
        written += log.read_bytes()
    assert b"POST /sandboxes/{sandbox_id}/exec 200" in written and b"asyncio" in written
    for form in FORMS:
        at = written.find(form)
        assert at < 0, written[max(0, at - 300) : at + 100]


def _lines(caplog: pytest.LogCaptureFixture) -> Iterator[bytes]:
    for record in caplog.records:
        yield f"{record.getMessage()} {record.args!r} {record.exc_text}".encode()


def _use_files(sandbox: Sandbox, local: Path) -> None:
    source = local / "source"
    source.mkdir()
    (source / "small").write_text(SECRET)
    (source / "large").write_text(SECRET * 20_000)
    sandbox.upload(source / "small", "small")
    sandbox.upload(source / "large", "large")
    sandbox.upload(source, "directory")
    for name in ("small", "large", "directory"):
        sandbox.download(name, local / name)
    sandbox.files.write_text("text", SECRET)
    assert sandbox.files.read_text("text") == SECRET
    with sandbox.files.open("opened", "w") as file:
        file.write(SECRET)
    with sandbox.files.open("opened") as file:
        assert file.read() == SECRET
    for failing in ("directory", "/proc/nothing", "small/below"):
        with pytest.raises(lunette.LunetteError):
            sandbox.files.write_text(failing, SECRET)


def _use_commands(sandbox: Sandbox) -> None:
    env = {"GIVEN": SECRET}
    found = sandbox.exec('cat; echo "$VALUE$GIVEN"', env=env, input=SECRET)
    assert found.stdout == SECRET * 3 + "\n"
    sandbox.exec(["nothing-of-this-name"], env=env, input=SECRET)
    with suppress(lunette.ExecTimeoutError):
        sandbox.exec("cat; sleep 9", env=env, input=SECRET, timeout=0.1)
    with sandbox.start('cat; echo "$GIVEN"', env=env, input=lunette.PIPE) as process:
        process.write(SECRET)
        process.close_input()
        assert process.result().stdout == SECRET * 2 + "\n"
    with pytest.raises(lunette.ProcessInputClosedError):
        process.write(SECRET)


def _use_the_wire(url: str, path: str) -> None:
    """Send what no client of ours does, and what breaks the contract."""
    with httpx.Client(base_url=url, timeout=GUARD, trust_env=False) as client:
        assert client.get("/sandboxes", headers={"X-API-Key": SECRET}).status_code == 401
        client.headers["X-API-Key"] = KEY
        client.post(f"{path}/write", json={"path": "wire", "content": SECRET})
        assert client.get(f"{path}/read", params={"path": "wire"}).json()["content"] == SECRET
        values: list[Any] = [
            {"command": "true", "env": {"A": [SECRET]}},
            {"command": "true", "env": SECRET},
            {"command": "true", "input": f"{SECRET}!", "input_encoding": "base64"},
            {"command": [SECRET * 1000, {}]},
            SECRET,
        ]
        for value in values:
            assert client.post(f"{path}/exec", json=value).status_code in (400, 422)
        broken = f'{{"command": "true", "env": {{"A": "{SECRET}'.encode()
        json_type = {"Content-Type": "application/json"}
        assert client.post(f"{path}/exec", content=broken, headers=json_type).status_code == 400
        for service in (
            {"image": "host", "environment": {"A": {"B": SECRET}}},
            {"image": "host", "environment": [f"A={SECRET}", 7]},
            {"image": "nowhere.invalid/none", "pull_policy": "never", "environment": {"A": SECRET}},
        ):
            made = client.put(f"/sandboxes/{uuid.uuid4()}", json={"service": service})
            assert made.status_code >= 400
        form = {"service": json.dumps({"image": "host", "environment": {"A": SECRET}})}
        made = client.post("/sandboxes", data=form)
        assert made.status_code == 200, made.text
        stopped = client.post("/sandboxes/stop", json={"sandbox_ids": [made.json()["sandbox_id"]]})
        assert stopped.status_code == 200
        assert client.get(f"/{SECRET}", params={"q": SECRET}).status_code == 404
        assert client.get("/health", headers={"A": SECRET * 3000}).status_code == 431
