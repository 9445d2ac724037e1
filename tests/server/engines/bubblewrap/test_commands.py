"""Commands that are talked to: terminals, standard input, signals and users, for a root server and
an ordinary user's.
"""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from ....isolation.engines import Box, Engine

SIZE = (24, 80)
only_root = pytest.mark.parametrize("mode", ["root"], indirect=True, scope="module")
only_user = pytest.mark.parametrize("mode", ["user"], indirect=True, scope="module")


# Terminals


def test_a_terminal_is_one(box: Box) -> None:
    script = "tty; stty size; echo $TERM; test -t 0 && test -t 1 && test -t 2 && ps -o tty= $$"
    ran = box.run(script, terminal=(33, 101))
    assert ran.output.split() == ["/dev/pts/0", "33", "101", "xterm-256color", "pts/0"]
    assert ran.code == 0


def test_without_a_terminal_there_is_none(box: Box) -> None:
    ran = box.run("tty; echo $TERM; exec 3<>/dev/tty")
    assert ran.stdout == "not a tty\n\n"
    assert "No such device or address" in ran.stderr


def test_an_environment_names_another_terminal(box: Box) -> None:
    ran = box.run("echo $TERM", terminal=SIZE, env={"TERM": "dumb"})
    assert ran.output == "dumb\r\n"


def test_a_resize_is_told(box: Box) -> None:
    script = "trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.02; done"
    ran = box.run(script, {"until": "ready"}, {"resize": (50, 132)}, terminal=SIZE)
    assert ran.output == "ready\r\n50 132\r\n"
    assert ran.code == 7


@pytest.mark.parametrize(("key", "number"), [("\x03", 2), ("\x1c", 3)])
def test_keys_that_signal(box: Box, key: str, number: int) -> None:
    ran = box.run("echo ready; exec sleep 60", {"until": "ready"}, {"write": key}, terminal=SIZE)
    assert (ran.code, ran.signal) == (128 + number, number)


# Says when it goes on: what is typed before that is not for it.
SLEEPER = """
import os, signal
signal.signal(signal.SIGCONT, lambda *_: os.write(1, b"back\\n"))
os.write(1, b"up\\n")
while True:
    signal.pause()
"""


def test_job_control_of_a_shell(box: Box) -> None:
    box.run("cat > /workspace/sleeper", {"write": SLEEPER}, {"end": True})
    ran = box.run(
        ["bash", "--norc", "-i"],
        {"until": "$ "},
        {"write": "python3 sleeper\n"},
        {"until": "up\r\n"},
        {"write": "\x1a"},
        {"until": "Stopped"},
        {"until": "$ "},
        {"write": "fg\n"},
        {"until": "back\r\n"},
        {"write": "\x03"},
        {"until": "$ "},
        {"write": "echo was $?\n"},
        {"until": "was 130"},
        {"until": "$ "},
        {"write": "\x04"},
        terminal=SIZE,
        env={"PS1": "$ "},
    )
    assert "no job control" not in ran.output
    assert ran.code == 0


@pytest.mark.parametrize("typed", ["", "a line\n", "half a line"])
def test_the_end_of_input_is_seen(box: Box, typed: str) -> None:
    ran = box.run(
        "stty -echo; echo ready; wc -c",
        {"until": "ready"},
        {"write": typed},
        {"end": 1},
        {"end": 1},
        terminal=SIZE,
    )
    assert ran.output == f"ready\r\n{len(typed)}\r\n"
    assert ran.code == 0


def test_the_end_of_input_by_another_key(box: Box) -> None:
    ran = box.run("stty eof ^B; echo ready; cat", {"until": "ready"}, {"end": True}, terminal=SIZE)
    assert ran.code == 0


def test_what_is_typed_first(box: Box) -> None:
    ran = box.run("stty -echo; read line; echo got $line", terminal=SIZE, stdin="first\n")
    assert ran.output.endswith("got first\r\n")


def test_much_output_comes_whole(box: Box) -> None:
    ran = box.run("seq 100000", terminal=SIZE)
    assert ran.output == "".join(f"{n}\r\n" for n in range(1, 100_001))


