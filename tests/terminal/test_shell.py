from __future__ import annotations

import base64
import hashlib
import os
import signal

from lunette import LunetteClient, Sandbox

from ..command_line import embedded_server
from ..embedded import until
from .tmux import Tmux, window

PROMPT = r"\S*[$#]$"


def open_shell(tmux: Tmux, arguments: str = "", *, clear: bool = True) -> None:
    tmux.enter(f"{'clear; ' if clear else ''}lunette shell {arguments}; echo code=$?")
    tmux.wait_for(PROMPT)


def leave(tmux: Tmux) -> str:
    """Wait for the end of a shell, and return its exit code."""
    return tmux.wait_for(r".*code=\d+").rpartition("=")[2]


def test_a_shell_of_this_machine() -> None:
    with window() as tmux:
        before = tmux.modes()
        open_shell(tmux)
        tmux.enter("echo $((40+2)) $TERM $0; tty; pwd")
        tmux.wait_for("42 xterm-256color bash\n/dev/pts/[0-9]+\n/workspace$")
        tmux.enter("exit 7")
        assert leave(tmux) == "7"
        assert tmux.modes() == before


def test_what_is_typed_early_is_not_lost(tmux: Tmux, client: LunetteClient) -> None:
    tmux.enter("lunette shell; echo code=$?")
    tmux.enter("echo early-$((1+1))")
    tmux.wait_for("early-2")
    tmux.type("", "C-d")
    assert leave(tmux) == "0"


def test_keys_that_send_signals(tmux: Tmux, client: LunetteClient) -> None:
    open_shell(tmux)
    tmux.enter("echo a; sleep 1000")
    tmux.wait_for("a$")
    tmux.type("", "C-c")
    tmux.enter("echo interrupted-$?")
    tmux.wait_for("interrupted-130")

    tmux.enter("echo b; sleep 1000")
    tmux.wait_for("b$")
    tmux.type("", "C-z")
    tmux.wait_for(r"\[1\]\+  Stopped")
    tmux.enter("clear; jobs")
    tmux.wait_for(r"\[1\]\+  Stopped +.*sleep 1000")
    tmux.enter("fg")
    tmux.wait_for(".*sleep 1000$")
    tmux.type("", "C-c")
    tmux.enter("echo back-$?")
    tmux.wait_for("back-130")

    tmux.enter("echo c; cat")
    tmux.wait_for("c$")
    tmux.enter("twice")
    tmux.wait_for("twice\ntwice$")
    tmux.type("", "C-d")
    tmux.enter("echo read-$?")
    tmux.wait_for("read-0")
    tmux.enter("(exit 3)")
    tmux.type("", "C-d")
    assert leave(tmux) == "3"


def test_a_flood_is_interrupted(tmux: Tmux, client: LunetteClient) -> None:
    open_shell(tmux)
    tmux.enter("yes flood")
    tmux.wait_for("flood$")
    tmux.type("", "C-c")
    tmux.enter("echo dry-$?")
    tmux.wait_for("dry-130")
    tmux.enter("exit")
    assert leave(tmux) == "0"


def test_the_size_of_the_window(tmux: Tmux, client: LunetteClient) -> None:
    tmux.resize(30, 90)
    open_shell(tmux)
    tmux.enter("stty size")
    tmux.wait_for("30 90$")
    tmux.enter("trap 'echo; stty size' WINCH")
    tmux.resize(40, 120)
    tmux.wait_for("40 120$")
    tmux.enter("exit")
    leave(tmux)


def test_an_editor(tmux: Tmux, client: LunetteClient) -> None:
    open_shell(tmux)
    tmux.enter("clear; vim.tiny -u NONE note")
    tmux.wait_for(r'"note" \[New')
    tmux.type("ihello", "Escape")
    tmux.resize(40, 100)
    until(lambda: tmux.screen().splitlines()[1:39] == ["~"] * 38)
    tmux.type("oover there", "Escape")
    tmux.enter(":set lines?")
    tmux.wait_for("  lines=40")
    tmux.type("", "C-z")  # also of what has the whole screen
    tmux.wait_for(r"\[1\]\+  Stopped")
    tmux.enter("clear; fg")
    until(lambda: tmux.screen().startswith("hello\nover there\n~\n"))
    tmux.enter(":wq")
    tmux.enter("clear; cat note; stty size")
    tmux.wait_for("hello\nover there\n40 100$")
    tmux.enter("exit")
    leave(tmux)


