"""`lunette rm`, `pause`, `resume` and `stats`, in this process: each is but a request or two."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator

import pytest

from lunette import LunetteClient
from lunette.cli import main

from .command_line import unconfigured as unconfigured
from .faults.server import Server, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")

Done = tuple[int, str, str]


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Generator[LunetteClient]:
    """A client of the server that the command line is told to use."""
    monkeypatch.setenv("LUNETTE_BASE_URL", server.url)
    with LunetteClient() as client:
        yield client
        assert not client.list_sandboxes()


@pytest.fixture
def lunette(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["lunette", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def test_sandboxes_are_paused_and_resumed(
    client: LunetteClient, lunette: Callable[..., Done]
) -> None:
    with (
        client.create_sandbox({"image": "host"}) as one,
        client.create_sandbox({"image": "host"}) as two,
    ):
        both = one.sandbox_id, two.sandbox_id
        assert lunette("pause", *both) == (0, "", "")
        assert [found.state for found in client.list_sandboxes()] == ["paused"] * 2
        assert lunette("resume", *both) == (0, "", "")
        assert [found.state for found in client.list_sandboxes()] == ["running"] * 2
        code, _, complaint = lunette("pause", "nobody")
        assert code == 1 and complaint.startswith("lunette: ")


def test_sandboxes_are_measured(client: LunetteClient, lunette: Callable[..., Done]) -> None:
    with (
        client.create_sandbox({"image": "host"}) as one,
        client.create_sandbox({"image": "host"}) as two,
    ):
        two.pause()
        head, *lines = lunette("stats")[1].splitlines()
        assert head.startswith("SANDBOX ID ") and head.endswith(" DISK")
        assert [line.split()[0] for line in lines] == [one.sandbox_id, two.sandbox_id]
        (found,) = json.loads(lunette("stats", "--json", two.sandbox_id)[1])
        assert found["sandbox_id"] == two.sandbox_id
        assert found["memory"] > 0 and found["processes"] >= 2 and found["cpu_seconds"] >= 0
    code, shown, complaint = lunette("stats", one.sandbox_id)
    assert (code, shown) == (1, "") and "was destroyed" in complaint


def test_sandboxes_are_removed(client: LunetteClient, lunette: Callable[..., Done]) -> None:
    with (
        client.create_sandbox({"image": "host"}) as one,
        client.create_sandbox({"image": "host"}) as two,
    ):
        assert lunette("rm", one.sandbox_id, "nobody") == (
            *(1, ""),
            "lunette: nobody: no sandbox 'nobody'\n",
        )
        assert [left.sandbox_id for left in client.list_sandboxes()] == [two.sandbox_id]
        assert lunette("rm", "--all") == lunette("rm", "-a") == (0, "", "")
        assert client.list_sandboxes() == []


@pytest.mark.parametrize("arguments", [(), ("--all", "one")])
def test_rm_wants_to_know_which(lunette: Callable[..., Done], arguments: tuple[str, ...]) -> None:
    code, _, complaint = lunette("rm", *arguments)
    assert code == 2 and "name sandboxes, or say --all" in complaint