def test_a_long_paste_comes_whole(box: Box) -> None:
    text = "".join(f"line {n} of a paste\n" for n in range(5000))
    assert len(text) > 100_000
    steps: list[dict[str, Any]] = [{"until": "ready"}, {"write": text}, {"end": True}]
    ran = box.run("stty -echo; echo ready; md5sum", *steps, terminal=SIZE)
    same = box.run("md5sum", stdin=text)
    assert ran.output.split()[1:] == same.output.split()


def test_a_paste_without_a_line_end_holds_nobody_up(box: Box) -> None:
    """Of a line that is too long a terminal throws the rest away, and tells nobody."""
    steps: list[dict[str, Any]] = [{"until": "ready"}, {"write": "x" * 300_000}, {"write": "\x03"}]
    ran = box.run("stty -echo; echo ready; exec sleep 60", *steps, terminal=SIZE)
    assert ran.signal == 2


def test_keys_are_taken_as_they_are_read(box: Box) -> None:
    script = """
        import sys, termios, time, tty
        tty.setraw(0)
        print("ready", flush=True)
        time.sleep(0.3)
        text = b""
        while len(text) < 300_000:
            text += sys.stdin.buffer.raw.read(4096)
        print(len(text), set(text))
    """
    steps: list[dict[str, Any]] = [{"until": "ready"}, {"write": "y" * 300_000}]
    ran = box.run(["python3", "-c", textwrap.dedent(script)], *steps, terminal=SIZE)
    assert ran.output.split("\n")[1] == "300000 {121}"


def test_who_outlives_the_command_does_not_hold_its_terminal(box: Box) -> None:
    ran = box.run("trap '' HUP; sleep 61 & echo done", terminal=SIZE)
    assert ran.output == "done\r\n"
    assert ran.code == 0
    assert box.run("pgrep -x sleep").code == 0


def test_who_opens_it_again_does_not_hold_it(box: Box) -> None:
    """A terminal that its first command left can be opened once more by its name."""
    script = """
        import os, sys, time
        name = os.ttyname(0)
        if os.fork() == 0:
            os.setsid()
            parent = os.getppid()
            fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
            os.write(1, b"ready\\n")
            while True:
                try:
                    os.write(fd, b"again\\n" * 100)
                except OSError:
                    fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
        time.sleep(0.2)
    """
    ran = box.run(["python3", "-c", textwrap.dedent(script)], terminal=SIZE)
    assert ran.code == 0


def test_a_terminal_that_nobody_has_open_comes_back(box: Box) -> None:
    ran = box.run("exec <&- >&- 2>&-; sleep 0.3; echo back > /dev/tty; sleep 0.2", terminal=SIZE)
    assert ran.output == "back\r\n"


def test_a_terminal_is_killed_with_all_that_it_runs(box: Box) -> None:
    steps: list[dict[str, Any]] = [{"until": "ready"}, {"kill": True}]
    ran = box.run(
        "setsid sleep 62 & trap '' HUP; sleep 63 & echo ready; wait", *steps, terminal=SIZE
    )
    assert ran.signal == 9
    assert box.run("pgrep -x sleep").code == 1


def test_many_terminals_at_once(box: Box) -> None:
    for number in range(40):
        ran = box.run("tty; cat", {"until": f"/dev/pts/{number}"}, terminal=SIZE, background=True)
        assert ran.code is None
    assert box.run("ls /dev/pts | wc -l").output == "41\n"


def test_a_program_that_is_not_there_leaves_no_terminal(box: Box) -> None:
    for _ in range(3):
        ran = box.run(["no-such-program"], terminal=SIZE)
        assert ran.error is not None and ran.error.startswith("CommandNotRunnableError")
        assert box.run(["true"], terminal=SIZE, cwd="/no/such").error is not None
    assert box.run("tty", terminal=SIZE).output == "/dev/pts/0\r\n"


def test_a_terminal_with_limits(engine: Engine) -> None:
    with engine.sandbox(ulimits={"nofile": (77, 77)}) as box:
        ran = box.run(
            "tty; ulimit -n; exec sleep 60", {"until": "77"}, {"write": "\x03"}, terminal=SIZE
        )
        assert ran.output == "/dev/pts/0\r\n77\r\n^C"
        assert ran.signal == 2