def test_a_large_paste_comes_whole(tmux: Tmux, client: LunetteClient) -> None:
    lines = base64.encodebytes(os.urandom(74_026))
    assert len(lines) >= 100_000
    open_shell(tmux)
    tmux.enter("echo ready; cat > pasted")
    tmux.wait_for("ready$")
    tmux.paste(lines)
    tmux.type("", "C-d")
    tmux.enter("clear; wc -c pasted; sha256sum pasted")
    tmux.wait_for(f"{len(lines)} pasted\n{hashlib.sha256(lines).hexdigest()}  pasted$")
    tmux.enter("exit")
    leave(tmux)


def test_one_command(tmux: Tmux, client: LunetteClient) -> None:
    script = "stty size; tty; read line; echo got $line; exit 5"
    tmux.enter(f"clear; lunette run -it -e A=1 -- sh -c '{script}'; echo code=$?")
    tmux.wait_for("24 80\n/dev/pts/[0-9]+$")
    tmux.enter("this")
    tmux.wait_for("this\ngot this$")
    assert leave(tmux) == "5"


def test_a_terminal_that_is_not_typed_at(tmux: Tmux, client: LunetteClient) -> None:
    tmux.enter("clear; lunette run -t -- sh -c 'tty; stty size; cat'; echo code=$?")
    tmux.wait_for("/dev/pts/[0-9]+\n24 80$")
    tmux.type("", "C-c")
    assert leave(tmux) == "130"


def test_a_shell_in_a_sandbox_that_stays(tmux: Tmux, sandbox: Sandbox) -> None:
    open_shell(tmux, sandbox.sandbox_id)
    tmux.enter("echo kept > file; exit 4")
    assert leave(tmux) == "4"
    assert sandbox.exec("cat file").stdout == "kept\n"


def test_the_window_is_closed(tmux: Tmux, client: LunetteClient) -> None:
    open_shell(tmux)
    tmux.enter("sleep 1000 & echo started")
    tmux.wait_for("started$")
    pids = tmux.programs()
    assert len(pids) == 2 and len(client.list_sandboxes()) == 1
    tmux.close()
    until(lambda: not any(map(lives, pids)))
    assert not client.list_sandboxes()


def test_the_window_is_closed_on_this_machine() -> None:
    with window() as tmux:
        open_shell(tmux)
        pids = tmux.programs()
        pids.append(embedded_server(pids[1]))
        tmux.close()
        until(lambda: not any(map(lives, pids)))


def test_the_window_is_closed_over_a_sandbox_that_stays(tmux: Tmux, sandbox: Sandbox) -> None:
    open_shell(tmux, sandbox.sandbox_id)
    tmux.enter("sleep 1000 & echo started")
    tmux.wait_for("started$")
    tmux.close()
    until(lambda: {process.state for process in sandbox.processes()} == {"ended"})
    assert sandbox.exec("pgrep sleep").exit_code == 1


def test_the_end_of_the_program_itself(tmux: Tmux, client: LunetteClient) -> None:
    before = tmux.modes()
    open_shell(tmux)
    os.kill(tmux.programs()[1], signal.SIGTERM)
    assert leave(tmux) == "143"
    assert tmux.modes() == before
    assert not client.list_sandboxes()


def test_a_stop_of_the_program_itself(tmux: Tmux, client: LunetteClient) -> None:
    open_shell(tmux)
    os.kill(tmux.programs()[1], signal.SIGSTOP)
    tmux.wait_for(r"\[1\]\+  Stopped")
    tmux.resize(20, 70)
    tmux.enter("clear; fg; echo code=$?")
    tmux.enter("stty size; echo $((1+1))")
    tmux.wait_for("20 70\n2$")
    tmux.enter("exit")
    assert leave(tmux) == "0"


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
