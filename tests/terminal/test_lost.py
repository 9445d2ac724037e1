"""A shell whose network is cut, or whose server is lost."""

from __future__ import annotations

import os
import signal

from lunette import LunetteClient

from ..command_line import embedded_server
from .network import Network
from .test_shell import leave, open_shell
from .tmux import Tmux, window


def test_the_network_is_cut_and_comes_back(
    far: Tmux, network: Network, client: LunetteClient
) -> None:
    open_shell(far)
    count = "for i in `seq 1000`; do echo line-$i; sleep 0.01; done"
    far.enter(f"clear; stty -echo; {count}; stty echo")
    for attempts in (2, 10):  # the latter more than other verbs would make
        far.wait_for("line-.*")
        network.cut()
        network.wait_for(attempts)
        far.enter("echo typed-$((1+1))")
        network.mend()
    far.wait_for("typed-2\n(.*\n)*typed-2$")
    lines = far.history().splitlines()
    assert [line for line in lines if line[:5] == "line-"] == [f"line-{i}" for i in range(1, 1001)]
    assert [line for line in lines if line[:6] == "typed-"] == ["typed-2"] * 2
    far.enter("clear; exit 6")
    assert leave(far) == "6"


def test_the_network_does_not_come_back(network: Network, client: LunetteClient) -> None:
    bend = "import lunette._session; lunette._session.PATIENCE = 1.0"
    with window(bend=bend, LUNETTE_BASE_URL=network.url) as far:
        before = far.modes()
        open_shell(far)
        network.cut()
        far.wait_for("lunette: no connection to ")
        assert leave(far) == "125"
        assert far.modes() == before
    client.stop_sandboxes([found.sandbox_id for found in client.list_sandboxes()])


def test_the_server_is_killed_under_an_editor() -> None:
    with window() as tmux:
        before = tmux.modes()
        tmux.enter("clear; echo above")
        tmux.wait_for("above")
        open_shell(tmux, clear=False)
        tmux.enter("vim.tiny -u NONE note")
        tmux.wait_for("~\n~")
        os.kill(embedded_server(tmux.programs()[1]), signal.SIGKILL)
        assert leave(tmux) == "125"
        # The screen is that of before.
        tmux.wait_for("above")
        tmux.wait_for("lunette: the embedded server ended")
        assert tmux.modes() == before


def test_ctrl_c_before_the_shell(far: Tmux, network: Network, client: LunetteClient) -> None:
    before = far.modes()
    network.mute()
    far.enter("clear; lunette shell; echo code=$?")
    network.wait_for(1)
    far.type("", "C-c")
    assert leave(far) == "130"
    assert far.modes() == before