# Standard input


def test_input_is_read_as_it_comes(box: Box) -> None:
    ran = box.run(
        "while read line; do echo got $line; done; echo over",
        {"until": "got 0"},
        {"write": "1\n"},
        {"until": "got 1"},
        {"write": "2\n"},
        {"until": "got 2"},
        {"end": True},
        {"end": True},
        stdin="0\n",
    )
    assert ran.output == "got 0\ngot 1\ngot 2\nover\n"


def test_much_input_comes_whole(box: Box) -> None:
    text = "0123456789abcdef" * 250_000
    ran = box.run("md5sum; echo end", {"write": text}, {"end": True}, stdin="before")
    same = box.run("printf before; cat", stdin=text)
    assert len(same.output) == len(text) + 6
    assert ran.output.split()[0] == box.run("md5sum", stdin=same.output).output.split()[0]


# Signals

HEARS = (
    "trap 'echo {name} heard; exit 5' TERM USR1; echo {name} ready; while :; do sleep 0.02; done"
)


def test_a_signal_reaches_all_that_a_command_started(box: Box) -> None:
    bystander = f"({HEARS.format(name='other')})"
    box.run(bystander, {"until": "ready"}, background=True)
    one, other = (HEARS.format(name=name) for name in ("parent", "child"))
    script = f'setsid sh -c "{other}" & sleep 0.1; {one}'
    ran = box.run(
        script,
        {"until": "child ready"},
        {"until": "parent ready"},
        {"signal": 15},
        {"until": "heard"},
    )
    assert ran.code == 5
    assert "parent heard" in ran.output
    assert box.run("pgrep -fc 'echo child heard'").output.strip() in ("0", "1")  # pgrep's shell
    assert box.run("pgrep -f 'other heard'").code == 0


def test_a_signal_of_each_kind(box: Box) -> None:
    ran = box.run(HEARS.format(name="it"), {"until": "ready"}, {"signal": 10}, {"until": "heard"})
    assert (ran.code, ran.signal) == (5, None)
    ran = box.run("echo ready; exec sleep 64", {"until": "ready"}, {"signal": 1})
    assert (ran.code, ran.signal) == (129, 1)


def test_a_stopped_command_goes_on(box: Box) -> None:
    steps: list[dict[str, Any]] = [
        {"until": "ready"},
        {"signal": 19},
        {"write": "x\n"},
        {"signal": 18},
    ]
    ran = box.run("echo ready; read line; echo on", *steps)
    assert ran.output == "ready\non\n"


def test_signal_nine_is_a_kill(box: Box) -> None:
    ran = box.run("setsid sleep 65 & echo ready; wait", {"until": "ready"}, {"signal": 9})
    assert ran.signal == 9
    assert box.run("pgrep -x sleep").code == 1


# Users

ID = "id -u; id -g; id -G; echo $HOME"


@only_root
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("nobody", ["65534", "65534", "65534", "/nonexistent"]),
        ("65534", ["65534", "65534", "65534", "/nonexistent"]),
        ("1000:1001", ["1000", "1001", "1001", "/"]),
        ("0:1001", ["0", "1001", "1001", "/root"]),
        ("root", ["0", "0", "0", "/root"]),
    ],
)
@pytest.mark.parametrize("terminal", [None, SIZE])
def test_a_command_of_a_user(
    mode: str, box: Box, user: str, expected: list[str], terminal: tuple[int, int] | None
) -> None:
    ran = box.run(ID, user=user, terminal=terminal)
    assert ran.output.split() == expected
    assert ran.code == 0


@only_root
def test_the_environment_says_where_home_is(mode: str, box: Box) -> None:
    assert box.run("echo $HOME", user="nobody", env={"HOME": "/tmp"}).output == "/tmp\n"


@only_root
def test_users_are_those_of_now(mode: str, engine: Engine) -> None:
    with engine.sandbox(tmpfs=[{"path": "/etc"}]) as box:
        refused = box.run("id", user="app")
        assert refused.error is not None
        assert refused.error.startswith("NotSupportedError: user 'app': the image knows no user")
        box.run("echo app:x:1234:1235::/tmp:/bin/sh > /etc/passwd; echo more:x:77:app > /etc/group")
        assert box.run(ID, user="app").output.split() == ["1234", "1235", "1235", "77", "/tmp"]


