"""What is found of a machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lunette.server import _findings
from lunette.server._findings import Finding, facts
from lunette.server.engines.bubblewrap import _probe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A switch of the kernel that is on."""
    path = tmp_path / "switch"
    path.write_text("1\n")
    switches = ((path, "0", "The kernel forbids it", "as root run `sysctl switch=1`"),)
    monkeypatch.setattr(_probe, "_SWITCHES", switches)
    return path


def _named(name: str, *, able: bool) -> Finding:
    (found,) = [finding for finding in facts(able=able) if finding.name == name]
    return found


def test_what_the_kernel_forbids(switch: Path) -> None:
    assert _named("namespaces", able=False).status == "ok"
    switch.write_text("0\n")
    found = _named("namespaces", able=False)
    assert (found.status, found.detail) == ("problem", "The kernel forbids it")
    assert found.mend == "as root run `sysctl switch=1`"
    # Somebody has allowed it in another way.
    assert _named("namespaces", able=True).status == "note"


def test_what_a_failed_start_is_explained_by(switch: Path) -> None:
    assert _probe.explain("No permissions to create new namespace", "").endswith("`--privileged`.")
    switch.write_text("0\n")
    said = _probe.explain("", "it ended")
    assert said.endswith("it ended. The kernel forbids it: as root run `sysctl switch=1`.")


def test_a_user_and_the_ids_that_it_may_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subuids = tmp_path / "subuid"
    monkeypatch.setattr(_findings, "_SUBUIDS", subuids)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("LOGNAME", "alice")
    found = _named("user", able=True)
    assert found.status == "note" and f"there are no ids for it in {subuids}" in found.detail
    subuids.write_text("bob:100000:65536\nalice:165536:65536\n")
    assert f"{subuids} gives it 65536 from 165536" in _named("user", able=True).detail


def test_json_leaves_out_what_there_is_not() -> None:
    finding = Finding(name="a", detail="b")
    assert finding.to_json() == {"name": "a", "status": "ok", "detail": "b"}