@only_root
@pytest.mark.parametrize(
    "hostile",
    [
        "mkfifo passwd",
        "mkdir passwd",
        "ln -s passwd passwd",
        "ln -s /dev/zero passwd",
        "ln -s /proc/1/root/etc/passwd passwd",
        "truncate -s 900M passwd",
        "head -c 2m /dev/urandom > passwd",
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"passwd\")'",
    ],
)
def test_no_file_of_users_holds_the_server_up(mode: str, engine: Engine, hostile: str) -> None:
    with engine.sandbox(tmpfs=[{"path": "/etc"}]) as box:
        made = box.run(f"cd /etc; {hostile}")
        assert made.code == 0, made.output
        assert box.run("id -u", user="1000").output == "1000\n"
        refused = box.run("id", user="app").error
        assert refused is not None and refused.startswith("NotSupportedError")


@only_root
def test_streams_are_the_users(mode: str, box: Box) -> None:
    script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin"
    ran = box.run(script, user="nobody", stdin="in")
    assert (ran.stdout, ran.stderr) == ("out\nin", "err\n")
    ran = box.run(
        "echo a > /dev/stdout; echo b > /dev/tty; stat -c %U $(tty)", user="nobody", terminal=SIZE
    )
    assert ran.output.split() == ["a", "b", "nobody"]


@only_root
def test_what_is_closed_to_a_user_is_no_directory_for_it(mode: str, box: Box) -> None:
    box.run("mkdir -m 700 closed; mkdir -m 711 passed")
    error = box.run("pwd", user="nobody", cwd="closed").error
    assert error is not None and error.startswith("PermissionError")
    assert box.run("pwd", user="nobody", cwd="passed").output == "/workspace/passed\n"
    error = box.run("pwd", user="nobody", cwd="missing").error
    assert error is not None and error.startswith("FileNotFoundError")


@only_root
def test_a_program_is_looked_for_as_the_user(mode: str, box: Box) -> None:
    box.run("mkdir -m 700 closed; cp /usr/bin/true closed/mine; cp closed/mine mine")
    box.run("chmod 700 mine")
    for path in ("/workspace/closed/mine", "/workspace/mine"):
        error = box.run([path], user="nobody").error
        assert error is not None and "Permission denied" in error
    env = {"PATH": "/workspace/closed:/usr/bin:/bin"}
    error = box.run(["mine"], user="nobody", env=env).error
    assert error is not None and "No such file" in error
    assert box.run(["id", "-u"], user="nobody", env=env).output == "65534\n"


@only_root
def test_a_users_command_is_ended_like_any(mode: str, box: Box) -> None:
    steps: list[dict[str, Any]] = [{"until": "ready"}, {"signal": 15}]
    # One process: a shell that is just forking another could leave that behind.
    assert box.run("echo ready; exec sleep 66", *steps, user="nobody").signal == 15
    steps[1] = {"kill": True}
    assert box.run("setsid sleep 67 & echo ready; wait", *steps, user="nobody").signal == 9
    assert box.run("pgrep -x sleep").code == 1


@only_root
def test_a_user_with_limits(mode: str, engine: Engine) -> None:
    with engine.sandbox(ulimits={"nofile": (77, 77)}) as box:
        assert box.run("id -u; ulimit -n", user="nobody").output == "65534\n77\n"


@only_root
def test_a_sandbox_without_root_has_one_user(mode: str, engine: Engine) -> None:
    with engine.sandbox(user="nobody") as box:
        for user in ("nobody", "65534:65534"):
            assert box.run("id -u", user=user).output == "65534\n"
        for user in ("root", "0", "nobody:0", "1000"):
            error = box.run("id -u", user=user).error
            assert error is not None and "this sandbox has no root" in error


@only_user
def test_a_server_without_root_has_one_user(mode: str, box: Box) -> None:
    for user in ("root", "0", "0:0"):
        assert box.run("id -u", user=user).output == "0\n"
    for user in ("nobody", "0:1", "1000"):
        error = box.run("id -u", user=user).error
        assert error is not None and "the server is not root" in error
